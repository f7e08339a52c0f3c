"""Rows of runs -> learning curves: means over seeds, their intervals, paired differences."""

from __future__ import annotations

import pandas as pd
from scipy.stats import t as student

from active.columns import CONTROL, CURVE, LABELED, METRIC
from active.estimate import ALPHA

GIVEN = ["data", "query", "arm"]  # under which learners are put side by side


def curve_table(runs: pd.DataFrame, metric: str = METRIC) -> pd.DataFrame:
    """The mean curve of each pool: a row per (data, learner, query, arm, labeled).

    Columns: those, `counted` (labeled and validation labels), `mean`, `sd` (ddof 1), `low` and
    `high` (95 % t interval of the mean), `seeds`. Runs of one seed that differ in their pretext
    model alone are averaged first, so that seeds are what is counted. With one seed sd and
    interval are NaN.
    """
    return _summary(_per_seed(runs, metric), metric)


def difference_table(runs: pd.DataFrame, metric: str = METRIC) -> pd.DataFrame:
    """The same for the paired difference to the random pool under the same query, same seed.

    Seeds without their random run are left out; the random pool itself has no rows.
    """
    values = _per_seed(runs, metric)
    keys = [name for name in values.columns if name not in ("arm", "counted", metric)]
    control = values.loc[values["arm"] == CONTROL, [*keys, metric]]
    paired = values[values["arm"] != CONTROL].merge(control, on=keys, suffixes=("", "/random"))
    paired[metric] -= paired.pop(f"{metric}/random")
    return _summary(paired, metric)


def learner_table(curves: pd.DataFrame) -> pd.DataFrame:
    """The rows of a `curve_table` that put learners side by side, the best mean first.

    Of each (data, query, arm) that has several learners, at the last budget that all of them have.
    """
    several = curves.groupby(GIVEN)["learner"].transform("nunique")
    shared = curves.groupby([*GIVEN, "labeled"])["learner"].transform("nunique")
    table = curves[(several > 1) & (shared == several)]
    table = table[table["labeled"] == table.groupby(GIVEN)["labeled"].transform("max")]
    return table.sort_values([*GIVEN, "mean"], ascending=[True] * len(GIVEN) + [False])


def _per_seed(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    runs = whole_models(runs)
    table = runs[[*CURVE, "seed", metric]].copy()
    table["labeled"] = runs[LABELED]
    table["counted"] = runs[LABELED] + runs.get("pool/validation_labels", 0)
    keys = [*CURVE, "seed", "labeled", "counted"]
    return table.groupby(keys, as_index=False, sort=False)[metric].mean()


def whole_models(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows without those of pretext models that are behind another one of their arm and seed.

    A mean over models that do not all have every budget would move where one of them ends.
    """
    budgets = runs.groupby([*CURVE, "seed", "pretext"])[LABELED].transform("nunique")
    most = budgets.groupby([runs[name] for name in (*CURVE, "seed")]).transform("max")
    return runs[budgets == most]


def _summary(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    table = values.groupby([*CURVE, "labeled"], as_index=False).agg(
        counted=("counted", "first"),
        mean=(metric, "mean"),
        sd=(metric, "std"),
        seeds=(metric, "count"),
    )
    half = student.ppf(1 - ALPHA / 2, table["seeds"] - 1) * table["sd"] / table["seeds"] ** 0.5
    table.insert(7, "low", table["mean"] - half)
    table.insert(8, "high", table["mean"] + half)
    return table
