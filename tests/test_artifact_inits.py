"""Inits that read an artifact: its scores, its clusters, its features."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from datamodules.errors import UserError
from datamodules.initial import Candidates
from datamodules.inits import coverage
from datamodules.inits.clusters import ClusterInit
from datamodules.inits.controls import ShuffledScores
from datamodules.inits.scores import ScoreInit, mix_bins
from tests.init_candidates import INDICES, NUM, make


def test_hardest_and_easiest() -> None:
    candidates = make()
    assert candidates.scores is not None
    by_score = sorted(INDICES.tolist(), key=lambda i: candidates.scores[i])  # type: ignore[index]
    assert ScoreInit("easiest")(candidates, 9, seed=0).tolist() == by_score[:9]
    assert ScoreInit("hardest")(candidates, 9, seed=0).tolist() == by_score[::-1][:9]


def slow_bins(ordered: list[int], bins: int, budget: int) -> set[int]:
    """One at a time from the bin that gave the fewest: its hardest, the last bin its easiest."""
    each, longer = divmod(len(ordered), bins)
    parts, start = [], 0
    for number in range(bins):
        stop = start + each + (number < longer)
        parts.append(ordered[start:stop])
        start = stop
    given, taken = [0] * bins, []
    for _ in range(budget):
        open_bins = [j for j in range(bins) if parts[j]]
        chosen = min(open_bins, key=lambda j: (given[j], j))
        taken.append(parts[chosen].pop(-1 if chosen == bins - 1 else 0))
        given[chosen] += 1
    return set(taken)


def test_bins_equal_a_slow_loop() -> None:
    for size, bins in itertools.product([6, 11, 20], [2, 5, 10]):
        ordered = np.random.default_rng(size).permutation(size)
        for budget in range(1, size + 1):
            got = mix_bins(ordered, bins, budget)
            assert set(got.tolist()) == slow_bins(ordered.tolist(), bins, budget)
            assert len(got) == budget


def test_bins_known_answer() -> None:
    scores = -np.arange(100.0)
    pool = ScoreInit(bins=5)(Candidates(np.arange(100), 2, scores=scores), 12, seed=0)
    assert sorted(pool) == [0, 1, 2, 20, 21, 22, 40, 41, 60, 61, 98, 99]


def test_scores_must_be_finite() -> None:
    candidates = make()
    assert candidates.scores is not None
    candidates.scores[[20, 41]] = np.nan, np.inf
    with pytest.raises(UserError, match=r"train/00020 is nan.*2 are not"):
        ScoreInit()(candidates, 3, seed=0)
    with pytest.raises(UserError, match="train/00020"):
        ShuffledScores()(candidates, 3, seed=0)


def shares_of(init: ClusterInit, sizes: tuple[int, ...], budget: int, seed: int = 0) -> list[int]:
    clusters = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    candidates = Candidates(np.arange(len(clusters)), 2, clusters=clusters)
    return np.bincount(clusters[init(candidates, budget, seed)], minlength=len(sizes)).tolist()


def test_proportional_shares_are_largest_remainders() -> None:
    for sizes in itertools.product([1, 2, 5, 13], repeat=3):
        for budget in range(1, sum(sizes) + 1):
            exact = [Fraction(size * budget, sum(sizes)) for size in sizes]
            missing = budget - sum(math.floor(e) for e in exact)
            rounded = sorted((e - math.floor(e) for e in exact), reverse=True)[:missing]
            got = shares_of(ClusterInit("proportional"), sizes, budget)
            up = [e - math.floor(e) for e, g in zip(exact, got, strict=True) if g > math.floor(e)]
            assert all(math.floor(e) <= g for e, g in zip(exact, got, strict=True))
            assert sorted(up, reverse=True) == rounded, (sizes, budget)
            assert sum(got) == budget


@pytest.mark.parametrize("shares", ["equal", "proportional"])
def test_a_remainder_goes_to_random_clusters(shares: str) -> None:
    got = [shares_of(ClusterInit(shares), (10, 10, 10, 10), 9, seed) for seed in range(40)]
    assert {tuple(sorted(row)) for row in got} == {(2, 2, 2, 3)}
    assert {row.index(3) for row in got} == {0, 1, 2, 3}


def test_short_clusters_hand_their_rest_to_others() -> None:
    got = shares_of(ClusterInit(), (3, 50, 1, 50), 30)
    assert (got[0], got[2]) == (3, 1)
    assert sorted(got[1::2]) == [13, 13]


@pytest.mark.parametrize("members", ["random", "nearest"])
def test_the_first_of_a_pool_are_balanced(members: str) -> None:
    candidates = make()
    assert candidates.clusters is not None
    pool = candidates.clusters[ClusterInit("equal", members)(candidates, 20, seed=0)]
    assert all(sorted(pool[i : i + 4]) == [0, 1, 2, 3] for i in range(0, 20, 4))


def test_nearest_members_equal_brute_force() -> None:
    candidates = make()
    assert candidates.clusters is not None
    assert candidates.features is not None
    pool = ClusterInit("equal", "nearest")(candidates, 24, seed=0).tolist()
    for cluster in range(4):
        members = [i for i in INDICES.tolist() if candidates.clusters[i] == cluster]
        mean = sum(candidates.features[i].astype(float) for i in members) / len(members)
        far = {i: math.dist(candidates.features[i], mean) for i in members}
        assert [i for i in pool if i in far] == sorted(members, key=far.__getitem__)[:6]


def test_typiclust_takes_one_of_each_far_group() -> None:
    groups = np.arange(60) % 12
    rng = np.random.default_rng(0)
    features = np.eye(12)[groups] + rng.normal(0, 0.01, (60, 12))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    pool = coverage.TypiClust()(Candidates(np.arange(60), 5, features=features), 12, seed=0)
    assert sorted(groups[pool]) == list(range(12))


def test_nearest_members_need_features() -> None:
    with pytest.raises(UserError, match="nearest needs features"):
        ClusterInit("equal", "nearest")(replace(make(), features=None), 5, seed=0)


def test_k_center_starts_anywhere_and_goes_to_the_ends() -> None:
    init = coverage.KCenter()
    line = np.linspace(0, 1, 11, dtype=np.float32)[:, None]
    candidates = Candidates(np.arange(1, 11), 2, features=line)
    pools = [init(candidates, 3, seed) for seed in range(100)]
    assert {int(pool[0]) for pool in pools} == set(range(1, 11))
    for first, second, *_ in (pool.tolist() for pool in pools):
        assert abs(first - second) == max(first - 1, 10 - first)


@pytest.mark.parametrize("clusters", ["none", "one", "two", "two but asked for five"])
def test_probcover_takes_its_radius_from_clusters(
    clusters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 5 if "five" in clusters else None
    init = coverage.ProbCover(purity=0.9, clusters=asked)
    seen: dict[str, Any] = {}
    real = coverage.purity_radius

    def radius(features: Any, labels: Any, purity: float) -> float:
        seen.update(labels=labels.numpy(), purity=purity, delta=real(features, labels, purity))
        return seen["delta"]

    monkeypatch.setattr(coverage, "purity_radius", radius)
    given = {"none": None, "one": np.zeros(NUM, int), "two": np.arange(NUM) % 2}[
        clusters.split()[0]
    ]
    pool = init(replace(make(), clusters=given), 9, seed=0)
    assert seen["purity"] == 0.9
    if clusters == "two":
        assert np.array_equal(seen["labels"], INDICES % 2)
    else:
        # of k-means, one for each class
        assert len(set(seen["labels"].tolist())) == (asked or 4)
    same = coverage.ProbCover(delta=seen["delta"])(make(), 9, seed=0)
    assert np.array_equal(pool, same)


def test_probcover_makes_ten_clusters_where_there_are_no_classes() -> None:
    """Ten far classes in two groups: a radius of two pseudo-labels would cover all in two balls."""
    rng, angles = np.random.default_rng(0), np.repeat(np.arange(10), 30)
    away = np.array([3, 0, 0, 0, 0])
    centers = np.concatenate([np.eye(5) + away, np.eye(5) - away])
    features = centers[angles] + rng.normal(0, 0.02, (300, 5))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    candidates = Candidates(np.arange(300), 0, features=features)
    for seed in range(5):
        pool = coverage.ProbCover()(candidates, 10, seed)
        assert sorted(angles[pool]) == list(range(10))
