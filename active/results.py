"""Run folders -> tables: a row a cycle, what each cycle added, and what failed or is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from active.columns import ARTIFACTS, PARTS
from active.folder import CONFIG
from conf.identity import ERROR, ROWS
from datamodules.errors import UserError, unknown

DEFAULTS = {"classifier": "plain", **dict.fromkeys(ARTIFACTS)}  # of rows that do not say
PRETEXT = re.compile(r"-pretext([^-]+)$")


def read_runs(runs_dir: Path | str, experiment: str) -> pd.DataFrame:
    """A row for each cycle of each run of an experiment, complete cycles only.

    Columns: data, init, query, learner, seed (parts of the run's folder), cycle and the metrics;
    `arm` and `pretext` are the init without its pretext seed, and that seed ("" where it is the
    default one); `classifier` is what `Learner.kind` says; `init_artifact`, `query_artifact`
    and `learner_artifact` name the pretext artifacts that these read. Sorted by the parts and the
    cycle.
    """
    rows: list[dict[str, Any]] = []
    runs_dir = Path(runs_dir)
    for file, parts in run_files(runs_dir, experiment, ROWS):
        lines = file.read_bytes().split(b"\n")[:-1]  # what follows the last newline was cut off
        rows += [{**DEFAULTS, **parts, **_row(file, line)} for line in lines]
    if not rows:
        raise UserError(f"there are no finished cycles in {runs_dir / experiment}")
    table = pd.DataFrame(rows)
    table["arm"], table["pretext"] = split_init(table["init"])
    return table.sort_values([*PARTS, "cycle"], ignore_index=True)


def read_pools(runs_dir: Path, experiment: str, seeds: int | None = None) -> pd.DataFrame:
    """What was added for each cycle: a row per (data, init, query, learner, seed, cycle).

    Columns: those, `arm`, `pretext`, `indices` (samples in order of preference) and, for cycle 0,
    the content of `pool.json` (`size`, `class_counts`, `overlap_random`, ...).

    Args:
        seeds: read only the first so many seeds of each arm; all where None.
    """
    rows = []
    for file, parts in run_files(runs_dir, experiment, "cycle_0/selected.parquet", seeds):
        described = _json(file.with_name("pool.json"))
        rows.append({**parts, "cycle": 0, **described, "indices": _indices(file)})
        for cycle in count(1):
            later = file.parent.with_name(f"cycle_{cycle}") / file.name
            if not later.exists():
                break
            rows.append({**parts, "cycle": cycle, "indices": _indices(later)})
    table = pd.DataFrame(rows, columns=None if rows else [*PARTS, "cycle", "indices"])
    table["arm"], table["pretext"] = split_init(table["init"].astype(str))
    return table.sort_values([*PARTS, "cycle"], ignore_index=True)


def failed_runs(runs_dir: Path, experiment: str) -> dict[tuple[str, ...], str]:
    """The last line of the error that each failed run ended with, by the run's parts."""
    failed = {}
    for file, parts in run_files(runs_dir, experiment, ERROR):
        lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        failed[tuple(parts.values())] = lines[-1] if lines else "no reason was written"
    return failed


def unfinished_runs(
    runs: pd.DataFrame,
    failed: dict[tuple[str, ...], str],
    started: set[tuple[str, ...]],
    asked: dict[str, int] | None = None,
) -> pd.DataFrame:
    """Runs that failed, never started or stopped early, relative to the others of their data.

    Every arm (data, init, query, learner) is expected to have the seeds and the cycles that any
    other arm of the same data has. An error does not count where the run is complete: it is of
    another attempt.

    Args:
        runs: the table of `read_runs`.
        failed, started: parts of the runs that left an error, and of those that have a folder.
        asked: the last cycle that configs ask for, by data; a run that failed before it is not
            complete, even where no other got further.

    Returns:
        The parts, `cycles` (complete ones) and `state` (a few words) of each such run.
    """
    done = runs.groupby(list(PARTS))["cycle"].max()
    last = runs.groupby("data")["cycle"].max().to_dict()
    known = {*done.index, *failed, *started}
    seeds: dict[str, set[str]] = {}
    for parts in known:
        seeds.setdefault(parts[0], set()).add(parts[4])
    ends = {data: max(last.get(data, 0), (asked or {}).get(data, 0)) for data in seeds}
    expected = {(*p[:4], seed) for p in known for seed in seeds[p[0]]}
    rows = []
    for parts in sorted(expected):
        cycle = done.get(parts, -1)
        if parts in failed and cycle < ends[parts[0]]:
            state = f"failed: {failed[parts]}"
        elif cycle < 0:
            state = "no cycle finished" if parts in started else "not started"
        elif cycle < last[parts[0]]:
            state = f"stopped after cycle {cycle} of {last[parts[0]]}"
        else:
            continue
        rows.append((*parts, cycle + 1, state))
    return pd.DataFrame(rows, columns=[*PARTS, "cycles", "state"])


def started_runs(runs_dir: Path, experiment: str) -> set[tuple[str, ...]]:
    """Parts of all runs that have a folder."""
    found = run_files(runs_dir, experiment, CONFIG)
    return {tuple(parts.values()) for _, parts in found}


def split_init(inits: pd.Series) -> tuple[pd.Series, pd.Series]:
    """`simclr-bins5-pretext1` -> `simclr-bins5` and `1`, for each.

    >>> [part.tolist() for part in split_init(pd.Series(["vae-pretext1", "random"]))]
    [['vae', 'random'], ['1', '']]
    """
    return inits.str.replace(PRETEXT, "", regex=True), inits.str.extract(PRETEXT)[0].fillna("")


def run_files(
    runs_dir: Path, experiment: str, name: str, seeds: int | None = None
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Files of that name in the run folders of an experiment, in order, with the folder's parts.

    `seeds` keeps only the first so many of each arm that have the file.
    """
    folder = _folder(runs_dir, experiment)
    taken: dict[tuple[str, ...], int] = {}
    for run in sorted(folder.glob("/".join("*" * len(PARTS))), key=_natural):
        values = run.relative_to(folder).parts
        file = run / name
        if not values[-1].startswith("seed") or not file.is_file():
            continue
        arm = values[:-1]
        taken[arm] = taken.get(arm, 0) + 1
        if seeds is None or taken[arm] <= seeds:
            yield file, dict(zip(PARTS, values, strict=True))


def _folder(runs_dir: Path, experiment: str) -> Path:
    folder = runs_dir / experiment
    if not folder.is_dir():
        if not runs_dir.is_dir():
            what = "is no folder" if runs_dir.exists() else "does not exist"
            raise UserError(f"there are no runs: {runs_dir.absolute()} {what}")
        names = [f.name for f in runs_dir.iterdir() if f.is_dir() and not f.name.startswith(".")]
        raise unknown("experiment", experiment, names)
    return folder


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts seed2 before seed10."""
    return [(int(w) if w.isdecimal() else -1, w) for w in re.split(r"(\d+)", str(path))]


def _indices(file: Path) -> np.ndarray:
    try:
        with pq.ParquetFile(file) as opened:  # a quarter of the time of `read_table`
            return opened.read(["index"], use_threads=False)["index"].to_numpy()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file} is damaged ({error})") from error


def _row(file: Path, line: bytes) -> dict[str, Any]:
    row = _parsed(file, line)
    if "cycle" not in row:
        raise UserError(f"{file} is damaged (a row has no cycle)")
    return row


def _json(file: Path) -> dict[str, Any]:
    return _parsed(file, file.read_bytes()) if file.exists() else {}


def _parsed(file: Path, text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is damaged (it holds {type(content).__name__}, not names)")
    return content
