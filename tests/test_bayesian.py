"""Acquisition from Monte-Carlo dropout against scipy, slow loops and full enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from active.bayesian import bald, batch_bald, mean_entropy, power
from active.queries.batchbald import best


def random_logits(seed: int, s: int = 5, n: int = 6, c: int = 3, scale: float = 2.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (s, n, c))).float()


def probabilities(logits: Tensor) -> np.ndarray:
    return special.softmax(logits.double().numpy(), axis=2)


def information(probs: np.ndarray, chosen: list[int]) -> float:
    """I(labels of `chosen`; mask) in nats over all C^b configurations, one after the other."""
    joint = 0.0
    for labels in itertools.product(range(probs.shape[2]), repeat=len(chosen)):
        by_mask = [math.prod(p[i, y] for i, y in zip(chosen, labels, strict=True)) for p in probs]
        joint -= special.xlogy(np.mean(by_mask), np.mean(by_mask))
    noise = sum(np.mean([stats.entropy(p[i]) for p in probs]) for i in chosen)
    return float(joint - noise)


def separators(*truths: str) -> Tensor:
    """Logits of images whose label, of two, is known to each mask: "0011" for masks 2, 3 say 1."""
    labels = torch.tensor([[int(y) for y in truth] for truth in truths]).T
    return torch.nn.functional.one_hot(labels, 2).float() * 1e4


@pytest.mark.parametrize("scale", [0.1, 2.0, 30.0])
def test_mean_entropy_equals_scipys(scale: float) -> None:
    logits = random_logits(0, s=9, n=40, c=7, scale=scale)
    truth = stats.entropy(probabilities(logits).mean(axis=0), axis=1)
    assert np.allclose(mean_entropy(logits), truth, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-4, 0.1, 2.0, 30.0])
def test_bald_equals_a_loop_over_labels_and_masks(scale: float) -> None:
    logits = random_logits(1, s=9, n=10, c=4, scale=scale)
    probs = probabilities(logits)
    for i, value in enumerate(bald(logits).tolist()):
        mean = [sum(p[i, y] for p in probs) / 9 for y in range(4)]
        truth = -sum(m * math.log(m) for m in mean)
        truth += sum(special.xlogy(p[i, y], p[i, y]) for p in probs for y in range(4)) / 9
        assert value == pytest.approx(truth, rel=1e-12, abs=1e-14)


def test_known_values() -> None:
    logits = separators("01", "00")
    assert bald(logits).tolist() == pytest.approx([math.log(2), 0], abs=1e-12)
    assert mean_entropy(logits).tolist() == pytest.approx([math.log(2), 0], abs=1e-12)
    assert mean_entropy(torch.zeros(3, 1, 10)).item() == pytest.approx(math.log(10))


@pytest.mark.parametrize("scale", [0.5, 4.0, 40.0])
def test_bald_is_below_entropy_is_below_ln_c(scale: float) -> None:
    logits = random_logits(2, s=20, n=200, c=5, scale=scale)
    low, high = bald(logits), mean_entropy(logits)
    assert (low > 0).all()
    assert (low <= high + 1e-12).all()
    assert (high <= math.log(5) + 1e-12).all()
    assert (low < high - 1e-3).any()


def test_masks_that_agree_say_nothing() -> None:
    logits = random_logits(3, s=1, n=50).expand(8, 50, 3)
    assert bald(logits).max() < 1e-14
    assert mean_entropy(logits).min() > 1e-3
    positions, gains = batch_bald(logits, 5)
    assert positions.dtype == torch.int64
    assert len(positions) == len(gains) == 0


@pytest.mark.parametrize("size", [1e4, 3e38])
@pytest.mark.parametrize("max_joint", [1, 10_000])
def test_saturated_logits_are_finite(size: float, max_joint: int) -> None:
    logits = random_logits(4, s=6, n=20, c=4).sign() * size
    for values in (mean_entropy(logits), bald(logits), batch_bald(logits, 20)[1]):
        assert values.dtype == torch.float64
        assert torch.isfinite(values).all()
    gains = batch_bald(logits, 20, max_joint=max_joint)[1]
    assert len(gains) > 1
    assert torch.isfinite(gains).all()


def test_confident_images_are_still_ranked() -> None:
    gaps = torch.tensor([90.0, 20.0, 60.0, 30.0])
    sure = torch.stack([gaps, torch.zeros(4)], dim=1)
    logits = torch.stack([sure, sure + torch.tensor([5.0, 0.0])])
    for values in (mean_entropy(logits), bald(logits)):
        assert values.argsort(descending=True).tolist() == [1, 3, 2, 0]


def test_the_order_of_masks_does_not_matter() -> None:
    logits = random_logits(5, s=12, n=30, c=4)
    other = logits[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    assert torch.allclose(mean_entropy(logits), mean_entropy(other), rtol=1e-12)
    assert torch.allclose(bald(logits), bald(other), rtol=1e-12)
    (picks, gains), (others, same) = batch_bald(logits, 5), batch_bald(other, 5)
    assert picks.tolist() == others.tolist()
    assert torch.allclose(gains, same, rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_batch_bald_is_the_greedy_choice_of_full_enumeration(seed: int, scale: float) -> None:
    logits = random_logits(seed, scale=scale)
    probs, total = probabilities(logits), 0.0
    chosen: list[int] = []
    positions, gains = batch_bald(logits, 3)
    for position, gain in zip(positions.tolist(), gains.tolist(), strict=True):
        values = {i: information(probs, [*chosen, i]) for i in range(6) if i not in chosen}
        assert position == max(values, key=values.__getitem__)
        assert gain == pytest.approx(values[position] - total, abs=1e-10)
        chosen, total = [*chosen, position], values[position]
    assert len(chosen) == 3


@pytest.mark.parametrize("max_joint", [1, 9])
@pytest.mark.parametrize("seed", range(3))
def test_drawn_configurations_come_close_to_enumeration(seed: int, max_joint: int) -> None:
    """Drawn from the second or the fourth image on; measured error: below 0.004 nats."""
    logits = random_logits(seed)
    positions, gains = batch_bald(logits, 4, seed=7, max_joint=max_joint, num_samples=50_000)
    exact = batch_bald(logits, 4)[1]
    probs, chosen = probabilities(logits), positions.tolist()
    totals = [information(probs, chosen[:b]) for b in range(1, 5)]
    assert np.allclose(gains.cumsum(0), totals, atol=0.01)
    assert np.allclose(totals, exact.cumsum(0), atol=0.01)
    assert not np.allclose(gains, exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize("max_joint", [1, 10_000])
def test_lazy_choices_are_those_of_all_candidates(
    max_joint: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = random_logits(8, s=10, n=150, c=3)
    kept = {"max_joint": max_joint, "num_samples": 2000}
    picks, gains = batch_bald(logits, 6, **kept)
    monkeypatch.setattr("active.bayesian.FRONT", 150)
    monkeypatch.setattr("active.bayesian.CELLS", 1)
    every, values = batch_bald(logits, 6, **kept)
    assert picks.tolist() == every.tolist()
    assert torch.allclose(gains, values, rtol=1e-9)


@pytest.mark.parametrize("max_joint", [1, 10_000])
def test_batch_bald_stops_when_the_mask_is_known(max_joint: int) -> None:
    """Two labels tell four masks apart; a copy and a combination of the two add nothing."""
    logits = separators("0011", "0011", "0101", "0110", "0000")
    positions, gains = batch_bald(logits, 5, max_joint=max_joint)
    assert positions.tolist() == [0, 2]
    assert gains.tolist() == pytest.approx([math.log(2)] * 2, abs=1e-9)


@pytest.mark.parametrize("max_joint", [1, 10_000])
def test_a_duplicate_does_not_come_second(max_joint: int) -> None:
    logits = random_logits(9, s=10, n=12, scale=4)
    best = int(bald(logits).argmax())
    logits = torch.cat([logits, logits[:, [best]]], dim=1)
    assert set(bald(logits).topk(2).indices.tolist()) == {best, 12}
    positions, _ = batch_bald(logits, 2, max_joint=max_joint)
    assert positions[0] in (best, 12)
    assert positions[1] not in (best, 12)


def test_batch_bald_is_distinct_bounded_and_repeatable() -> None:
    logits = random_logits(10, s=8, n=40, c=4, scale=0.7)
    first, gains = batch_bald(logits, 100, seed=3, max_joint=64, num_samples=4000)
    again, same = batch_bald(logits, 100, seed=3, max_joint=64, num_samples=4000)
    assert first.tolist() == again.tolist()
    assert gains.tolist() == same.tolist()
    assert len(set(first.tolist())) == len(first) > 10
    assert 1.5 < gains.sum().item() < math.log(8) + 0.05
    _, other = batch_bald(logits, 100, seed=4, max_joint=64, num_samples=4000)
    assert gains.tolist() != other.tolist()
    assert batch_bald(logits, 0)[0].tolist() == []
    assert len(batch_bald(logits[:, :3], 100)[0]) == 3


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 3.0])
def test_power_draws_in_proportion_without_replacement(beta: float) -> None:
    scores, draws = np.array([0.1, 0.4, 0.2, 0.8]), 8000
    generator = np.random.default_rng(0)
    orders = np.array([np.argsort(-power(scores, beta, generator)) for _ in range(draws)])
    p = scores**beta / (scores**beta).sum()
    second = np.array([sum(p[i] * p[j] / (1 - p[i]) for i in range(4) if i != j) for j in range(4)])
    for place, expected in ((0, p), (1, second)):
        counts = np.bincount(orders[:, place], minlength=4)
        assert stats.chisquare(counts, expected * draws).pvalue > 1e-3


@pytest.mark.parametrize("scores", [[0.0, 1e-300, 0.0, 0.7, 0.0], [0.0, 0.0, 0.0]])
def test_power_puts_zeros_last_in_random_order(scores: list[float]) -> None:
    values, generator = np.array(scores), np.random.default_rng(1)
    zeros = np.flatnonzero(values == 0)
    keys = np.array([power(values, 2.0, generator) for _ in range(3000)])
    assert np.isfinite(keys).all()
    orders = np.argsort(-keys, axis=1)[:, -3:]
    assert (np.sort(orders, axis=1) == zeros).all()
    for place in range(3):
        counts = np.bincount(orders[:, place], minlength=len(values))[zeros]
        assert stats.chisquare(counts).pvalue > 1e-3


def test_power_refuses_what_is_no_score() -> None:
    for scores, beta in (([-0.1], 1.0), ([math.nan], 1.0), ([0.1], -1.0)):
        with pytest.raises(AssertionError):
            power(np.array(scores), beta, np.random.default_rng(0))


def test_logits_are_left_as_they_are() -> None:
    """Also those that already lie as the scores need them."""
    logits = torch.randn(4, 6, 5, dtype=torch.float64).permute(1, 2, 0)
    before = logits.clone()
    mean_entropy(logits)
    bald(logits)
    assert torch.equal(logits, before)


def test_batchbald_keeps_logits_of_candidates_and_their_ties_only() -> None:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.integers(0, 40, 300) / 8)
    logits = torch.from_numpy(rng.normal(size=(300, 2, 3)))
    indices = torch.from_numpy(rng.permutation(1000)[:300])
    rows = (indices, scores, logits)
    batches = list(zip(*(column.split(32) for column in rows), strict=True))
    kept = best([best(batches[:5], 20), *batches[5:]], 20)
    wanted = torch.from_numpy(np.flatnonzero(scores >= np.sort(scores)[-20]))
    assert 20 < len(wanted) < 60
    assert all(torch.equal(mine, column[wanted]) for mine, column in zip(kept, rows, strict=True))
    assert best(batches[:1], 50)[0].tolist() == indices[:32].tolist()
