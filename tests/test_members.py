"""Committees: member 0 is the single classifier, the others are their own, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from active.classifier import Classifier
from active.committee import load_committee, mean_row
from active.learners.resnet18 import ResNet18Learner
from tests.conftest import TINY, Finished, only_run, rows_of, selected_of

Cli = Callable[..., Finished]
COMMITTEE = (*TINY, "--query", "ens_me")


@pytest.fixture
def committee(cli: Cli, tmp_path: Path) -> Path:
    finished = cli(*COMMITTEE)
    assert finished.status == 0, finished.err
    return only_run(tmp_path)


def test_member_0_is_the_single_classifier(committee: Path, cli: Cli, tmp_path: Path) -> None:
    """At cycle 0, where both have the same labels."""
    for command in ((*COMMITTEE, "--cycles", "0"), (*TINY, "--cycles", "0")):
        assert cli(*command, "--runs_dir", f"zero/{len(command)}").status == 0
    one, three = sorted((tmp_path / "zero").glob("**/model.ckpt"), key=lambda f: f.stat().st_size)
    single, members = load_committee(one, Classifier), load_committee(three, Classifier)
    assert [len(single), len(members)] == [1, 3]
    state = single[0].state_dict()
    assert all(torch.equal(state[k], v) for k, v in members[0].state_dict().items())
    first = [member.head.weight for member in members]
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])


@pytest.mark.parametrize(
    ("dropout", "members", "kind"),
    [
        (False, 1, "plain"), (True, 1, "dropout"), (False, 3, "committee"),
        (True, 3, "committee-dropout"), (False, 5, "committee5"),
    ],
)  # fmt: skip
def test_other_committees_are_other_kinds(dropout: bool, members: int, kind: str) -> None:
    assert ResNet18Learner().kind(dropout, members) == kind


def test_rows_hold_the_mean_and_the_ensemble(committee: Path) -> None:
    """Against the members of the last cycle, asked one by one."""
    from conf.cli import expand, parse
    from pretext.setup import images_of

    data = expand("active", parse(["--data", "digits"]))[0].resolved["data"]
    images = images_of(data, "artifacts", False)
    assert images.test is not None
    row = rows_of(committee)[-1]
    members = load_committee(committee / "cycle_2" / "model.ckpt", Classifier)
    probs = torch.stack([probabilities(m, images, data) for m in members])
    labels = torch.from_numpy(images.test.labels)
    right = (probs.argmax(dim=2) == labels).double().mean(dim=1)
    assert row["test/acc"] == pytest.approx(right.mean().item())
    mean = probs.double().mean(dim=0)
    assert row["test/acc_ensemble"] == pytest.approx((mean.argmax(1) == labels).double().mean())
    nll = -mean.gather(1, labels[:, None]).log().mean()
    assert row["test/nll_ensemble"] == pytest.approx(nll.item(), rel=1e-4)


def probabilities(member: Classifier, images, data) -> torch.Tensor:  # type: ignore[no-untyped-def]
    mean, std = (torch.tensor(data[k]).view(1, -1, 1, 1) for k in ("mean", "std"))
    pixels = images.test.take(np.arange(len(images.test))).float() / 255
    with torch.no_grad():
        return member((pixels - mean) / std)[1].softmax(dim=1)


def test_a_committee_resumes(committee: Path, cli: Cli, tmp_path: Path) -> None:
    """Cycle 2 from the checkpoint of cycle 1 is the cycle 2 of one go."""
    for cycles in ("1", "2"):
        assert cli(*COMMITTEE, "--cycles", cycles, "--runs_dir", "again").status == 0
    again = next((tmp_path / "again").glob("**/config.yaml")).parent
    assert rows_of(again) == rows_of(committee)
    assert selected_of(again) == selected_of(committee)


def test_mean_of_rows() -> None:
    rows = [{"a": 1.0, "time/x": 2.0, "b": [0.0, 1.0], "c": None}] * 3
    assert mean_row(rows) == {"a": 1.0, "time/x": 6.0, "b": [0.0, 1.0], "c": None}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--query", "ens_mm", "--learner.members", "1"), "at least 2"),
        (("--learner.members", "many"), "auto or at least 1"),
        (("--query", "dbal", "--learner.dropout", "off"), "dropout is off"),
    ],
)
def test_what_a_query_cannot_do_without(cli: Cli, arguments: tuple, sentence: str) -> None:
    refused = cli(*arguments)
    assert refused.status == 2
    assert sentence in refused.err
