"""BADGE against explicit gradients and a plain k-means++ loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from active import badge as badge_module
from active.badge import Gradients, accept, badge, draw, residuals, squared_distances

NUM, CLASSES, DIMS = 60, 4, 6


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Thousands of tiny runs: threads that wait for each other would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def sequences(far: np.ndarray, budget: int) -> dict[tuple[int, ...], float]:
    """The probability of every order of choice that k-means++ can make from the largest norm."""
    found = {(0,): 1.0}  # the caller puts the largest first
    for _ in range(budget - 1):
        longer = {}
        for picks, probability in found.items():
            weights = far[:, list(picks)].min(axis=1)
            weights[list(picks)] = 0
            for i in np.flatnonzero(weights):
                longer[(*picks, int(i))] = probability * weights[i] / weights.sum()
        found = longer
    return found


def check(picks: Tensor, budget: int, num: int) -> None:
    assert picks.dtype == torch.int64
    assert picks.shape == (budget,)
    assert len(set(picks.tolist())) == budget
    assert 0 <= int(picks.min()) <= int(picks.max()) < num


@pytest.mark.parametrize("block", [512, 7])
@pytest.mark.parametrize("seed", range(4))
def test_distances_and_norms_are_those_of_the_explicit_gradients(
    seed: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(badge_module, "BLOCK", block)
    points, gradients = explicit(*sample(seed)), Gradients(*sample(seed))
    assert np.allclose(gradients.norms, (points**2).sum(axis=1), rtol=1e-9, atol=0)
    every, far = gradients.at(slice(None)), slow_distances(points)
    assert np.allclose(squared_distances(every, every), far, rtol=1e-9, atol=1e-12)
    assert not squared_distances(every, every).diagonal().any()
    some = torch.tensor([3, 50, 7])
    nearest = far[:, some].min(axis=1)
    assert np.allclose(gradients.squared_to_nearest(some), nearest, rtol=1e-9, atol=1e-12)
    bounds = gradients.bounds_to_nearest(some).numpy()
    others = np.delete(np.arange(NUM), some)  # for the chosen themselves rounding may say zero
    norms = (points**2).sum(axis=1)
    assert (bounds >= nearest)[others].all()
    assert (bounds <= nearest + 1e-4 * np.sqrt(norms * norms.max())).all()


@pytest.mark.parametrize("precision", ["highest", "high"])
@pytest.mark.parametrize("scale", [1e-120, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("gap", [0.0, 300.0])
def test_bounds_are_upper_bounds_at_any_scale(precision: str, scale: float, gap: float) -> None:
    """Also where the gradients are far smaller than float32 can square."""
    logits, features = sample(8, num=400)
    logits[::2, 1] += gap
    features = features.double() * scale
    features[:40] = features[40:80] * (1 + 1e-7)  # next to one another
    logits[:40] = logits[40:80]
    gradients, before = Gradients(logits, features), torch.get_float32_matmul_precision()
    some = torch.arange(40, 400, 9)
    torch.set_float32_matmul_precision(precision)
    try:
        bounds = gradients.bounds_to_nearest(some)
    finally:
        torch.set_float32_matmul_precision(before)
    exact = gradients.squared_to_nearest(some)
    assert (bounds >= exact).all()
    assert (bounds > exact).any()
    assert bounds.isfinite().all()


def low_rank(num: int = 600, size: int = 160) -> tuple[Tensor, Tensor]:
    """Logits and rectified features near a few directions, some of them zero."""
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(20, size, generator=rng) / torch.arange(1, 21)[:, None]
    features = (torch.randn(num, 20, generator=rng) @ mixing).relu()
    features += 0.02 * torch.randn(num, size, generator=rng)
    features[::50] = 0
    return 4 * features @ torch.randn(size, 6, generator=rng) / size**0.5, features


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_bounds_by_leading_components(dtype: torch.dtype) -> None:
    """Never below the distance, and near it; in the opposite direction too (a negative cosine)."""
    logits, features = low_rank()
    features = features.to(dtype)
    gradients = Gradients(logits, features)
    with torch.autocast("cpu", torch.bfloat16):
        gradients.use_heads()
    heads = gradients._heads
    assert heads is not None
    assert heads.rows.shape == (600, 32)
    assert heads.tails.max() < 0.5
    some = torch.arange(3, 600, 5)
    bounds, exact = gradients.bounds_to_nearest(some), gradients.squared_to_nearest(some)
    assert (bounds >= exact).all()
    others = torch.ones(600, dtype=torch.bool)
    others[some] = False
    assert float((bounds / exact)[others & (exact > 0)].median()) < 1.1
    unit = gradients._unit(slice(None), features, 1)
    rest = (unit @ unit.T - heads.rows @ heads.rows.T).abs()
    assert (rest <= heads.tails @ heads.tails.T + 1e-6).all()


def test_no_components_of_features_without_directions() -> None:
    features = torch.randn(600, 160, generator=torch.Generator().manual_seed(0))
    gradients = Gradients(features[:, :6], features)
    gradients.use_heads()
    assert gradients._heads is None
    nothing = Gradients(torch.zeros(20, 3), torch.zeros(20, 160))
    nothing.use_heads()
    assert not nothing.bounds_to_nearest(torch.tensor([0])).max() > 0


def test_components_are_used_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    used, plain = [], Gradients.use_heads

    def spy(self: Gradients) -> None:
        used.append(1)
        plain(self)

    monkeypatch.setattr(Gradients, "use_heads", spy)
    logits, features = low_rank(num=6000)
    check(badge(logits, features, 20, np.random.default_rng(0)), 20, 6000)
    assert not used
    check(badge(logits, features, 400, np.random.default_rng(0)), 400, 6000)
    assert used


@pytest.mark.parametrize("looser", [1.0, 3.0])
@pytest.mark.parametrize("proposals", [1, 2, 3, 256])
def test_orders_of_choice_are_as_probable_as_in_the_plain_loop(
    proposals: int, looser: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are proposed at once, and however far above the distances the bounds are."""
    monkeypatch.setattr(badge_module, "PROPOSALS", proposals)
    plain = Gradients.bounds_to_nearest
    factors = torch.linspace(1, looser, 6).double()
    monkeypatch.setattr(Gradients, "bounds_to_nearest", lambda *given: plain(*given) * factors)
    points = explicit(*sample(6, num=6))
    order = np.argsort(-(points**2).sum(axis=1))
    logits, features = (t[order] for t in sample(6, num=6))
    truth = sequences(slow_distances(points[order]), 4)
    generator, runs = np.random.default_rng(proposals), 2000
    seen = Counter(tuple(badge(logits, features, 4, generator).tolist()) for _ in range(runs))
    assert set(seen) <= set(truth)
    likely = {picks: p for picks, p in truth.items() if runs * p >= 5}
    counts = [*(seen[picks] for picks in likely), runs - sum(seen[picks] for picks in likely)]
    shares = np.array([*likely.values(), 1 - sum(likely.values())])
    assert stats.chisquare(counts, shares * runs).pvalue > 1e-3


@pytest.mark.parametrize("budget", [1, 2, 20, NUM])
def test_as_many_as_asked_for(budget: int) -> None:
    check(badge(*sample(0), budget, np.random.default_rng(0)), budget, NUM)


def test_hundreds_are_chosen_in_a_few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, plain = [], Gradients.bounds_to_nearest

    def counted(self: Gradients, positions: Tensor) -> Tensor:
        passes.append(len(positions))
        return plain(self, positions)

    monkeypatch.setattr(Gradients, "bounds_to_nearest", counted)
    check(badge(*sample(0, num=3000), 300, np.random.default_rng(0)), 300, 3000)
    assert len(passes) <= 10


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
    points, gradients = explicit_others(*make()), Gradients(*make())
    every, far = gradients.at(slice(None)), slow_distances(points)
    assert np.allclose(squared_distances(every, every), far, rtol=1e-9, atol=0)
    picks = badge(*make(), 20, np.random.default_rng(0))
    check(picks, 20, NUM)
    assert int(picks[0]) == int(np.linalg.norm(points, axis=1).argmax())


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
    weights = np.array([0, 5e-324, 0, 0, 1.5e-323, 0])
    counts = np.bincount(draw(weights, 4000, np.random.default_rng(0)), minlength=6)
    assert not counts[[0, 2, 3, 5]].any()
    assert stats.chisquare(counts[[1, 4]], [1000, 3000]).pvalue > 1e-3


def test_a_proposal_is_accepted_by_the_share_of_its_distance_that_is_left() -> None:
    exact, between = np.array([4.0, 2.0, 2.0]), np.array([[0, 1, 9], [1, 0, 9], [9, 9, 0.0]])
    bounds, seeds = np.array([4.0, 2.0, 5.0]), range(2000)
    runs = [accept(bounds, exact, between, 3, np.random.default_rng(seed)) for seed in seeds]
    assert all(run[0] == 0 for run in runs)
    for proposal, share in ((1, 0.5), (2, 0.4)):
        count = sum(proposal in run for run in runs)
        assert stats.binomtest(count, 2000, share).pvalue > 1e-3
    assert accept(bounds, exact, between, 1, np.random.default_rng(0)) == [0]


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
