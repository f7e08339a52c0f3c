"""Two CPU processes (gloo) choose what one chooses, bit for bit, from the same weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.test_queries import QUERIES

TRAIN = {"vaal"}  # a model of their own, which more processes train with other arithmetic
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
@pytest.mark.parametrize("name", [name for name in QUERIES if name not in TRAIN])
def test_two_processes_choose_as_one(found: dict[int, Found], name: str, size: int) -> None:
    """11 images leave one in U, fewer than processes."""
    for what in ("indices", "scores"):
        one, two = (found[processes][f"{name}/{size}/{what}"] for processes in (1, 2))
        assert np.array_equal(one, two, equal_nan=what == "scores"), what


@pytest.mark.parametrize("size", [61, 11])
@pytest.mark.parametrize("name", sorted(TRAIN))
def test_two_processes_train_a_querys_model(found: dict[int, Found], name: str, size: int) -> None:
    indices, scores = (found[2][f"{name}/{size}/{what}"] for what in ("indices", "scores"))
    assert len(set(indices)) == len(indices) == {61: 20, 11: 1}[size]
    assert indices.min() >= 10
    assert np.isfinite(scores).all()


def test_two_processes_of_vaal_agree(found: dict[int, Found]) -> None:
    """From the same weights the same scores; after training the same weights on both."""
    assert np.array_equal(found[1]["vaal/untrained"], found[2]["vaal/untrained"])
    assert found[2]["vaal/spread"] == 0
