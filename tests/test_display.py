"""What a run says of its cycles where there is no terminal, as in a job of Slurm."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from active import display
from tests.conftest import TINY, Finished

Cli = Callable[..., Finished]
ONE_CYCLE = (*TINY, "--query", "margin", "--cycles", "1", "--trainer.max_epochs", "2")


def said(cli: Cli, caplog: pytest.LogCaptureFixture) -> list[str]:
    finished = cli(*ONE_CYCLE)
    assert finished.status == 0, finished.err
    lines = (record.getMessage() for record in caplog.records)
    return [line for line in lines if re.match(r"cycle \d/1  ", line)]


def test_lines_say_how_far_a_run_is(
    cli: Cli, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "BEAT", 0.0)
    lines = said(cli, caplog)
    told = [" ".join(line.split("  ")[:3]) for line in lines]
    for stage in ("train", "validate"):
        for cycle in range(2):
            assert f"cycle {cycle}/1 {stage} epoch 2/2" in told
    assert re.search(r"  val/acc [\d.]+  [\d.]+ s left$", lines[-1])
    assert {line.split("  ")[1] for line in lines} == {"train", "validate", "test", "query"}


def test_short_runs_say_only_what_came_of_their_cycles(
    cli: Cli, caplog: pytest.LogCaptureFixture
) -> None:
    assert said(cli, caplog) == []
