"""What a pretext model says while a long epoch or a long pass goes on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pretext import progress
from tests.pretext_artifacts import command

pytestmark = pytest.mark.usefixtures("elsewhere")
VAE = ("--model.batch_size", "400")  # 1,361 digits, as the VAE holds back 72: four batches


@pytest.fixture
def lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    def trained() -> list[str]:
        finished = command("vae", tmp_path, *VAE, epochs=1)
        assert finished.status == 0, finished.err
        told = [record.getMessage() for record in caplog.records]
        return [line for line in told if re.match(r"vae: epoch|scores", line)]

    return trained


def test_shares_of_an_epoch_and_of_a_pass(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "BEAT", 0.0)
    told = [re.sub(r"  [\d.]+ s left", "", line) for line in lines()]
    epoch = [f"vae: epoch 1/1  {share} %" for share in (25, 50, 75)]
    scores = [f"scores of the train images  {share} %" for share in (33, 67)]
    assert told[:3] == epoch
    assert "train/loss" in told[3]
    assert "left" not in told[3], "nothing is"
    assert told[4:] == scores, "364 test images are one batch"


def test_short_ones_are_not_told(lines: Callable[[], list[str]]) -> None:
    assert len(lines()) == 1
