"""BADGE against explicit gradients and a plain k-means++ loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from active.badge import Gradients, badge, draw, residuals

NUM, CLASSES, DIMS = 60, 4, 6


def sample(seed: int, num: int = NUM, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    logits, features = rng.normal(0, scale, (num, CLASSES)), rng.normal(size=(num, DIMS))
    return torch.from_numpy(logits).float(), torch.from_numpy(features).float()


def explicit(logits: Tensor, features: Tensor) -> np.ndarray:
    """(N, C * D): autograd's gradients by the last layer's weights, one sample at a time."""
    rows = []
    for z, h in zip(logits.double(), features.double(), strict=True):
        weights = torch.zeros(len(z), len(h), dtype=torch.float64, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(weights @ h + z, z.argmax())
        rows.append(torch.autograd.grad(loss, weights)[0].flatten().numpy())
    return np.array(rows)


def slow_distances(points: np.ndarray) -> np.ndarray:
    return np.array([[((a - b) ** 2).sum() for b in points] for a in points])


def slow_badge(points: np.ndarray, uniforms: np.ndarray) -> list[int]:
    """Plain k-means++ seeding from the largest norm, one uniform a draw."""
    far = slow_distances(points)
    picks = [int(np.linalg.norm(points, axis=1).argmax())]
    for uniform in uniforms[1:]:
        weights = [0 if i in picks else min(far[i, j] for j in picks) for i in range(len(points))]
        weights = weights if sum(weights) else [i not in picks for i in range(len(points))]
        wanted, total = uniform * sum(weights), 0.0
        for i, weight in enumerate(weights):
            total += weight
            if total > wanted:
                picks.append(i)
                break
    return picks


def check(picks: Tensor, budget: int, num: int) -> None:
    assert picks.dtype == torch.int64
    assert picks.shape == (budget,)
    assert len(set(picks.tolist())) == budget
    assert 0 <= int(picks.min()) <= int(picks.max()) < num


@pytest.mark.parametrize("seed", range(4))
def test_distances_and_norms_are_those_of_the_explicit_gradients(seed: int) -> None:
    points, gradients = explicit(*sample(seed)), Gradients(*sample(seed))
    assert np.allclose(gradients.norms, (points**2).sum(axis=1), rtol=1e-9, atol=0)
    ours = [gradients.squared_distances(torch.tensor([i])).clone() for i in range(NUM)]
    assert np.allclose(torch.stack(ours), slow_distances(points), rtol=1e-9, atol=1e-12)
    assert not torch.stack(ours).diagonal().any()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("budget", [1, 2, 20, NUM])
def test_picks_are_those_of_the_plain_loop(seed: int, budget: int) -> None:
    points, uniforms = explicit(*sample(seed)), np.random.default_rng(seed).random(budget)
    picks = badge(*sample(seed), budget, np.random.default_rng(seed))
    check(picks, budget, NUM)
    assert picks.tolist() == slow_badge(points, uniforms)


def test_the_first_is_the_largest_gradient_and_the_generator_decides_the_rest() -> None:
    picks = [badge(*sample(0), 5, np.random.default_rng(seed)).tolist() for seed in range(9)]
    assert {p[0] for p in picks} == {int((explicit(*sample(0)) ** 2).sum(axis=1).argmax())}
    assert len({tuple(p) for p in picks}) > 5


def test_second_picks_follow_the_squared_distance() -> None:
    logits, features = sample(1, num=8)
    far = slow_distances(explicit(logits, features))
    runs = [
        badge(logits, features, 2, np.random.default_rng(seed)).tolist() for seed in range(3000)
    ]
    first = runs[0][0]
    others = np.arange(8) != first
    counts = np.bincount([second for _, second in runs], minlength=8)[others]
    shares = far[first][others] / far[first].sum()
    assert stats.chisquare(counts, shares * len(runs)).pvalue > 1e-3
    plain = np.sqrt(far[first][others])
    assert stats.chisquare(counts, plain / plain.sum() * len(runs)).pvalue < 1e-6


@pytest.mark.parametrize("seed", range(10))
def test_two_far_blobs_get_one_pick_each(seed: int) -> None:
    _, features = sample(2)
    features = 1e-4 * features
    features[::2, 0] += 1
    features[1::2, 1] += 1
    logits = torch.tensor([[2.0, 1.0, 0.0, 0.0]]).expand(NUM, -1)
    picks = badge(logits, features, 2, np.random.default_rng(seed))
    assert set((picks % 2).tolist()) == {0, 1}


def uniform_logits() -> tuple[Tensor, Tensor]:
    return torch.zeros(NUM, CLASSES), sample(3)[1]


def one_class() -> tuple[Tensor, Tensor]:
    logits, features = sample(3)
    logits[:, 2] += 50
    return logits, features


@pytest.mark.parametrize("make", [uniform_logits, one_class])
def test_constant_predictions_are_told_apart_by_their_features(make) -> None:  # type: ignore[no-untyped-def]
    uniforms = np.random.default_rng(0).random(20)
    picks = badge(*make(), 20, np.random.default_rng(0)).tolist()
    assert picks == slow_badge(explicit_others(*make()), uniforms)


def explicit_others(logits: Tensor, features: Tensor) -> np.ndarray:
    """`explicit` with 1 - p of the predicted class from the others: autograd's rounds to zero."""
    points = explicit(logits, features).reshape(len(logits), CLASSES, DIMS)
    for point, row in zip(points, logits, strict=True):
        best = int(row.argmax())
        point[best] = -np.delete(point, best, axis=0).sum(axis=0)
    return points.reshape(len(logits), -1)


@pytest.mark.parametrize(
    ("logits", "features"),
    [
        (torch.tensor([[2.0, 1.0, 0.0, 0.0]]).expand(NUM, -1), torch.full((NUM, DIMS), 0.1)),
        (1e4 * sample(4)[0], sample(4)[1]),
        (sample(4)[0], torch.zeros(NUM, DIMS)),
    ],
    ids=["duplicates", "saturated", "no features"],
)
def test_without_any_distance_all_is_drawn_uniformly(logits: Tensor, features: Tensor) -> None:
    check(badge(logits, features, NUM, np.random.default_rng(0)), NUM, NUM)
    runs = [badge(logits, features, 3, np.random.default_rng(seed)) for seed in range(900)]
    for rank in range(3):
        counts = np.bincount([int(run[rank]) for run in runs], minlength=NUM)
        assert stats.chisquare(counts).pvalue > 1e-3


def test_twins_of_a_chosen_sample_come_last() -> None:
    logits, features = (torch.cat([t, t, t]) for t in sample(5, num=10))
    for seed in range(20):
        picks = badge(logits, features, 30, np.random.default_rng(seed))
        check(picks, 30, 30)
        assert set((picks[:10] % 10).tolist()) == set(range(10))


def test_residuals_keep_their_digits_at_saturation() -> None:
    gaps = torch.tensor([20.0, 60.0, 300.0])
    ours = residuals(torch.stack([gaps, torch.zeros(3)], dim=1))
    small = np.exp(-gaps.double().numpy()) / (1 + np.exp(-gaps.double().numpy()))
    assert np.allclose(ours, np.stack([-small, small], axis=1), rtol=1e-12, atol=0)


def test_a_saturated_pool_still_ranks() -> None:
    """Gaps of 40 to 100 round 1 - p to 0, even in float64; the least confident is first."""
    logits = torch.zeros(4, 3)
    logits[:, 1] = torch.tensor([100.0, 40.0, 80.0, 60.0])
    picks = badge(logits, torch.eye(4), 4, np.random.default_rng(0))
    assert picks[0] == 1
    check(picks, 4, 4)


def test_draw_never_takes_zero_weight() -> None:
    weights = torch.tensor([0, 5e-324, 0, 0], dtype=torch.float64)
    for uniform in (0.0, 0.5, 1 - 2**-53):
        assert draw(weights, torch.tensor([uniform], dtype=torch.float64)).tolist() == [1]


@pytest.mark.parametrize("budget", [0, NUM + 1])
def test_impossible_budgets_are_refused(budget: int) -> None:
    with pytest.raises(AssertionError, match="budget"):
        badge(*sample(0), budget, np.random.default_rng(0))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    logits, features = sample(0)
    features[3, 1] = bad
    with pytest.raises(AssertionError, match="finite"):
        badge(logits, features, 2, np.random.default_rng(0))
