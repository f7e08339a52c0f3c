"""Verdicts: each pool beside the random pool, each query beside passive learning."""

from __future__ import annotations

from functools import partial

import pandas as pd

from active import formats
from active.columns import ANY, RUN
from active.figures.forest import differences
from active.pairing import endpoints
from active.reporting.blocks import Block, Column, Picture, Section, Table, file_name
from active.reporting.material import Material

ENDPOINTS = {
    "aubc": "area under the budget curve",
    "final": "accuracy at the last budget",
    "start": "accuracy of the first model",
}
QUERY_ENDPOINTS = ("aubc", "final")  # a first model asks no query
STATISTICS = (
    Column("verdict", "verdict", badge=True),
    Column("mean", "difference", formats.points),
    Column("low", "low", formats.points),
    Column("high", "high", formats.points),
    Column("low90", "90 %: low", formats.points),
    Column("high90", "high", formats.points),
    Column("standardized", "in sd", formats.decimal),
    Column("p", "p", formats.p_value),
    Column("p_holm", "p, Holm", formats.p_value),
    Column("p_tost", "p, TOST", formats.p_value),
    Column("detectable", "detectable", formats.points),
    Column("seeds", "seeds", formats.count),
    Column("pairs", "pairs", formats.count),
    Column("missing", "missing", formats.count),
)
OPTIONAL = (
    Column("boot_low", "bootstrap low", formats.points),
    Column("boot_high", "bootstrap high", formats.points),
    Column("sd_pretext", "sd, pretext", formats.points),
    Column("sd_run", "sd, run", formats.points),
)
PLACE = (Column("data", "data"), Column("learner", "learner"), Column("query", "query"))
RUNS = (
    *(Column(name, name) for name in (*RUN, "classifier")),
    *(Column(name, name, formats.percent) for name in ENDPOINTS),
)
POOL = (Column("arm", "initial pool"), *PLACE)
QUERY = (Column("query", "query"), Column("arm", "initial pool"), *PLACE[:2])


def section(material: Material) -> Section:
    """Tables and pictures of all comparisons."""
    blocks: list[Block] = [
        "A difference is taken pair by pair, between runs that share the seed, in points of "
        f"{material.metric_name}. The verdict is equivalent if the 90 % interval lies within "
        f"{formats.margin(material.margin)} of zero; else better or worse if the paired t test has "
        "p < .05 after Holm's correction over all comparisons of the endpoint; else undecided. "
        "“Detectable” "
        "is the smallest true difference that the first step of this correction would have found "
        "with 80 % power. Equivalence is each comparison's own, uncorrected. “Low” and “high” are "
        "the limits of the 95 % t interval, uncorrected too, so that it may leave the margin where "
        "the verdict is equivalent, and leave out zero where it is undecided. "
        "“Scope” says what the intervals speak of: with one pretext model behind all pools, "
        "queries or learners, of that model alone."
    ]
    pools = material.pool_verdicts
    if pools.empty:
        blocks.append("There is no pool to compare: a random pool and another one are needed.")
    for endpoint, title in ENDPOINTS.items():
        table = pools[pools["endpoint"] == endpoint]
        keys = tuple(c for c in POOL if endpoint != "start" or c.key != "query")
        if endpoint != "aubc":  # those are on the first page
            blocks += pictures(table, endpoint, material.margin)
        blocks += _table(
            f"verdicts_pools_{endpoint}", f"Pools against the random pool: {title}", keys, table
        )
    blocks += _queries(material.query_verdicts)
    title = "What was compared: a row a run"
    ends = endpoints(material.runs, material.metric)
    blocks.append(Table("endpoints", title, ends, RUNS, folded=True))
    return Section("Verdicts", blocks)


def pictures(table: pd.DataFrame, endpoint: str, margin: float) -> list[Block]:
    """Differences to the random pool, a picture for each data set and learner."""
    title = ENDPOINTS[endpoint]
    kinds = table["classifier"] + " " if table["classifier"].nunique() > 1 else ""
    everything = "every " + kinds + "query"  # under which pools were compared at cycle 0
    table = table.assign(query=table["query"].mask(table["query"] == ANY, everything))
    found: list[Block] = []
    for (data, learner), part in table.groupby(["data", "learner"]):
        name = file_name(f"differences-{endpoint}-{data}-{learner}")
        counts = part["verdict"].value_counts()
        alt = (
            f"Differences to the random pool in the {title}, {data}, {learner}, with 95 % "
            "intervals: "
            + formats.listing([f"{number} {word}" for word, number in counts.items()])
            + "."
        )
        draw = partial(differences, part, margin, "difference to the random pool, points")
        note = (
            "Points of accuracy with their 95 % t interval; the gray band is the margin. Hollow: "
            "undecided."
        )
        found.append(
            Picture(name, f"{data}, {learner}: {title}, pool minus random", alt, draw, note)
        )
    return found


def _table(
    name: str, title: str, keys: tuple[Column, ...], table: pd.DataFrame, note: str = ""
) -> list[Block]:
    """The table, without what no row has; variances are shown as standard deviations."""
    if table.empty:
        return []
    table = table.assign(
        sd_pretext=table["variance_pretext"] ** 0.5, sd_run=table["variance_run"] ** 0.5
    )
    if "classifier" in table and table["classifier"].nunique() > 1:
        keys = (*keys, Column("classifier", "classifier"))
    known = [c for c in OPTIONAL if table[c.key].notna().any()]
    columns = (*keys, *STATISTICS, *known, Column("scope", "scope"))
    return [Table(name, title, table, columns, note)]


def _queries(table: pd.DataFrame) -> list[Block]:
    """Fair comparisons first, then the paper's own where they differ."""
    fair, papers = table[~table["confounded"]], table[table["confounded"]]
    blocks: list[Block] = []
    for endpoint in QUERY_ENDPOINTS:
        rows = fair[fair["endpoint"] == endpoint]
        title = f"Queries against passive learning from the same pool: {ENDPOINTS[endpoint]}"
        note = (
            "Dropout networks and committees are compared with passive learning by a network of "
            "their own kind; “no control” where there is none."
            if (rows["classifier"] != "plain").any()
            else ""
        )
        blocks += _table(f"verdicts_queries_{endpoint}", title, QUERY, rows, note)
    note = (
        "These differences mix two causes, the query and the kind of classifier; they are here "
        "only to be laid beside the published ones."
    )
    for endpoint in QUERY_ENDPOINTS:
        rows = papers[papers["endpoint"] == endpoint]
        title = (
            "The paper's own comparison, with a plain passive network (confounded): "
            f"{ENDPOINTS[endpoint]}"
        )
        blocks += _table(f"verdicts_queries_confounded_{endpoint}", title, QUERY, rows, note)
    return blocks
