"""The study's classifier layer by layer, and what finetune trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from active.classifier import Classifier
from tests.conftest import TINY, Finished

Cli = Callable[..., Finished]


@torch.no_grad()
def test_between_projector_and_head_is_no_nonlinearity() -> None:
    """Linear, ReLU, linear; then the head on outputs of either sign."""
    torch.manual_seed(0)
    classifier = Classifier(10, 1, width=8, max_pool=False, projection=16).eval()
    state, pooled = classifier.state_dict(), torch.randn(20, 64)
    (w1, b1), (w2, b2), (w3, b3) = (
        (state[f"{name}.weight"], state[f"{name}.bias"])
        for name in ("projector.0", "projector.2", "head")
    )
    hidden = (pooled @ w1.T + b1).clamp_min(0)
    features = hidden @ w2.T + b2
    assert (features < 0).any()
    found = classifier.classify(pooled)
    torch.testing.assert_close(found[0], features)
    torch.testing.assert_close(found[1], features @ w3.T + b3)
    torch.testing.assert_close(
        classifier.mc_logits(pooled, torch.ones(1, 64))[0], features @ w3.T + b3
    )


def test_finetune_trains_all_of_the_network(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []
    start: dict[str, torch.Tensor] = {}

    def first(self: Classifier) -> None:
        start.update({k: v.detach().clone() for k, v in self.named_parameters()})

    def last(self: Classifier) -> None:
        now = {k: v.detach().clone() for k, v in self.named_parameters()}
        ends.append((dict(start), now))

    monkeypatch.setattr(Classifier, "on_train_start", first)
    monkeypatch.setattr(Classifier, "on_train_end", last, raising=False)
    settings = ("--learner", "finetune", "--learner.model.max_epochs", "1", "--cycles", "0")
    made = cli(*TINY, *settings, "--trainer.max_epochs", "1")
    assert made.status == 0, made.err
    ((before, after),) = ends
    assert [k for k in before if torch.equal(before[k], after[k])] == []
