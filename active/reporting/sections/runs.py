"""What was run: seeds, commits, hardware, versions, and what failed or is missing."""

from __future__ import annotations

import pandas as pd

from active import formats
from active.columns import PARTS
from active.reporting.blocks import Block, Column, Lead, Section, Table
from active.reporting.material import Material

WITH = {
    "commit": "commit", "hardware": "hardware", "device": "device", "precision": "precision",
    "threads": "threads", "world_size": "devices", "torch": "torch",
}  # fmt: skip
STARTED = "started"
UNFINISHED = (
    *(Column(part, part) for part in ("init", "query", "data", "learner", "seed")),
    Column("cycles", "cycles done", formats.count),
    Column("state", "what is known"),
)
GRID = (
    Column("data", "data"), Column("learner", "learner"), Column("pools", "initial pools"),
    Column("queries", "queries"), Column("seeds", "seeds"), Column("runs", "runs", formats.count),
    Column("cycles", "cycles", formats.count),
)  # fmt: skip


def section(material: Material) -> Section:
    """The grid, its environment, and every failed or missing run."""
    blocks: list[Block] = []
    unfinished = material.unfinished
    if unfinished.empty:
        blocks.append("Every arm has all its seeds and cycles; no run failed.")
    else:
        failed = unfinished["state"].str.startswith("failed").sum()
        text = f"{formats.plural(len(unfinished), 'run')} failed, stopped or missing"
        blocks.append(Lead(text + (f", {failed} of them failed." if failed else ".")))
        blocks.append(
            Table("unfinished", "Failed, stopped and missing runs", unfinished, UNFINISHED,
                  "Relative to the others: every arm is expected to have the seeds and cycles that "
                  "another arm of the same data has.")
        )  # fmt: skip
    blocks.append(Table("grid", "The grid", grid_table(material.runs), GRID))
    environments = environment_table(material.environments)
    columns = [Column(name, title) for name, title in WITH.items() if name in environments]
    columns += [Column("runs", "runs", formats.count)]
    if STARTED in environments:
        columns += [Column(STARTED, "first started")]
    blocks.append(
        Table("environments", "With what the runs were made", environments, tuple(columns))
    )
    return Section("What was run", blocks)


def grid_table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per (data, learner): its pools, queries, seeds, number of runs and of cycles."""
    rows = []
    for (data, learner), part in runs.groupby(["data", "learner"]):
        seeds = part["seed"].unique()
        few = ", ".join(seeds) if len(seeds) <= 5 else formats.plural(len(seeds), "seed")
        rows.append(
            {
                "data": data,
                "learner": learner,
                "pools": ", ".join(sorted(part["init"].unique())),
                "queries": ", ".join(sorted(part["query"].unique())),
                "seeds": few,
                "runs": len(part.drop_duplicates(list(PARTS))),
                "cycles": int(part["cycle"].max()) + 1,
            }
        )
    return pd.DataFrame(rows)


def environment_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs by what they were made with; what is not known is left out."""
    known = [name for name in WITH if name in runs and runs[name].notna().any()]
    if not known:
        return pd.DataFrame({"runs": [len(runs)]})
    groups = runs.assign(**{n: runs[n].map(formats.text) for n in known}).groupby(known)
    table = groups.size().rename("runs").reset_index()
    if STARTED in runs:
        table[STARTED] = groups[STARTED].min().to_numpy()
    return table
