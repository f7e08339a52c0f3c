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


def write(file: Path, frame: dict[str, Any]) -> TableInit:
    """The columns as a .csv or .parquet, a lone one also as .txt or .npy."""
    if file.suffix == ".csv":
        pd.DataFrame(frame).to_csv(file, index=False)
    elif file.suffix == ".parquet":
        pd.DataFrame(frame).to_parquet(file, index=False)
    elif file.suffix == ".txt":
        file.write_text("".join(f"{value}\n" for value in next(iter(frame.values()))))
    else:
        np.save(file, next(iter(frame.values())))
    return TableInit(str(file))


LISTED = [41, 3, 7, 55, 0, 9, 12]  # 3 and 9 are in V


@pytest.mark.parametrize(
    ("suffix", "column"),
    [(".npy", "index"), *itertools.product([".csv", ".parquet", ".txt"], ["id", "index"])],
)
def test_a_list_is_taken_in_its_order(tmp_path: Path, suffix: str, column: str) -> None:
    values = [IDS[i] for i in LISTED] if column == "id" else LISTED
    init = write(tmp_path / f"pool{suffix}", {column: values})
    assert init(make(), 4, seed=0).tolist() == [41, 7, 55, 0]
    assert not init.draws
    with pytest.raises(
        UserError, match=r"lists 7 .* 2 are in .* V, so 5 remain .* of 6; --data\.val"
    ):
        init(make(), 6, seed=0)
    (tmp_path / f"pool{suffix}").unlink()
    assert init(make(), 5, seed=0).tolist() == [41, 7, 55, 0, 12]  # read once


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_runs_own_lists_are_lists(tmp_path: Path, suffix: str) -> None:
    """selected.parquet has ranks beside scores that a random pool does not have."""
    rows = [(2, 7), (0, 55), (1, 41)]
    frame = {
        "id": [IDS[i] for _, i in rows],
        "index": [i for _, i in rows],
        "rank": [rank for rank, _ in rows],
        "score": [np.nan] * 3,
    }
    init = write(tmp_path / f"selected{suffix}", frame)
    assert init(make(), 3, seed=0).tolist() == [55, 41, 7]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_a_table_of_scores_is_that_artifact(tmp_path: Path, suffix: str) -> None:
    candidates = make()
    scores = np.nan_to_num(candidates.scores)  # type: ignore[call-overload]
    rows = np.arange(NUM) if suffix == ".npy" else np.random.default_rng(2).permutation(NUM)
    columns = {"score": scores[rows]} if suffix == ".npy" else {"id": [IDS[i] for i in rows]}
    init = write(tmp_path / f"scores{suffix}", columns | {"score": scores[rows]})
    bare = replace(candidates, scores=None)
    assert np.array_equal(init(bare, 20, 4), ScoreInit()(candidates, 20, 4))
    easiest = TableInit(str(init.path), order="easiest")
    assert np.array_equal(easiest(bare, 20, 4), ScoreInit("easiest")(candidates, 20, 4))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
@pytest.mark.parametrize("shares", ["equal", "proportional"])
def test_a_table_of_clusters_is_that_artifact(tmp_path: Path, suffix: str, shares: str) -> None:
    candidates = make()
    clusters = np.asarray(candidates.clusters)
    rows = np.arange(NUM) if suffix == ".npy" else np.random.default_rng(2).permutation(NUM)
    columns = {} if suffix == ".npy" else {"index": rows}
    file = write(tmp_path / f"clusters{suffix}", columns | {"cluster": clusters[rows]}).path
    init = TableInit(str(file), shares=shares)
    bare = replace(candidates, clusters=None)
    assert np.array_equal(init(bare, 22, 4), ClusterInit(shares)(candidates, 22, 4))
    assert init.draws


def test_ids_are_texts(tmp_path: Path) -> None:
    ids = ("NA", "007", "7", "a,b", "nan", "")
    (tmp_path / "pool.csv").write_text('rank,id\n0,007\n1,"a,b"\n2,NA\n3,7\n4,nan\n')
    candidates = Candidates(np.arange(5), 2, ids=ids)
    pool = TableInit(str(tmp_path / "pool.csv"))(candidates, 5, seed=0)
    assert pool.tolist() == [1, 3, 0, 2, 4]


WRONG_TABLES = {
    "unknown id": ("a.csv", {"id": [IDS[1], "train/1", "x"]}, r"names 'train/1', .*'train/00000'"),
    "unknown word": ("a.txt", {"id": ["5", "six"]}, "names '5'"),
    "index too large": ("a.csv", {"index": [1, 60]}, "index 60, .* 0 to 59"),
    "index too small": ("a.npy", {"index": np.array([1, -1])}, "index -1"),
    "fraction": ("a.csv", {"index": [1, 2.5]}, "whole numbers; row 2 holds '2.5'"),
    "twice": ("a.txt", {"id": [IDS[4], IDS[5], IDS[4], IDS[5]]}, "train/00004 more than once"),
    "contradiction": ("a.csv", {"id": IDS[:3], "index": [0, 2, 1]}, "row 2 .*index 2 .*sample 1"),
    "few scores": ("a.csv", {"id": IDS[:40], "score": np.zeros(40)}, "no score for 20 .*00040"),
    "few clusters": ("a.csv", {"id": IDS[5:], "cluster": [0] * 55}, "no cluster for 4 .*00000"),
    "no number": ("a.csv", {"id": IDS, "score": ["?"] * 60}, r"finite numbers; row 1 holds '\?'"),
    "no finite": ("a.parquet", {"id": IDS, "score": [1.0, np.inf] * 30}, "row 2 holds 'inf'"),
    "two values": ("a.csv", {"id": IDS, "score": [0] * 60, "cluster": [0] * 60}, "remove one"),
    "no names": ("a.csv", {"name": IDS}, "needs a column id or index; its columns are name"),
    "few floats": ("a.npy", {"score": np.zeros(59)}, "one score for each of the 60 .* holds 59"),
    "few integers": ("a.npy", {"cluster": np.zeros(59, int)}, "one cluster .* repeats some"),
    "matrix": ("a.npy", {"score": np.zeros((60, 2))}, "one dimension"),
    "texts": ("a.npy", {"id": np.array(IDS)}, "integers or floats"),
    "too short": ("a.txt", {"id": IDS[10:14]}, "lists 4 samples, and the budget is 5"),
    "empty": ("a.txt", {"id": []}, "lists 0 samples"),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_wrong_tables_are_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    file, frame, match = WRONG_TABLES[name]
    init = write(tmp_path / file, frame)
    with pytest.raises(UserError, match=match) as caught:
        init(make(), 5, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy", ".txt"])
def test_files_that_are_something_else(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"broken{suffix}"
    for content in (b"\x80\x81\xff\x00PAR1", b'id,score\n"a,1\nb,2,3,4\n', b""):
        file.write_bytes(content)
        if (suffix, content[:1]) in {(".txt", b"i"), (".txt", b"")}:
            continue  # a text all the same
        with pytest.raises(UserError, match=f"cannot be read as a {suffix} file"):
            TableInit(str(file))(make(), 2, seed=0)


def test_rows_longer_than_the_header_are_not_shifted(tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text("id\ntrain/00001,train/00002\n")
    with pytest.raises(UserError, match="more fields"):
        TableInit(str(tmp_path / "pool.csv"))(make(), 1, seed=0)


def test_numbers_that_are_ids_as_well_are_not_guessed(tmp_path: Path) -> None:
    init = write(tmp_path / "pool.txt", {"id": ["1", "2"]})
    candidates = Candidates(np.arange(4), 2, ids=("2", "1", "0", "x"))
    with pytest.raises(UserError, match="could be ids or indices"):
        init(candidates, 2, seed=0)


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
