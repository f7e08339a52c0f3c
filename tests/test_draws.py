"""Random numbers that belong to samples, and named streams."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from datamodules.draws import random_bits, random_order, uniform
from datamodules.seeds import Seeds

INDICES = torch.arange(20_000)


def splitmix(seed: int, index: int, lane: int) -> int:
    """The same hash in plain integers."""
    mask = (1 << 64) - 1

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    return mix((mix((index * golden + seed) & mask) + (lane + 1) * golden) & mask)


def test_bits_equal_plain_integers() -> None:
    bits = random_bits(123_456_789, torch.tensor([0, 1, 59_999]), 2)
    for row, index in enumerate([0, 1, 59_999]):
        for lane in range(2):
            assert int(bits[row, lane]) % (1 << 64) == splitmix(123_456_789, index, lane)


def test_uniform_is_uniform_and_independent() -> None:
    draws = uniform(7, INDICES, 3).numpy()
    assert draws.min() >= 0
    assert draws.max() < 1
    for lane in range(3):
        assert stats.kstest(draws[:, lane], "uniform").pvalue > 1e-3
    other = uniform(8, INDICES, 1).numpy()[:, 0]
    pairs = [(draws[:, 0], draws[:, 1]), (draws[:, 0], other), (draws[1:, 0], draws[:-1, 0])]
    for a, b in pairs:
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_a_draw_depends_on_the_sample_alone() -> None:
    whole = uniform(3, INDICES, 2)
    shuffled = torch.randperm(len(INDICES))
    assert torch.equal(uniform(3, INDICES[shuffled], 2), whole[shuffled])
    assert torch.equal(uniform(3, INDICES[5:6], 2), whole[5:6])


def test_order_of_a_subset_is_the_order_of_the_whole() -> None:
    whole = random_order(5, np.arange(1000))
    subset = np.arange(0, 1000, 3)
    assert np.array_equal(random_order(5, subset), whole[np.isin(whole, subset)])
    assert sorted(whole) == list(range(1000))
    assert not np.array_equal(whole, random_order(6, np.arange(1000)))


def test_streams_are_named_and_can_be_given_their_own_seed() -> None:
    seeds = Seeds(3)
    streams = {seeds.stream(n, c) for n in ("split", "init", "weights", "query") for c in range(5)}
    assert len(streams) == 20
    crossed = Seeds(3, weights=9)
    assert crossed.stream("split") == seeds.stream("split")
    assert crossed.stream("weights", 2) == Seeds(9).stream("weights", 2)
    assert seeds.stream("split") == 7362350188778053779  # never changes: old runs must resume
