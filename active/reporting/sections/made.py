"""What was run: seeds, commits, hardware, versions, and what failed or is missing."""

from __future__ import annotations

import pandas as pd

from active.reporting import words
from active.reporting.blocks import Column, Lead, Section, Table
from active.reporting.material import Material
from active.results import PARTS

WITH = {
    "commit": "commit", "hardware": "hardware", "device": "device", "precision": "precision",
    "threads": "threads", "world_size": "devices", "torch": "torch",
}  # fmt: skip
STARTED = "started"
UNFINISHED = (
    *(Column(part, part) for part in ("init", "query", "data", "learner", "seed")),
    Column("cycles", "cycles done", words.count),
    Column("state", "what is known"),
)
GRID = (
    Column("data", "data"), Column("learner", "learner"), Column("pools", "initial pools"),
    Column("queries", "queries"), Column("seeds", "seeds"), Column("runs", "runs", words.count),
    Column("cycles", "cycles", words.count),
)  # fmt: skip


def section(material: Material) -> Section:
    """The grid, its environment, and every failed or missing run."""
    made = Section("What was run")
    unfinished = material.unfinished
    if unfinished.empty:
        made.blocks.append("Every arm has all its seeds and cycles; no run failed.")
    else:
        failed = unfinished["state"].str.startswith("failed").sum()
        text = f"{words.plural(len(unfinished), 'run')} failed, stopped or missing"
        made.blocks.append(Lead(text + (f", {failed} of them failed." if failed else ".")))
        made.blocks.append(
            Table("unfinished", "Failed, stopped and missing runs", unfinished, UNFINISHED,
                  "Relative to the others: every arm is expected to have the seeds and cycles that "
                  "another arm of the same data has.")
        )  # fmt: skip
    made.blocks.append(Table("grid", "The grid", grid_table(material.runs), GRID))
    environments = environment_table(material.made)
    columns = [Column(name, title) for name, title in WITH.items() if name in environments]
    columns += [Column("runs", "runs", words.count)]
    if STARTED in environments:
        columns += [Column(STARTED, "first started")]
    made.blocks.append(
        Table("environments", "With what the runs were made", environments, tuple(columns))
    )
    return made


def grid_table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per (data, learner): its pools, queries, seeds, number of runs and of cycles."""
    rows = []
    for (data, learner), part in runs.groupby(["data", "learner"]):
        seeds = part["seed"].unique()
        rows.append(
            {
                "data": data,
                "learner": learner,
                "pools": ", ".join(sorted(part["init"].unique())),
                "queries": ", ".join(sorted(part["query"].unique())),
                "seeds": ", ".join(seeds) if len(seeds) <= 5 else words.plural(len(seeds), "seed"),
                "runs": len(part.drop_duplicates(list(PARTS))),
                "cycles": int(part["cycle"].max()) + 1,
            }
        )
    return pd.DataFrame(rows)


def environment_table(made: pd.DataFrame) -> pd.DataFrame:
    """Runs by what they were made with; what is not known is left out."""
    known = [name for name in WITH if name in made and made[name].notna().any()]
    if not known:
        return pd.DataFrame({"runs": [len(made)]})
    groups = made.assign(**{n: made[n].map(words.text) for n in known}).groupby(known)
    table = groups.size().rename("runs").reset_index()
    if STARTED in made:
        table[STARTED] = groups[STARTED].min().to_numpy()
    return table
