"""Twelve runs on two Ray workers of one thread each, against the same runs one after another.

Run with `pytest -m benchmark -s` on a machine with two free cores; the ratio counts all that a
command takes, starting Ray as well: about 20 seconds, which count for less the longer runs are.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.benchmark
TWELVE = ["--logger", "csv", "--init", "random,balanced", "--query", "random,margin"]
TWELVE += ["--seed", "0,1,2", "--trainer.max_epochs", "100"]  # the paper's number


def seconds(folder: Path, *how: str) -> float:
    folder.mkdir()
    started = time.perf_counter()
    command = [sys.executable, str(ROOT / "active/run.py"), *TWELVE, *how]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started


def test_a_grid_on_two_workers(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="Ray: the extra `cluster`")
    ray = seconds(tmp_path / "ray", "--launcher", "local", "--processes", "2")
    one = seconds(tmp_path / "one", "-m")
    print(f"\n12 runs: {one:.0f} s one after another, {ray:.0f} s on two workers: {ray / one:.2f}")
    assert len(list((tmp_path / "ray").glob("runs/**/cycle_4/model.ckpt"))) == 12
