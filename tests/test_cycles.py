"""Cycles of a run: killed in one and started again, lengthened where labels are few, warm."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import only_run, rows_of, run, run_cli, run_in, selected_of
from tests.processes import SERVER, finish, kill_after

COMMAND = ("--init", "simclr", "--init.model.max_epochs", "2", "--cycles", "1", "--query", "margin",
           "--trainer.max_epochs", "2", "--data.recipe.width", "4", "--logger", "csv")  # fmt: skip


def dying(folder: str, place: str = "", count: int = 0) -> None:
    """The run in a process of its own, killed in training its pretext model or its classifier."""
    from active.classifier import Classifier
    from pretext import progress
    from pretext.simclr import SimCLR

    os.chdir(folder)
    progress.SAVE_EVERY = 0
    kinds: dict[str, Any] = {"pretext": SimCLR, "classifier": Classifier}
    if place:
        kinds[place].training_step = kill_after(kinds[place].training_step, count, True)
    assert run_cli("active", *COMMAND).status == 0


def test_killed_and_started_again(tmp_path: Path) -> None:
    """In the second epoch of the pretext model, then in the second cycle."""
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    processes = []
    for name, *arguments in (
        ("undisturbed",), ("killed", "pretext", 7), ("killed", "classifier", 5), ("killed",),
    ):  # fmt: skip
        process = SERVER.Process(target=dying, args=(str(tmp_path / name), *arguments))
        process.start()
        processes.append(finish(process))
    assert processes == [0, -signal.SIGKILL, -signal.SIGKILL, 0]
    undisturbed, killed = (only_run(tmp_path / name) for name in ("undisturbed", "killed"))
    assert rows_of(killed) == rows_of(undisturbed)
    assert len(rows_of(killed)) == 2
    assert selected_of(killed) == selected_of(undisturbed)
    assert (killed / "curves.csv").read_text() == (undisturbed / "curves.csv").read_text()
    for name in ("pool.json", "contact_sheet.png"):
        assert (killed / "cycle_0" / name).read_bytes() == (
            undisturbed / "cycle_0" / name
        ).read_bytes()


def test_min_steps_lengthens_short_cycles_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20, 40 and 60 labels in batches of 8 are 3, 5 and 8 steps an epoch."""
    from active.classifier import Classifier

    steps = 0
    training_step = Classifier.training_step

    def counted(self: Classifier, *given: Any) -> Any:
        nonlocal steps
        steps += 1
        return training_step(self, *given)

    monkeypatch.setattr(Classifier, "training_step", counted)
    finished = run(
        tmp_path, "--cycles", "2", "--trainer.max_epochs", "2", "--logger", "csv",
        "--learner.batch_size", "8", "--learner.min_steps", "13",
    )  # fmt: skip
    assert finished.status == 0, finished.err
    lines = (only_run(tmp_path) / "curves.csv").read_text().splitlines()[1:]
    epochs = Counter(line.split(",")[0] for line in lines)
    assert epochs == {"0": 5, "1": 3, "2": 2}  # 15, 15 and 16 steps
    assert steps == 5 * 3 + 3 * 5 + 2 * 8
    assert [line.split(",")[1] for line in lines] == [str(e) for e in range(1, 11)]
    assert "min_steps13" in only_run(tmp_path).parts[-2]


def test_warm_start_goes_on_from_the_last_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = ["--cycles", "1", "--trainer.max_epochs", "15", "--query", "entropy"]
    cold = run_in(tmp_path / "c", monkeypatch, *longer)
    warm = run_in(tmp_path / "w", monkeypatch, *longer, "--learner.warm_start", "true")
    assert rows_of(warm)[0] == rows_of(cold)[0]
    assert selected_of(warm) == selected_of(cold)

    def first_loss(run: Path) -> float:
        """Of the first epoch of cycle 1."""
        return float((run / "curves.csv").read_text().splitlines()[16].split(",")[2])

    assert first_loss(warm) < 0.9 * first_loss(cold)
