"""Killed at any instant and started again, a run ends as if nothing had happened."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import TINY, only_run, rows_of, run_cli, selected_of
from tests.processes import SERVER, die, finish, kill_after

COMMAND = (*TINY, "--query", "entropy", "--seed", "5")


def run(folder: str, place: str | None = None, count: int = 0, before: bool = True) -> None:
    """The run in a process of its own, killed at one of its writes or steps."""
    from active import folder as files
    from active.classifier import Classifier

    os.chdir(folder)
    if place == "step":
        Classifier.training_step = kill_after(Classifier.training_step, count, before)
    elif place == "validation":
        Classifier.validation_step = kill_after(Classifier.validation_step, count, before)
    elif place in ("query", "SIGTERM in a query"):
        how = signal.SIGTERM if place != "query" else signal.SIGKILL
        Classifier.predict_step = kill_after(Classifier.predict_step, count, before, how)
    elif place == "rename":
        files.os.replace = kill_after(os.replace, count, before)
    elif place == "half a row":
        append = files.RunFolder.append

        def half(self: files.RunFolder, row: dict) -> None:
            if row["cycle"] == count:
                with open(self.path / files.ROWS, "ab") as stream:
                    stream.write(json.dumps(row).encode()[:100])
                die()
            append(self, row)

        files.RunFolder.append = half
    raise SystemExit(run_cli("active", *COMMAND).status)


def start(*arguments: object) -> multiprocessing.process.BaseProcess:
    process = SERVER.Process(target=run, args=arguments)
    process.start()
    return process


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert finish(start(str(folder))) == 0
    return only_run(folder)


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory, reference: Path) -> float:
    """How long an undisturbed run takes once the server is warm."""
    started = time.monotonic()
    assert finish(start(str(tmp_path_factory.mktemp("timed")))) == 0
    return time.monotonic() - started


def check(folder: Path, reference: Path) -> None:
    run = only_run(folder)
    assert rows_of(run) == rows_of(reference)
    assert selected_of(run) == selected_of(reference)
    curves = [(r / "curves.csv").read_text() for r in (run, reference)]
    assert curves[0] == curves[1]
    names = [sorted(p.relative_to(r) for p in r.rglob("*.*")) for r in (run, reference)]
    assert [n for n in names[0] if ".sha" not in str(n)] == [
        n for n in names[1] if ".sha" not in str(n)
    ]


@pytest.mark.parametrize(
    ("place", "count", "before"),
    [
        ("step", 3, True),
        ("validation", 6, False),
        ("query", 2, True),
        ("rename", 3, True),
        ("rename", 5, False),
        ("half a row", 1, True),
    ],
)
def test_killed_and_started_again(
    reference: Path, tmp_path: Path, place: str, count: int, before: bool
) -> None:
    assert finish(start(str(tmp_path), place, count, before)) == -signal.SIGKILL
    assert finish(start(str(tmp_path))) == 0
    check(tmp_path, reference)


def test_sigterm_stops_at_once_as_an_interrupt_does(reference: Path, tmp_path: Path) -> None:
    assert finish(start(str(tmp_path), "SIGTERM in a query", 1)) == 130
    assert len(rows_of(only_run(tmp_path))) == 1, "it went on"
    assert finish(start(str(tmp_path))) == 0
    check(tmp_path, reference)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_killed_at_random_moments(
    reference: Path, seconds: float, tmp_path: Path, seed: int
) -> None:
    """Killed by the clock, three times at most, then left alone."""
    rng = random.Random(seed)
    kills = 0
    for attempt in range(4):
        process = start(str(tmp_path))
        time.sleep(rng.uniform(0.1, 0.9 * seconds) if attempt < 3 else 0)
        if attempt < 3 and process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
        if finish(process) == 0:
            break
        kills += 1
    assert kills > 0
    check(tmp_path, reference)


def test_a_checkpoint_that_a_kill_left_is_dropped(reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(reference.parents[6], folder)
    run = only_run(folder)
    last = run / "cycle_2" / "model.ckpt"
    for cycle in (0, 1):
        shutil.copy(last, run / f"cycle_{cycle}" / "model.ckpt")
    process = SERVER.Process(target=go_on, args=(str(folder),))
    process.start()
    assert finish(process) == 0
    assert [f.parent.name for f in run.glob("*/model.ckpt")] == ["cycle_3"]


def go_on(folder: str) -> None:
    os.chdir(folder)
    raise SystemExit(run_cli("active", *COMMAND, "--cycles", "3").status)
