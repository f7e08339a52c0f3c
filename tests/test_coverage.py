"""k-center, MaxHerding and ProbCover against naive double loops; edges of every selection."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules import cover as covers
from datamodules import fronts
from datamodules.coverage import max_herding, probcover
from datamodules.distances import (
    bounds_to_nearest,
    exact,
    exact_device,
    purity_radius,
    squared_distances,
    where_exact,
)
from datamodules.kcenter import k_center
from datamodules.typiclust import typiclust
from tests.feature_sets import LABELED, SEEDS, check, distances, mixture, tensor, unit


def test_devices_without_float64_leave_it_to_the_cpu() -> None:
    assert [exact_device(kind) for kind in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "cpu"]
    there, moved = torch.zeros(3), torch.ones(3)
    assert where_exact(there) is there
    on_mps: Any = SimpleNamespace(device=torch.device("mps"), cpu=lambda: moved)
    assert where_exact(on_mps) is moved


def slow_k_center(features: Tensor, budget: int, labeled: list[int], start: int) -> list[int]:
    dist = distances(features)
    picks = [] if labeled else [start]
    while len(picks) < budget:
        chosen = [*labeled, *picks]
        near = [min(dist[i, j] for j in chosen) for i in range(len(dist))]
        free = [i for i in range(len(dist)) if i not in chosen]
        picks.append(max(free, key=lambda i: (near[i], -i)))
    return picks


@pytest.mark.parametrize("front", [3, 16, 2048])
@pytest.mark.parametrize("labeled", LABELED)
@pytest.mark.parametrize("seed", SEEDS)
def test_k_center_equals_a_slow_loop(
    seed: int, labeled: list[int] | None, front: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts, "FRONT", front)
    features = mixture(50, seed, twins=15 * (seed % 2))
    for budget in (1, 2, 9, 30, 50 - len(labeled or [])):
        picks = k_center(features, budget, labeled=tensor(labeled), start=4)
        check(picks, budget, labeled, 50)
        assert picks.tolist() == slow_k_center(features, budget, labeled or [], 4)


def test_k_center_on_an_arc() -> None:
    """Angles 0, 10, ..., 80 degrees: the ends, the middle, then the quarters, lowest first."""
    angles = np.radians(np.arange(0, 81, 10))
    features = unit(np.stack([np.cos(angles), np.sin(angles)], 1))
    assert k_center(features, 5, start=0).tolist()[:3] == [0, 8, 4]
    assert set(k_center(features, 5, start=0).tolist()[3:]) == {2, 6}
    assert k_center(features, 2, labeled=torch.tensor([0, 8])).tolist()[0] == 4


def test_ties_go_to_the_lowest_position() -> None:
    corners = torch.eye(6).repeat(500, 1)[torch.randperm(3000, generator=torch.manual_seed(0))]
    first = [int((corners[:, i] == 1).nonzero()[0, 0]) for i in range(6)]
    assert sorted(k_center(corners, 6, start=0).tolist()) == sorted(first)
    assert k_center(corners, 6, start=0).tolist() == sorted(first)
    rest = [i for i in range(3000) if i not in first]
    assert k_center(corners, 3000, start=0).tolist()[6:] == rest


def test_lazy_k_center_equals_the_plain_loop() -> None:
    features = mixture(4000, 0, dims=32, classes=20)
    x = features.double().numpy()
    dist, picks = np.full(4000, math.inf), [17]
    for _ in range(1999):
        dist = np.minimum(dist, ((x - x[picks[-1]]) ** 2).sum(1))
        dist[picks] = -1
        picks.append(int(dist.argmax()))
    assert k_center(features, 2000, start=17).tolist() == picks


@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_bounds_lie_above_exact_distances(scale: float, precision: str) -> None:
    rows = mixture(600, 1, dims=96, twins=50) + scale * torch.randn(1, 96)  # far from the origin
    nearest = squared_distances(exact(rows), exact(rows[::3])).amin(1)
    torch.set_float32_matmul_precision(precision)
    try:
        excess = bounds_to_nearest(rows, exact(rows[::3])) - nearest
        assert excess.min() >= 0
        unit = 2.0**-24 if precision == "highest" else 2.0**-8
        assert excess.max() <= 4 * 104 * unit * float(rows.square().sum(1).max())
        picks = k_center(rows, 100, labeled=torch.arange(0, 600, 3))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert picks.tolist() == k_center(rows, 100, labeled=torch.arange(0, 600, 3)).tolist()


def slow_cover(kernel: np.ndarray, picks: list[int], weights: np.ndarray) -> float:
    return sum(
        weights[n] * max((kernel[n, j] for j in picks), default=0.0) for n in range(len(kernel))
    )


def rbf(features: Tensor, sigma: float) -> np.ndarray:
    return np.exp(-(distances(features) ** 2) / sigma**2)


def slow_herding(kernel: np.ndarray, budget: int, labeled: list[int]) -> list[int]:
    kernel = np.round(kernel * 2**30)  # so that equal gains are equal
    picks: list[int] = []
    while len(picks) < budget:
        chosen = [*labeled, *picks]
        free = [i for i in range(len(kernel)) if i not in chosen]
        gains = [slow_cover(kernel, [*chosen, i], np.ones(len(kernel))) for i in free]
        picks.append(free[int(np.argmax(gains))])
    return picks


@pytest.mark.parametrize("front", [3, 2048])
@pytest.mark.parametrize("labeled", LABELED)
@pytest.mark.parametrize("seed", SEEDS)
def test_max_herding_equals_a_slow_loop(
    seed: int, labeled: list[int] | None, front: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts, "FRONT", front)
    features = mixture(40, seed, twins=10 * (seed % 2))
    sigma = (0.5, 1.0, 0.2, 2.0)[seed]
    full = 40 - len(labeled or [])
    slow = slow_herding(rbf(features, sigma), full, labeled or [])
    for budget in (1, 7, full):
        picks = max_herding(features, budget, sigma=sigma, labeled=tensor(labeled))
        check(picks, budget, labeled, 40)
        assert picks.tolist() == slow[:budget]


@pytest.mark.parametrize("front", [3, 2048])
@pytest.mark.parametrize("labeled", LABELED)
@pytest.mark.parametrize("seed", SEEDS)
def test_weighted_herding_is_greedy(
    seed: int, labeled: list[int] | None, front: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts, "FRONT", front)
    features = mixture(40, seed)
    weights = np.random.default_rng(seed).random(40) * (np.arange(40) % 7 > 0)
    given = torch.from_numpy(weights)
    picks = max_herding(features, 12, sigma=0.7, labeled=tensor(labeled), weights=given)
    check(picks, 12, labeled, 40)
    kernel = rbf(features, 0.7)
    chosen = list(labeled or [])
    for pick in picks.tolist():
        free = [i for i in range(40) if i not in chosen]
        values = {i: slow_cover(kernel, [*chosen, i], weights) for i in free}
        assert values[pick] >= max(values.values()) - 1e-7
        chosen.append(pick)
    with pytest.raises(AssertionError, match="negative"):
        max_herding(features, 3, weights=-given)


def slow_probcover(ball: np.ndarray, budget: int, labeled: list[int]) -> list[int]:
    picks: list[int] = []
    while len(picks) < budget:
        chosen = [*labeled, *picks]
        covered = {n for n in range(len(ball)) if any(ball[n, j] for j in chosen)}
        free = [i for i in range(len(ball)) if i not in chosen]
        gains = [sum(ball[n, i] and n not in covered for n in range(len(ball))) for i in free]
        if max(gains) == 0:
            break
        picks.append(free[int(np.argmax(gains))])
    return picks


@pytest.mark.parametrize("front", [3, 2048])
@pytest.mark.parametrize("labeled", LABELED)
@pytest.mark.parametrize("seed", SEEDS)
def test_probcover_equals_a_slow_loop(
    seed: int, labeled: list[int] | None, front: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts, "FRONT", front)
    features = mixture(45, seed, twins=12 * (seed % 2))
    for delta in (0.0, 0.3, 0.8, math.inf):
        for budget in (1, 8, 45 - len(labeled or [])):
            slow = slow_probcover(distances(features) < delta, budget, labeled or [])
            if len(slow) < budget and (chosen := [*(labeled or []), *slow]):
                slow += slow_k_center(features, budget - len(slow), chosen, 0)
            picks = probcover(features, budget, delta, labeled=tensor(labeled))
            check(picks, budget, labeled, 45)
            if delta > 0 or labeled:
                assert picks.tolist() == slow


def blobs() -> Tensor:
    """12 samples close around (1, 0, 0), sample 3 in their middle; 7 around (0, 0, 1), 15 there."""
    around = [[math.cos(t), math.sin(t)] for t in np.linspace(0, 2 * math.pi, 13)[:-1]]
    one = [[1, 0.1 * a, 0.1 * b] for a, b in around[:11]]
    two = [[0.1 * a, 0.1 * b, 1] for a, b in around[::2]]
    return unit(np.array([*one[:3], [1, 0, 0], *one[3:], *two[:3], [0, 0, 1], *two[3:]]))


def test_two_blobs() -> None:
    features = blobs()
    clusters = torch.tensor([0] * 12 + [1] * 7)
    assert probcover(features, 2, 0.15).tolist() == [3, 15]
    assert probcover(features, 1, 0.15, labeled=torch.tensor([3])).tolist() == [15]
    assert max_herding(features, 2, sigma=0.5).tolist() == [3, 15]
    assert purity_radius(features, clusters, 1.0) > 1.2


def test_lazy_cover_equals_the_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "FRONT", 100)
    monkeypatch.setattr(covers, "SIDE", 300)
    features = mixture(2000, 1, dims=16, classes=12)
    squared = squared_distances(x := exact(features), x)
    ball = (squared < 0.7**2).double()
    soft = torch.round(torch.exp(-squared) * 2.0**30) / 2.0**30
    for kernel, picks in (
        (ball, probcover(features, 30, 0.7)), (soft, max_herding(features, 100)),
    ):  # fmt: skip
        cover = torch.zeros(2000, dtype=torch.float64)
        for pick in picks.tolist():
            gains = (kernel - cover[:, None]).clamp(min=0).sum(0)
            assert gains[pick] > 0
            assert pick == int((gains == gains.max()).nonzero()[0, 0])
            cover = torch.maximum(cover, kernel[pick])


@pytest.mark.parametrize("labeled", [None, [1, 5]])
def test_all_alike(labeled: list[int] | None) -> None:
    features = unit(np.ones((2500, 3)))
    given = tensor(labeled)
    for budget in (1, 20, 2500 - len(labeled or [])):
        for picks in (
            k_center(features, budget, labeled=given),
            probcover(features, budget, 0.5, labeled=given),
            max_herding(features, budget, labeled=given),
            typiclust(features, budget, labeled=given),
        ):
            check(picks, budget, labeled, 2500)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_features_stay_as_they_are(kind: torch.dtype) -> None:
    features = (mixture(60, 0) / 3).to(kind)
    before = features.clone()
    for select in (k_center, max_herding, typiclust, lambda f, b: probcover(f, b, 0.5)):
        select(features, 9)
        assert torch.equal(features, before)


@pytest.mark.parametrize("num", [1, 2])
def test_one_and_two_samples(num: int) -> None:
    features = mixture(num, 0)
    for select in (k_center, max_herding, typiclust, lambda f, b: probcover(f, b, 0.1)):
        assert sorted(select(features, num).tolist()) == list(range(num))


@pytest.mark.parametrize("budget", [0, 39])
def test_a_budget_must_fit(budget: int) -> None:
    features, labeled = mixture(40, 0), torch.tensor([3, 4])
    for select in (k_center, max_herding, typiclust):
        with pytest.raises(AssertionError, match="of 38 samples"):
            select(features, budget, labeled=labeled)
