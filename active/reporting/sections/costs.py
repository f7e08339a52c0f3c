"""Costs: seconds of training, of querying and of pretext models."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from active import formats
from active.columns import ARTIFACTS, CURVE, RUN
from active.provenance import lineage
from active.reporting.blocks import Column, Section, Table
from active.reporting.material import Material

TRAIN, QUERY = "time/train_s", "time/query_s"
COLUMNS = (
    Column("arm", "initial pool"), Column("query", "query"), Column("data", "data"),
    Column("learner", "learner"), Column("runs", "runs", formats.count),
    Column("train", "training a run", formats.seconds),
    Column("ask", "querying a run", formats.seconds),
    Column("pretext", "pretext models", formats.seconds),
    Column("all", "all runs", formats.seconds),
)  # fmt: skip


def section(material: Material) -> Section:
    """Wall time of each arm, and what its pretext models took once."""
    runs = material.runs
    if not {TRAIN, QUERY} <= set(runs.columns):
        return Section("Costs", ["These rows hold no times."])
    table = cost_table(runs)
    table["pretext"] = table.pop("artifacts").map(lambda names: pretext_seconds(names, material))
    total = table["all"].sum()
    once = pretext_seconds(_names(runs), material)
    told = (
        f"{formats.plural(int(table['runs'].sum()), 'run')} took {formats.seconds(total)} "
        "of training and querying"
        + (f", and the pretext models behind them {formats.seconds(once)}, once." if once else ".")
    )
    note = (
        "Wall time on the hardware below, per run the sum over its cycles, mean over runs; a cycle "
        "0 that was shared counts in each. A pretext model counts with all it stands on, and is "
        "made once for all runs."
    )
    return Section("Costs", [told, Table("costs", "Seconds of each arm", table, COLUMNS, note)])


def cost_table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per (data, learner, query, arm): runs, mean seconds of a run, all, and artifacts."""
    each = runs.groupby(RUN, as_index=False).agg(train=(TRAIN, "sum"), ask=(QUERY, "sum"))
    each["all"] = each["train"] + each["ask"]
    table = each.groupby(CURVE).agg(
        runs=("seed", "size"), train=("train", "mean"), ask=("ask", "mean"), all=("all", "sum")
    )
    artifacts = {key: _names(rows) for key, rows in runs.groupby(CURVE)}
    return table.assign(artifacts=pd.Series(artifacts)).reset_index()


def _names(runs: pd.DataFrame) -> set[str]:
    """The artifacts that these runs read for their pools, queries and learners."""
    return {name for column in ARTIFACTS for name in runs[column].dropna()}


def pretext_seconds(names: Iterable[str], material: Material) -> float | None:
    """Seconds of these artifacts and of all they stand on, each once; None if none was found."""
    stages = {a.name: a for name in names for a in lineage(name, material.artifacts)}
    return sum(a.record["wall_seconds"] for a in stages.values()) if stages else None
