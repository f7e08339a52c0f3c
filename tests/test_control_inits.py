"""Controls: shuffled scores, the class histogram of another pool, the pixel floor."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from datamodules.errors import UserError
from datamodules.initial import BalancedInit, Candidates, RandomInit
from datamodules.inits import controls
from datamodules.inits.clusters import ClusterInit
from datamodules.inits.controls import HistogramInit, PixelFloor, ShuffledScores
from datamodules.inits.scores import ScoreInit
from tests.init_candidates import INDICES, make


def expected_overlap(size: int, budget: int, repeats: int) -> tuple[float, float]:
    """Mean overlap of two random pools, and 4 standard errors of its mean over `repeats`."""
    share = budget / size
    variance = budget * share * (1 - share) * (size - budget) / (size - 1)
    return budget * share, 4 * math.sqrt(variance / repeats)


@pytest.mark.parametrize("scores", ["distinct", "tied", "constant"])
def test_shuffled_scores_are_a_second_random_pool(scores: str) -> None:
    size, budget, seeds = 1000, 200, range(30)
    values = {"distinct": 1, "tied": 250, "constant": size}[scores]
    candidates = Candidates(np.arange(size), 2, scores=np.floor(np.arange(size) / values))
    pools = [ShuffledScores()(candidates, budget, seed) for seed in seeds]
    mean, tolerance = expected_overlap(size, budget, len(seeds))
    for other in (RandomInit(), ScoreInit()):
        overlaps = [
            len(np.intersect1d(pool, other(candidates, budget, seed)))
            for seed, pool in zip(seeds, pools, strict=True)
        ]
        assert abs(np.mean(overlaps) - mean) < tolerance
    counts = np.bincount(np.concatenate(pools), minlength=size)
    low, high = counts[: size // 2].sum(), counts[size // 2 :].sum()
    assert abs(low - high) < 4 * math.sqrt(len(seeds) * budget)  # sd of a binomial: above its own


@pytest.mark.parametrize("of", [ScoreInit(), ClusterInit(), RandomInit(), BalancedInit()])
def test_histogram_is_that_of_the_other_pool(of: Any) -> None:
    candidates = make()
    labels = candidates.labels
    assert labels is not None
    init = HistogramInit(of=of)
    assert init.reads == of.reads
    other, pool = of(candidates, 25, 3), init(candidates, 25, 3)
    assert labels[pool].tolist() == labels[other].tolist()
    assert set(pool) != set(other)


def test_histogram_draws_apart_from_the_other_pool() -> None:
    size, budget, seeds = 1000, 200, range(30)
    candidates = Candidates(np.arange(size), 1, labels=np.zeros(size, int))
    overlaps = [
        len(np.intersect1d(init(candidates, budget, s), RandomInit()(candidates, budget, s)))
        for init in [HistogramInit(RandomInit())]
        for s in seeds
    ]
    mean, tolerance = expected_overlap(size, budget, len(seeds))
    assert abs(np.mean(overlaps) - mean) < tolerance


def test_histogram_shows_labels_only_to_those_that_need_them() -> None:
    seen = []

    class Spy(RandomInit):
        def __call__(self, candidates: Candidates, budget: int, seed: int) -> np.ndarray:
            seen.append(candidates.labels)
            return super().__call__(candidates, budget, seed)

    HistogramInit(Spy())(make(), 5, seed=0)
    assert seen == [None]
    with pytest.raises(UserError, match="needs the labels"):
        HistogramInit(Spy())(replace(make(), labels=None), 5, seed=0)


def test_pixel_floor_equals_a_slow_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "BLOCK", 7)
    images = np.random.default_rng(0).normal(0, 1.5, (60, 2, 3, 3)).astype(np.float32)
    calls = []

    def pixels(indices: np.ndarray) -> np.ndarray:
        calls.append(len(indices))
        return images[indices]

    floors = {}
    for i in INDICES.tolist():
        values = images[i].ravel().tolist()
        floors[i] = sum((abs(x) - 1) ** 2 for x in values if abs(x) > 1) / len(values)
    pool = PixelFloor()(Candidates(INDICES, 2, pixels=pixels), 30, seed=0)
    assert pool.tolist() == sorted(floors, key=floors.__getitem__, reverse=True)[:30]
    assert calls == [7] * 8 + [1]
    assert controls.pixel_floor(pixels, INDICES) == pytest.approx(list(floors.values()), rel=1e-5)
