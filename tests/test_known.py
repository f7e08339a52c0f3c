"""Selections that go on where the last one stopped pick what those pick that start anew."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules import cover, fronts, kcenter
from datamodules.coverage import max_herding, probcover
from datamodules.distances import exact, squared_distances
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
    pairs, bounded, bounds = [0], [0], kcenter.bounds_to_nearest

    def counted(x: Tensor, y: Tensor, *more: Any, **named: Any) -> Tensor:
        pairs[-1] += len(x) * len(y)
        return squared_distances(x, y, *more, **named)

    def counted_bounds(features: Tensor, centers: Tensor) -> Tensor:
        bounded[-1] += len(centers)
        return bounds(features, centers)

    monkeypatch.setattr(cover, "squared_distances", counted)
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
            assert pairs[-5] < 2700**2  # of two candidates once, of what is covered not at all
            assert pairs[-5] > 2700**2 / 2 or name == "probcover of few"
            assert max(pairs[-4:]) < 0.2 * 3000**2


def test_gains_are_the_plain_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """In several blocks, beside labels, at the start and once some samples are covered better."""
    monkeypatch.setattr(cover, "SIDE", 70)
    x, labeled = exact(mixture(400, 2)), torch.tensor([3, 200])
    weights = torch.rand(400, dtype=torch.float64, generator=torch.manual_seed(0))
    kernel = (-squared_distances(x, x)).exp()

    def soft(squared: Tensor) -> Tensor:
        return squared.neg_().exp_()

    state = cover.Cover.of(x, soft, labeled, weights, Known())
    for rows in (torch.arange(0), torch.arange(5, 395, 3)):
        state.cover[rows] = torch.maximum(state.cover[rows], torch.tensor(0.5))
        state.update(state.risen())
        plain = weights @ (kernel - state.cover[:, None]).clamp(min=0)
        plain[labeled] = -torch.inf
        torch.testing.assert_close(state.gains, plain)
