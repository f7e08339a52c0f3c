"""Two CPU processes (gloo) choose what one chooses, bit for bit, from the same weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.test_queries import QUERIES

Found = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Found]:
    """What one and what two processes chose, by query and size."""
    folder = tmp_path_factory.mktemp("ranks")
    results = {}
    for processes in (1, 2):
        file: Path = folder / f"{processes}.npz"
        command = [sys.executable, str(ROOT / "tests/query_ranks.py"), str(processes), str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        results[processes] = dict(np.load(file))
    return results


@pytest.mark.parametrize("size", [61, 11])
@pytest.mark.parametrize("name", QUERIES)
def test_two_processes_choose_as_one(found: dict[int, Found], name: str, size: int) -> None:
    """11 images leave one in U, fewer than processes."""
    for what in ("indices", "scores"):
        one, two = (found[processes][f"{name}/{size}/{what}"] for processes in (1, 2))
        assert np.array_equal(one, two, equal_nan=what == "scores"), what
