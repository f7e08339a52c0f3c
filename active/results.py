"""Run folders -> one table of rows."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from active.folder import ROWS
from datamodules.errors import UserError, unknown

PARTS = ("data", "init", "query", "learner", "seed")


def read_runs(runs_dir: Path, experiment: str) -> pd.DataFrame:
    """A row for each cycle of each run of an experiment, complete cycles only.

    Columns: data, init, query, learner, seed, cycle and the metrics; sorted by them.
    """
    folder = runs_dir / experiment
    if not folder.is_dir():
        if not runs_dir.is_dir():
            raise UserError(f"there are no runs: {runs_dir.resolve()} does not exist")
        names = [f.name for f in runs_dir.iterdir() if f.is_dir() and not f.name.startswith(".")]
        raise unknown("experiment", experiment, names)
    rows = []
    for file in sorted(folder.glob("*/" * len(PARTS) + ROWS)):
        parts = dict(zip(PARTS, file.relative_to(folder).parts, strict=False))
        lines = file.read_bytes().split(b"\n")[:-1]  # what follows the last newline was cut off
        try:
            rows += [{**parts, **json.loads(line)} for line in lines]
        except ValueError as error:
            raise UserError(f"{file} is damaged ({error})") from error
    if not rows:
        raise UserError(f"there are no finished cycles in {folder}")
    return pd.DataFrame(rows).sort_values([*PARTS, "cycle"], ignore_index=True)


def failed_runs(runs_dir: Path, experiment: str) -> list[str]:
    """Runs that ended with an error, with its last line."""
    folder = runs_dir / experiment
    return [
        f"{file.parent.relative_to(folder)}: {file.read_text().strip().splitlines()[-1]}"
        for file in sorted(folder.glob("*/" * len(PARTS) + "error.txt"))
    ]


def curve_table(runs: pd.DataFrame, metric: str = "test/acc") -> pd.DataFrame:
    """Mean, sd (ddof 1; NaN for one seed) and number of seeds of each arm at each budget."""
    keys = ["data", "learner", "query", "init", "pool/labeled"]
    table = runs.groupby(keys)[metric].agg(["mean", "std", "count"]).reset_index()
    return table.rename(columns={"pool/labeled": "labeled", "std": "sd", "count": "seeds"})
