"""How long a report of many curves takes; run with `pytest -m benchmark -s`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from active.results import read_pools, read_runs
from tests.conftest import run_cli
from tests.study_folder import write_study

INITS = {"random": 0.5, "simclr": 0.51, "vae": 0.4, "scan": 0.52, "kmeans": 0.505}
QUERIES = ("random", "entropy", "margin", "coreset")


@pytest.mark.benchmark
def test_a_thousand_curves(tmp_path: Path) -> None:
    """Everything is proportional to the curves but the figures, which are drawn once an arm."""
    runs_dir = write_study(tmp_path, INITS, QUERIES, seeds=50, cycles=10)
    for name, read in (("rows", read_runs), ("pools", read_pools)):
        started = time.perf_counter()
        table = read(runs_dir, "made")
        print(f"\n{name}: {len(table):,} read in {time.perf_counter() - started:.1f} s", end="")
    started = time.perf_counter()
    finished = run_cli("report", "--experiment", "made", "--runs_dir", str(runs_dir))
    assert finished.status == 0, finished.err
    print(f"\nthe whole report: {time.perf_counter() - started:.1f} s")
