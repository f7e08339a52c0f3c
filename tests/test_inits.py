"""The contract of every init. A new init adds one row to `INITS`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datamodules.errors import UserError
from datamodules.initial import BalancedInit, Candidates, RandomInit
from datamodules.inits import controls, coverage
from datamodules.inits.clusters import ClusterInit
from datamodules.inits.controls import HistogramInit, PixelFloor, ShuffledScores
from datamodules.inits.scores import ScoreInit, mix_bins
from datamodules.inits.table import TableInit

NUM, VALIDATION = 60, [3, 9, 30]
IDS = tuple(f"train/{i:05d}" for i in range(NUM))
INDICES = np.setdiff1d(np.arange(NUM), VALIDATION)


def table(name: str, folder: Path, candidates: Candidates, **columns: np.ndarray) -> str:
    """A .csv of all candidates, in an order that is not theirs."""
    rows = np.random.default_rng(1).permutation(candidates.indices)
    frame = {"id": [IDS[i] for i in rows], **{k: v[rows] for k, v in columns.items()}}
    pd.DataFrame(frame).to_csv(folder / f"{name}.csv", index=False)
    return str(folder / f"{name}.csv")


INITS: dict[str, Callable[[Path, Candidates], Any]] = {
    "random": lambda _, c: RandomInit(),
    "balanced": lambda _, c: BalancedInit(),
    "hardest": lambda _, c: ScoreInit(),
    "easiest": lambda _, c: ScoreInit("easiest"),
    "bins 2": lambda _, c: ScoreInit(bins=2),
    "bins 10": lambda _, c: ScoreInit(bins=10),
    "bins 100": lambda _, c: ScoreInit(bins=100),
    "equal": lambda _, c: ClusterInit(),
    "proportional": lambda _, c: ClusterInit("proportional"),
    "equal nearest": lambda _, c: ClusterInit("equal", "nearest"),
    "proportional nearest": lambda _, c: ClusterInit("proportional", "nearest"),
    "kcenter": lambda _, c: coverage.KCenter(),
    "typiclust": lambda _, c: coverage.TypiClust(),
    "probcover": lambda _, c: coverage.ProbCover(),
    "probcover delta": lambda _, c: coverage.ProbCover(delta=0.7),
    "maxherding": lambda _, c: coverage.MaxHerding(),
    "list": lambda f, c: TableInit(table("list", f, c)),
    "table of scores": lambda f, c: TableInit(table("scores", f, c, score=c.scores)),
    "table of clusters": lambda f, c: TableInit(table("clusters", f, c, cluster=c.clusters)),
    "shuffled": lambda _, c: ShuffledScores(),
    "histogram": lambda _, c: HistogramInit(ScoreInit()),
    "histogram of balanced": lambda _, c: HistogramInit(BalancedInit()),
    "pixel floor": lambda _, c: PixelFloor(),
}
KINDS = {
    "plain": {},
    "constant scores": {"scores": np.zeros(NUM)},
    "heavy ties": {"scores": np.arange(NUM) % 3.0, "clusters": np.arange(NUM) % 6},
    "empty clusters": {"clusters": np.arange(NUM) % 2 * 900 - 1},
    "one giant cluster": {"clusters": np.zeros(NUM, int), "labels": np.zeros(NUM, int)},
    "singletons": {"clusters": np.maximum(np.arange(NUM) - 40, 0)},
    "more clusters than samples": {"clusters": np.arange(NUM) * 7},
    "duplicate features": {"features": np.eye(3, 5, dtype=np.float32)[np.arange(NUM) % 3]},
    "one image": {"features": np.eye(1, 5, dtype=np.float32)[np.zeros(NUM, int)]},
}


def make(kind: str = "plain") -> Candidates:
    """60 samples without ties; what is known of V is poison."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(NUM, 5)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    pixels = rng.normal(size=(NUM, 2, 4, 4)).astype(np.float32)
    arrays = {
        "labels": rng.integers(0, 4, NUM),
        "scores": rng.normal(size=NUM),
        "clusters": np.searchsorted([25, 40, 53], np.arange(NUM), side="right"),
        "features": features,
    } | {name: array.copy() for name, array in KINDS[kind].items()}
    if kind in ("constant scores", "one image"):
        pixels[:] = pixels[0]
    arrays["scores"][VALIDATION] = np.nan
    arrays["clusters"][VALIDATION] = -77
    arrays["features"][VALIDATION] = np.nan
    return Candidates(INDICES, 4, **arrays, ids=IDS, pixels=lambda rows: pixels[rows])


def allowed(init: Any, candidates: Candidates) -> Candidates:
    """What the init declares that it needs; features may come with any artifact."""
    keep = {"labels": init.needs_labels, "scores": init.reads == "scores"}
    keep |= {
        "clusters": init.reads == "clusters",
        "features": init.reads in ("features", "clusters"),
    }
    return replace(candidates, **{name: None for name, kept in keep.items() if not kept})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", INITS)
def test_every_init_gives_exactly_its_budget(name: str, kind: str, tmp_path: Path) -> None:
    init = INITS[name](tmp_path, make(kind))
    for budget in (1, 2, 7, 28, 57):
        candidates = allowed(init, make(kind))
        pool = init(candidates, budget, seed=5)
        assert len(pool) == budget == len(set(pool.tolist()))
        assert np.isin(pool, INDICES).all()
        again = INITS[name](tmp_path, make(kind))
        assert np.array_equal(pool, again(allowed(again, make(kind)), budget, seed=5))
        for part in ("indices", "labels", "scores", "clusters", "features"):
            after, before = getattr(candidates, part), getattr(allowed(init, make(kind)), part)
            assert (after is before is None) or np.array_equal(after, before, equal_nan=True)


@pytest.mark.parametrize("name", INITS)
def test_draws_says_whether_the_seed_decides(name: str, tmp_path: Path) -> None:
    init = INITS[name](tmp_path, make())
    candidates = allowed(init, make())
    pools = {frozenset(init(candidates, 21, seed).tolist()) for seed in range(4)}
    assert (len(pools) > 1) == init.draws


@pytest.mark.parametrize(
    "name",
    ["hardest", "easiest", "bins 2", "bins 10", "table of scores", "shuffled", "pixel floor"],
)
def test_ties_are_broken_by_the_seed(name: str, tmp_path: Path) -> None:
    init = INITS[name](tmp_path, make("constant scores"))
    candidates = allowed(init, make("constant scores"))
    pools = {frozenset(init(candidates, 21, seed).tolist()) for seed in range(8)}
    assert len(pools) == 8


READERS = {
    "scores": ["hardest", "bins 2", "shuffled", "histogram"],
    "clusters": ["equal", "proportional nearest"],
    "features": ["kcenter", "typiclust", "probcover", "maxherding"],
    "pixels": ["pixel floor"],
    "": ["random", "list", "table of scores", "table of clusters", "histogram of balanced"],
}


@pytest.mark.parametrize(("reads", "name"), [(r, n) for r, names in READERS.items() for n in names])
def test_what_an_init_reads_it_cannot_do_without(reads: str, name: str, tmp_path: Path) -> None:
    init = INITS[name](tmp_path, make())
    assert init.reads == reads
    if reads in ("scores", "clusters", "features"):
        with pytest.raises(UserError, match=f"needs {reads}"):
            init(replace(make(), **{reads: None}), 5, seed=0)


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


def test_nearest_members_need_features() -> None:
    with pytest.raises(UserError, match="nearest needs features"):
        ClusterInit("equal", "nearest")(replace(make(), features=None), 5, seed=0)


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


def test_k_center_starts_anywhere_and_goes_to_the_ends() -> None:
    init = coverage.KCenter()
    line = np.linspace(0, 1, 11, dtype=np.float32)[:, None]
    candidates = Candidates(np.arange(1, 11), 2, features=line)
    pools = [init(candidates, 3, seed) for seed in range(100)]
    assert {int(pool[0]) for pool in pools} == set(range(1, 11))
    for first, second, *_ in (pool.tolist() for pool in pools):
        assert abs(first - second) == max(first - 1, 10 - first)


@pytest.mark.parametrize("clusters", ["none", "one", "two"])
def test_probcover_takes_its_radius_from_clusters(
    clusters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = coverage.ProbCover(purity=0.9)
    seen: dict[str, Any] = {}
    real = coverage.purity_radius

    def radius(features: Any, labels: Any, purity: float) -> float:
        seen.update(labels=labels.numpy(), purity=purity, delta=real(features, labels, purity))
        return seen["delta"]

    monkeypatch.setattr(coverage, "purity_radius", radius)
    given = {"none": None, "one": np.zeros(NUM, int), "two": np.arange(NUM) % 2}[clusters]
    pool = init(replace(make(), clusters=given), 9, seed=0)
    assert seen["purity"] == 0.9
    if clusters == "two":
        assert np.array_equal(seen["labels"], INDICES % 2)
    else:
        assert len(set(seen["labels"].tolist())) == 4  # k-means, one cluster for each class
    same = coverage.ProbCover(delta=seen["delta"])(make(), 9, seed=1)
    assert np.array_equal(pool, same)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: ScoreInit("hard"), "hardest, easiest, not 'hard'"),
        (lambda: ScoreInit(bins=0), "bins"),
        (lambda: ScoreInit(bins=2.5), "bins"),  # type: ignore[arg-type]
        (lambda: ScoreInit("easiest", 2), "order=hardest"),
        (lambda: ClusterInit("same"), "equal, proportional"),
        (lambda: ClusterInit("equal", "center"), "random, nearest"),
        (lambda: HistogramInit("vae"), "another init"),
        (lambda: coverage.TypiClust(max_clusters=0), "max_clusters"),
        (lambda: coverage.TypiClust(neighbors=1.5), "neighbors"),
        (lambda: coverage.ProbCover(delta=0), "delta"),
        (lambda: coverage.ProbCover(purity=1.2), "purity"),
        (lambda: coverage.MaxHerding(sigma=-1), "sigma"),
        (lambda: TableInit(), r"needs --init\.path"),
        (lambda: TableInit("pool.xlsx"), r"\.csv, \.parquet, \.npy, \.txt"),
        (lambda: TableInit("no/such/pool.csv"), "there is no file 'no/such/pool.csv'"),
    ],
)
def test_wrong_settings_are_refused_at_once(build: Callable[[], Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build()


def test_the_cases_of_the_contract_are_what_their_names_say() -> None:
    def distinct(kind: str, part: str) -> int:
        return len(np.unique(getattr(make(kind), part)[INDICES], axis=0))

    assert distinct("constant scores", "scores") == 1
    assert distinct("heavy ties", "scores") == 3
    assert distinct("one giant cluster", "clusters") == 1
    assert distinct("more clusters than samples", "clusters") == 57
    assert distinct("duplicate features", "features") == 3
    assert distinct("one image", "features") == 1
    sizes = np.unique(make("singletons").clusters[INDICES], return_counts=True)[1]  # type: ignore
    assert sorted(sizes.tolist()) == [1] * 19 + [38]
