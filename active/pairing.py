"""Rows of runs -> endpoints of each run -> paired differences.

A pair is two runs of the same data, learner, seed and pretext model that differ in one thing: the
initial pool (against the random one) or the query (against passive learning). They share the
validation set, fresh weights and test set, so that their difference varies less than either.
"""

from __future__ import annotations

import pandas as pd

from active.columns import ANY, ARTIFACTS, CONTROL, LABELED, METRIC, RUN, SETTING, options_of
from datamodules.errors import UserError

ENDPOINTS = ("aubc", "final", "start")
COMPARISON = [*SETTING, "classifier", "arm", "endpoint"]
PAIR = [*COMPARISON, "seed", "model", *ARTIFACTS, "difference"]
CARRIED = ["classifier", *ARTIFACTS]
# Settings of the learner that make it another kind of classifier, not another learner.
KINDS = r"-(?:dropout|members)[^-]*"


def endpoints(runs: pd.DataFrame, metric: str = METRIC) -> pd.DataFrame:
    """A row a run: its area under the budget curve, its last value and its first.

    `aubc` is the area by trapezoids over the labeled images, divided by their range, so that it
    has the metric's unit; with a single budget it is the value there. `aubc` and `final` are NaN
    for a run that misses any budget which another run of the same data and learner has: areas over
    different ranges are no pair.

    Args:
        runs: a row for each cycle of each run, as `active.results.read_runs` gives it.
        metric: the column that is compared.

    Returns:
        data, learner, query, arm, pretext, seed, classifier, the artifacts, `base` (the learner
        whatever its kind of classifier), aubc, final and start.

    Raises:
        UserError: a cycle of a run is there twice, as where tables of two experiments are joined.
    """
    if runs.duplicated([*RUN, "cycle"]).any():
        raise UserError(f"rows are there twice; drop_duplicates({[*RUN, 'cycle']}) leaves one each")
    rows = runs.sort_values([*RUN, LABELED], ignore_index=True)
    rows["base"] = base_of(rows["learner"])
    before = rows.groupby(RUN, sort=False)[[LABELED, metric]].shift()
    rows["area"] = (rows[LABELED] - before[LABELED]) * (rows[metric] + before[metric]) / 2
    rows["first"] = rows[metric].where(rows["cycle"] == 0)
    runs_of = rows.groupby(RUN, sort=False)
    ends = runs_of[[*CARRIED, "base"]].first()
    area, span = runs_of["area"].sum(), runs_of[LABELED].max() - runs_of[LABELED].min()
    last = runs_of[metric].last()
    complete = _complete(rows, metric)
    ends["aubc"] = (area / span.where(span > 0)).where(span > 0, last).where(complete)
    ends["final"] = last.where(complete)
    ends["start"] = runs_of["first"].first()
    return ends.reset_index()


def base_of(learners: pd.Series) -> pd.Series:
    """The learners, whatever their kind of classifier.

    >>> base_of(pd.Series(["resnet18-dropouton-min_steps9"])).item()
    'resnet18-min_steps9'
    """
    return learners.str.replace(KINDS, "", regex=True)


def data_set_of(data: pd.Series) -> pd.Series:
    """The data sets, whatever their settings and budgets.

    >>> data_set_of(pd.Series(["cifar10-100+100", "folder-my-cats-0a1b2c-10+10"])).tolist()
    ['cifar10', 'folder-my-cats-0a1b2c']
    """
    return data.str.extract(r"^(folder-.*?-[0-9a-f]{6}|[^-]+)")[0]


def _complete(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Whether each run has as many cycles as any other of its data and learner, none NaN."""
    full = rows.groupby(["data", "base"])
    runs_of = rows.assign(
        most=full["cycle"].transform("max"), end=full[LABELED].transform("max")
    ).groupby(RUN, sort=False)
    reached = runs_of[LABELED].max() == runs_of["end"].first()
    return reached & (runs_of[metric].count() == runs_of["most"].first() + 1)


def pair_pools(ends: pd.DataFrame, control: str = CONTROL) -> pd.DataFrame:
    """Each pool minus the `control` pool under the same query and seed.

    The control of a pair is the run of the same pretext seed where there is one, else that of the
    same seed. `start` is one difference for each kind of classifier (plain, dropout, committee),
    with the query `any`, because queries share cycle 0.

    Returns:
        A row a pair: data, learner, query, classifier, arm, endpoint, seed, `model` (the pretext
        model behind the pool), the artifacts of the run and difference.
    """
    long = _long(ends)
    theirs = long[long["arm"] == control]
    pairs = _match(long[long["arm"] != control], theirs, SETTING, "pretext")
    start = pairs["endpoint"] == "start"
    shared = pairs[start].assign(learner=pairs["base"], query=ANY)
    keys = [c for c in PAIR if c != "difference"]
    shared = shared.groupby(keys, dropna=False, as_index=False)["difference"].mean()
    return pd.concat([pairs.loc[~start, PAIR], shared[PAIR]], ignore_index=True)


def pair_queries(ends: pd.DataFrame, confounded: bool = False) -> pd.DataFrame:
    """Each query minus passive learning from the same pool, at `aubc` and `final`.

    The passive run has the same kind of classifier: a dropout network or a committee differs from
    a plain network before any query is asked. `confounded` is the paper's own comparison instead,
    of those queries with the plain passive run.
    """
    long = _long(ends)
    long = long[long["endpoint"] != "start"]
    passive = is_passive(long["query"])
    ours, theirs = long[~passive], long[passive]
    keys = ["data", "base", "arm", "pretext"]
    if confounded:
        ours = ours[ours["classifier"] != "plain"]
        theirs = theirs[theirs["classifier"] == "plain"]
    else:
        keys.append("classifier")
    return _match(ours, theirs, keys, "learner")[PAIR]


def is_passive(queries: pd.Series) -> pd.Series:
    """Whether these queries are passive learning, whatever their settings."""
    return options_of(queries) == CONTROL


def _long(ends: pd.DataFrame) -> pd.DataFrame:
    """A row for each known endpoint of each run, with the model behind its pool."""
    kept = [*RUN, *CARRIED, "base"]
    long = ends.melt(kept, ENDPOINTS, var_name="endpoint").dropna(subset="value")
    return long.assign(model=long["init_artifact"].where(long["init_artifact"].notna(),
                                                         long["pretext"]))  # fmt: skip


def _match(
    ours: pd.DataFrame, theirs: pd.DataFrame, keys: list[str], preferred: str
) -> pd.DataFrame:
    """Adds `difference` to ours: the control agrees in `keys`, and in `preferred` if one does."""
    keys = [*keys, "seed", "endpoint"]
    exact = theirs.drop_duplicates([*keys, preferred]).set_index([*keys, preferred])["value"]
    loose = theirs.sort_values(preferred).drop_duplicates(keys).set_index(keys)["value"]
    first = exact.reindex(pd.MultiIndex.from_frame(ours[[*keys, preferred]])).to_numpy()
    second = loose.reindex(pd.MultiIndex.from_frame(ours[keys])).to_numpy()
    control = pd.Series(first, ours.index).fillna(pd.Series(second, ours.index))
    return ours.assign(difference=ours["value"] - control).dropna(subset="difference")
