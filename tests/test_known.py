"""Selections that go on where the last one stopped pick what those pick that start anew."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from datamodules import cover, fronts, kcenter
from datamodules.cover import Cover
from datamodules.coverage import max_herding, probcover
from datamodules.fronts import Known
from datamodules.kcenter import k_center
from tests.feature_sets import SEEDS, mixture

SELECTIONS: dict[str, Callable[..., Tensor]] = {
    "k_center": k_center,
    "max_herding": partial(max_herding, sigma=0.7),
    "probcover": partial(probcover, delta=0.4),
    "probcover of few": partial(probcover, delta=1.5),  # all are covered soon
}


@pytest.mark.parametrize("front", [3, 2048])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SELECTIONS)
def test_the_same_picks(name: str, seed: int, front: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "FRONT", front)
    features, select = mixture(90, seed, twins=25 * (seed % 2)), SELECTIONS[name]
    known, labeled = Known(), torch.tensor([5, 80] if seed else [], dtype=torch.int64)
    for budget, others in ((1, 0), (3, 0), (8, 2), (20, 0), (1, 5), (30, 0)):
        picks = select(features, budget, labeled=labeled, known=known)
        assert picks.tolist() == select(features, budget, labeled=labeled).tolist()
        labeled = torch.cat([labeled, picks])
        free = [i for i in range(90) if i not in labeled.tolist()]
        labeled = torch.cat([labeled, labeled.new_tensor(free[:others])])  # of somebody else


@pytest.mark.parametrize("name", SELECTIONS)
def test_rows_in_another_order(name: str) -> None:
    features, known, labeled = mixture(90, 0), Known(), torch.tensor([7])
    picks = SELECTIONS[name](features, 10, labeled=labeled, known=known)
    order = torch.randperm(90, generator=torch.manual_seed(0))
    moved, features = known.of(order.numpy()), features[order]
    assert moved.chosen == known.chosen
    labeled = order.argsort()[torch.cat([labeled, picks])]
    picks = SELECTIONS[name](features, 9, labeled=labeled, known=moved)
    assert picks.tolist() == SELECTIONS[name](features, 9, labeled=labeled).tolist()


def test_the_work_of_the_first_labels_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, bounded, gain, bounds = [0], [0], Cover._gain, kcenter.bounds_to_nearest

    def counted(self: Cover, columns: Tensor, rows: Tensor, *more: Tensor) -> Tensor:
        pairs[-1] += len(columns) * len(rows)
        return gain(self, columns, rows, *more)

    def counted_bounds(features: Tensor, centers: Tensor) -> Tensor:
        bounded[-1] += len(centers)
        return bounds(features, centers)

    monkeypatch.setattr(cover.Cover, "_gain", counted)
    monkeypatch.setattr(kcenter, "bounds_to_nearest", counted_bounds)
    monkeypatch.setattr(fronts, "FRONT", 30)
    features = mixture(3000, 0, dims=16, classes=20)
    for name, select in SELECTIONS.items():
        known, labeled = Known(), torch.arange(300)
        for _ in range(4):
            picks = select(features, 3, labeled=labeled, known=known)
            labeled = torch.cat([labeled, picks])
            pairs.append(0)
            bounded.append(0)
        if name == "k_center":
            assert bounded[-5:] == [300, 0, 0, 0, 0]
        else:
            assert pairs[-5] >= 3000**2
            assert max(pairs[-4:]) < 0.2 * 3000**2
