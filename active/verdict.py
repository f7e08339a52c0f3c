"""Does a pool, or a query, change the result? Paired differences -> intervals, tests, a word.

The word is *equivalent* if the 90 % interval lies inside the margin, whatever the p value; else
*better* or *worse* if Holm's p is below 0.05; else *undecided*. Equal is thereby a result, not
the absence of one; a single seed decides nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from active.columns import ANY, ARTIFACTS, CONTROL, METRIC
from active.estimate import ALPHA, Estimate, bootstrap, holm, one_way, two_way
from active.pairing import COMPARISON, base_of, endpoints, is_passive, pair_pools, pair_queries
from datamodules.errors import unknown

MARGIN = 0.01  # one point of accuracy
BOOTSTRAP_FROM = 20  # pairs; with fewer, a bootstrap interval is too short


def compare_pools(
    runs: pd.DataFrame,
    margin: float = MARGIN,
    metric: str = METRIC,
    control: str = CONTROL,
) -> pd.DataFrame:
    """Each initial pool minus the random pool under the same query, pair by pair.

    Args:
        runs: a row for each cycle of each run, as `active.results.read_runs` gives it.
        margin: differences within it do not matter; in the metric's unit (0.01: one point).
        metric: the column that is compared; the higher, the better.
        control: the pool that the others are compared with.

    Returns:
        A row for each (data, learner, query, classifier, arm, endpoint); endpoints are `aubc` (the
        primary one), `final` and `start`, the last once for each kind of classifier, with the
        query `any`. Columns:

        - seeds, pairs, missing (pairs that a complete experiment would add), models (pretext
          models behind the arm's pool) and scope: with one model behind the pool, or no more than
          one that the query or the learner reads, the verdict is for `this artifact`;
        - mean, sd, standardized (mean / sd of the pairs), low, high, low90, high90, and from 20
          independent pairs on boot_low and boot_high (BCa);
        - p (paired t), p_holm (over all rows of the endpoint), p_tost, verdict;
        - detectable: the smallest true difference that would be found with 80 % power, at the first
          step of Holm's correction: a test at 0.05 over the number of the endpoint's tests;
        - variance_pretext and variance_run: of a pair, where models are crossed with seeds.
    """
    ends = endpoints(runs, metric)
    if control not in {CONTROL, *ends["arm"]}:
        raise unknown("pool", control, ends["arm"].unique())
    return judge(_rows(pair_pools(ends, control), _expected(ends)), margin)


def compare_with_each(
    runs: pd.DataFrame, arm: str, margin: float = MARGIN, metric: str = METRIC
) -> pd.DataFrame:
    """One pool minus each of the others, as `compare_pools` has it; Holm corrects over all.

    The column `other` names the pool that it is compared with.
    """
    ends = endpoints(runs, metric)
    expected, tables = _expected(ends), []
    for other in sorted(set(ends["arm"]) - {arm}):
        both = ends[ends["arm"].isin([arm, other])]
        tables.append(_rows(pair_pools(both, other), expected).assign(other=other))
    table = pd.concat(tables, ignore_index=True)
    return judge(table, margin).assign(other=table["other"])


def compare_queries(
    runs: pd.DataFrame, margin: float = MARGIN, metric: str = METRIC
) -> pd.DataFrame:
    """Each query minus passive learning from the same pool, pair by pair.

    The columns are those of `compare_pools`, and `confounded`: False for the comparison with the
    passive run of the same kind of classifier (verdict `no control` where there is none), True
    for the paper's own, of dropout networks and committees with a plain passive network. Holm
    corrects each of the two by itself.
    """
    ends = endpoints(runs, metric)
    fair = _rows(pair_queries(ends), _expected(ends))
    fair = judge(_with_uncontrolled(fair, ends), margin)
    papers = judge(_rows(pair_queries(ends, confounded=True), _expected(ends)), margin)
    return pd.concat(
        [fair.assign(confounded=False), papers.assign(confounded=True)], ignore_index=True
    )


def judge(table: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Adds intervals, tests and the verdict to rows that hold mean, se and df."""
    estimates = Estimate(*(table[c].to_numpy(dtype=float) for c in ("mean", "se", "df")))
    table = table.assign(p=estimates.p, p_tost=estimates.p_tost(margin))
    table = table.assign(p_holm=np.nan, detectable=np.nan)
    table["low"], table["high"] = estimates.interval(1 - ALPHA)
    table["low90"], table["high90"] = estimates.interval(1 - 2 * ALPHA)
    for rows in table.groupby("endpoint").groups.values():
        p = table.loc[rows, "p"].to_numpy()
        level = ALPHA / max(np.isfinite(p).sum(), 1)
        table.loc[rows, "p_holm"] = holm(p)
        table.loc[rows, "detectable"] = estimates.detectable(level)[table.index.get_indexer(rows)]
    words = verdicts(estimates, table["p_holm"].to_numpy(), margin)
    table["verdict"] = np.where(table["controlled"], words, "no control")
    counts = ["seeds", "pairs", "missing", "models"]
    return table[COLUMNS].astype(dict.fromkeys(counts, int))


COLUMNS = [
    *COMPARISON, "seeds", "pairs", "missing", "models", "scope", "mean", "sd", "standardized",
    "low", "high", "low90", "high90", "boot_low", "boot_high", "p", "p_holm", "p_tost",
    "verdict", "detectable", "variance_pretext", "variance_run",
]  # fmt: skip


def verdicts(estimates: Estimate, p_holm: np.ndarray, margin: float) -> np.ndarray:
    """The word for each estimate, given its p value after Holm's correction; all of one shape."""
    low, high = estimates.interval(1 - 2 * ALPHA)
    clear, mean = p_holm < ALPHA, estimates.mean
    return np.select(
        [(low > -margin) & (high < margin), clear & (mean > 0), clear & (mean < 0)],
        ["equivalent", "better", "worse"],
        "undecided",
    )


def _rows(pairs: pd.DataFrame, expected: pd.DataFrame) -> pd.DataFrame:
    """A row of numbers for each comparison."""
    pairs = pairs.drop_duplicates([*COMPARISON, "seed", "model"])  # one artifact under two names
    groups = pairs.groupby(COMPARISON, sort=True)
    rows = [dict(zip(COMPARISON, key, strict=True)) | _row(group) for key, group in groups]
    table = pd.DataFrame(rows, columns=[*COMPARISON, *NUMBERS])
    table["base"] = base_of(table["learner"].astype(str))
    table = _without_accidents(table).merge(expected, on=["data", "base", "arm"], how="left")
    return table.assign(missing=table["expected"] - table["pairs"], controlled=True)


def _without_accidents(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracies that agree in all pairs say nothing of their spread where the curves differ."""
    keys = ["data", "base", "classifier", "arm", "query"]
    run, arm = (pd.MultiIndex.from_frame(table[k]) for k in (keys, keys[:-1]))
    curves, flat = table["endpoint"] == "aubc", table["se"] == 0
    same = np.where(
        table["query"] == ANY, arm.isin(arm[curves & flat]), run.isin(run[curves & flat])
    )
    return table.assign(se=table["se"].mask(flat & arm.isin(arm[curves]) & ~same))


NUMBERS = [
    "seeds", "pairs", "models", "scope", "mean", "se", "df", "sd", "standardized",
    "boot_low", "boot_high", "variance_pretext", "variance_run",
]  # fmt: skip


def _row(pairs: pd.DataFrame) -> dict[str, Any]:
    """Numbers of one comparison, by the design that its pairs have."""
    values, pairs = independent(pairs)
    known = len(set(pairs["init_artifact"].dropna()))
    numbers = {
        "seeds": len(set(pairs["seed"])),
        "pairs": len(pairs),
        "models": max(known, 1),
        "scope": _scope(pairs),
        "boot_low": np.nan, "boot_high": np.nan, "variance_pretext": np.nan,
    }  # fmt: skip
    if values.ndim == 2:
        estimate, numbers["variance_pretext"], numbers["variance_run"] = two_way(values)
    else:
        estimate = one_way(values)
        numbers["variance_run"] = values.var(ddof=1) if len(values) == len(pairs) > 1 else np.nan
        if len(values) >= BOOTSTRAP_FROM and estimate.se > 0:
            numbers["boot_low"], numbers["boot_high"] = bootstrap(values)
    sd = pairs["difference"].std(ddof=1) if len(pairs) > 1 else np.nan
    standardized = estimate.mean / sd if estimate.se > 0 else np.nan
    spread = {"sd": sd, "standardized": standardized}
    return numbers | spread | {c: float(getattr(estimate, c)) for c in ("mean", "se", "df")}


def _scope(pairs: pd.DataFrame) -> str:
    """How many pretext models the pairs speak of: of the pool, else of the query or the learner."""
    pool, query, learner = (len(set(pairs[name].dropna())) for name in ARTIFACTS)
    others = [count for count in (query, learner) if count]
    if pool > 1:
        return f"{pool} artifacts" + (", one to learn from" if learner == 1 else "")
    least = min([*others, *([pool] if pool else [])], default=0)
    return ("no artifact", "this artifact")[least] if least < 2 else f"{least} artifacts"


def independent(pairs: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Differences as what is independent of what, and the pairs that they are made of.

    - One model, or a model of its own behind every seed: (seeds,).
    - Models crossed with seeds: (S, K), the largest block without a hole.
    - Several seeds to a model, none with two models: (models,), the mean of each model's seeds;
      seeds of one model are not independent of each other.
    - A single seed under several models: (1,), because it says nothing of runs.
    """
    seeds, models = set(pairs["seed"]), set(pairs["model"])
    if len(seeds) == len(pairs):
        if len(models) in (1, len(seeds)):
            return pairs["difference"].to_numpy(), pairs
        return pairs.groupby("model")["difference"].mean().to_numpy(), pairs
    table = pairs.pivot(index="seed", columns="model", values="difference")
    block = _largest_block(table)
    inside = pairs["seed"].isin(block.index) & pairs["model"].isin(block.columns)
    values = block.to_numpy()
    if min(values.shape) == 1:
        values = values[:, 0] if values.shape[1] == 1 else values.mean(axis=1)
    return values, pairs[inside]


def _largest_block(table: pd.DataFrame) -> pd.DataFrame:
    """The (seeds, models) part without a hole that has most pairs; models by their seeds."""
    models = table.notna().sum().sort_values(ascending=False, kind="stable").index
    blocks = [table[models[: k + 1]].dropna() for k in range(len(models))]
    return max(blocks, key=lambda block: block.size)


def _expected(ends: pd.DataFrame) -> pd.DataFrame:
    """Pairs that each arm is to have: all seeds of data and learner, under each pretext seed."""
    seeds = ends.groupby(["data", "base"])["seed"].nunique().rename("seeds")
    pretexts = ends.groupby(["data", "base", "arm"])["pretext"].nunique().rename("pretexts")
    table = pretexts.reset_index().merge(seeds.reset_index(), on=["data", "base"])
    return table.assign(expected=table.pop("pretexts") * table.pop("seeds"))


def _with_uncontrolled(table: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """Adds a row for each query that no passive run of its kind, pool and seed stands beside."""
    long = ends.melt([*COMPARISON[:-1], "seed"], ["aubc", "final"], "endpoint").dropna()
    asked = long[~is_passive(long["query"])].groupby(COMPARISON, as_index=False)["seed"].nunique()
    there = pd.MultiIndex.from_frame(table[COMPARISON])
    rows = asked[~pd.MultiIndex.from_frame(asked[COMPARISON]).isin(there)]
    rows = rows.rename(columns={"seed": "missing"}).assign(
        controlled=False, seeds=0, pairs=0, models=0, scope=""
    )
    rows = rows.reindex(columns=table.columns)
    parts = [part for part in (table, rows) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else table
