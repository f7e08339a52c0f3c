"""MC dropout: head passes against whole passes of the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from active.classifier import Classifier
from active.queries.bald import BALD
from active.queries.batchbald import BatchBALD
from active.queries.dbal import DBAL
from active.query import Request
from datamodules.seeds import Seeds
from tests.test_queries import ask, make_pool


class Fixed(nn.Module):
    """Dropout with a mask that is known."""

    def __init__(self, mask: Tensor):
        super().__init__()
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


def make() -> tuple[Classifier, Tensor]:
    torch.manual_seed(0)
    return Classifier(5, 1, width=4, dropout=True).eval(), torch.randn(6, 1, 16, 16)


def test_same_masks_same_numbers() -> None:
    classifier, images = make()
    masks = (torch.rand(7, 32) >= 0.5) / 0.5
    with torch.no_grad():
        ours = classifier.mc_logits(classifier.backbone(images), masks)
        for mask, logits in zip(masks, ours, strict=True):
            classifier.dropout = Fixed(mask)
            assert torch.allclose(classifier(images)[1], logits, atol=1e-5)


def test_same_distribution_as_whole_passes() -> None:
    """First two moments of every logit, by 4,000 passes of each kind."""
    classifier, images = make()
    passes, each = 4000, 500  # so many whole passes are one batch of repeated images
    with torch.no_grad():
        masks = (torch.rand(passes, 32) >= 0.5) / 0.5
        ours = classifier.mc_logits(classifier.backbone(images), masks)
        classifier.dropout.train()
        repeated = images.repeat(each, 1, 1, 1)
        whole = torch.cat([
            classifier.classify(classifier.backbone(repeated))[1].view(each, len(images), -1)
            for _ in range(passes // each)
        ])  # fmt: skip
    error = (ours.var(0) / passes + whole.var(0) / passes).sqrt()
    assert ((ours.mean(0) - whole.mean(0)).abs() < 4.5 * error).all()
    assert torch.allclose(ours.std(0), whole.std(0), rtol=0.1)


def test_masks_depend_on_seed_and_cycle_alone() -> None:
    classifier, images = make_pool("random")
    chosen = [ask(DBAL(), classifier, images, 20, seed)[0].scores for seed in (0, 0, 1)]
    assert np.array_equal(chosen[0], chosen[1])
    assert not np.array_equal(chosen[0], chosen[2])
    seeds = {Request(1, cycle, Seeds(0)).seeds.stream("query", cycle, 1) for cycle in range(5)}
    assert len(seeds) == 5


@pytest.mark.parametrize("query", [DBAL, BALD, BatchBALD])
def test_a_batch_in_parts_is_the_batch(query: type, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images = make_pool("random")
    whole, _ = ask(query(25), classifier, images, 20)
    sizes: list[int] = []
    plain = Classifier.mc_logits

    def seen(self: Classifier, pooled: Tensor, masks: Tensor) -> Tensor:
        sizes.append(len(pooled))
        return plain(self, pooled, masks)

    monkeypatch.setattr(Classifier, "mc_logits", seen)
    monkeypatch.setattr("active.montecarlo.CELLS", 7 * 25 * 5)  # 7 images of a batch of 16
    parts, _ = ask(query(25), classifier, images, 20)
    assert sizes == [7, 7, 2] * 3 + [2]
    assert np.array_equal(parts.indices, whole.indices)
    assert np.allclose(parts.scores, whole.scores, rtol=1e-6)


@pytest.mark.parametrize("samples", [1, True])
def test_too_few_samples_are_refused(samples: int) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        DBAL(samples)
