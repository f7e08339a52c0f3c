"""What pools share, against sets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from active.classes import hard_classes, mean_class_counts
from active.embedding import embed_pools
from active.overlap import choices, initial_pools, pair_shares, shares_by_cycle
from tests.study_rows import rows_of

N, SIZE, CYCLES = 60, 12, 3
ARMS, SEEDS = ("random", "vae", "kmeans"), ("seed0", "seed1")


def made_pools() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for arm in ARMS:
        for seed in SEEDS:
            order = rng.permutation(N)
            rows += [
                {
                    "data": "digits", "learner": "linear", "query": "random", "arm": arm,
                    "pretext": "", "seed": seed, "cycle": c,
                    "indices": order[c * SIZE : (c + 1) * SIZE],
                }
                for c in range(CYCLES)
            ]  # fmt: skip
    return pd.DataFrame(rows)


POOLS = made_pools()


def labeled(arm: str, seed: str, cycle: int) -> set[int]:
    rows = POOLS[(POOLS["arm"] == arm) & (POOLS["seed"] == seed) & (POOLS["cycle"] <= cycle)]
    return set(np.concatenate(rows["indices"].tolist()).tolist())


def test_pairs_equal_sets() -> None:
    shares = pair_shares(initial_pools(POOLS))
    assert list(shares.index) == list(shares.columns) == ["random", "kmeans", "vae"]
    for a, b in combinations(ARMS, 2):
        pairs = (SEEDS, SEEDS[::-1])  # of different seeds
        expected = np.mean([len(labeled(a, s, 0) & labeled(b, t, 0)) / SIZE for s, t in pairs])
        assert shares.loc[a, b] == shares.loc[b, a] == pytest.approx(expected)
    own = len(labeled("vae", "seed0", 0) & labeled("vae", "seed1", 0)) / SIZE
    assert shares.loc["vae", "vae"] == pytest.approx(own)


def test_one_seed_says_nothing_of_two_seeds() -> None:
    shares = pair_shares(initial_pools(POOLS[POOLS["seed"] == "seed0"]))
    assert np.isnan(np.diag(shares)).all()
    both = labeled("vae", "seed0", 0) & labeled("random", "seed0", 0)
    assert shares.loc["vae", "random"] == pytest.approx(len(both) / SIZE)


def test_shares_by_cycle_equal_sets() -> None:
    table = shares_by_cycle(POOLS)
    assert set(table["arm"]) == {"vae", "kmeans"}
    assert len(table) == 2 * CYCLES
    for row in table.itertuples():
        both = [labeled(row.arm, s, row.cycle) & labeled("random", s, row.cycle) for s in SEEDS]
        size = SIZE * (row.cycle + 1)
        assert row.share == pytest.approx(np.mean([len(b) / size for b in both]))
        assert (row.size, row.seeds) == (size, 2)


def test_an_unfinished_run_is_compared_as_far_as_it_goes() -> None:
    short = POOLS[~((POOLS["arm"] == "vae") & (POOLS["cycle"] > 0))]
    assert shares_by_cycle(short).groupby("arm").size().to_dict() == {"kmeans": 3, "vae": 1}


def test_queries_share_the_initial_pool() -> None:
    twice = pd.concat([POOLS, POOLS.assign(query="entropy")])
    assert len(initial_pools(twice)) == len(ARMS) * len(SEEDS)


def test_choices_are_what_was_added_after_the_initial_pool() -> None:
    """Of one arm's runs, one of which is unfinished: all are compared as far as it goes."""
    vae, other = (POOLS[POOLS["arm"] == arm] for arm in ("vae", "kmeans"))
    both = pd.concat([vae.assign(query="a"), other.assign(query="b", arm="vae")])
    first, whole = choices(both, 1), choices(both)
    assert first["indices"].map(len).tolist() == [SIZE] * 4
    short = choices(both[~((both["query"] == "a") & (both["cycle"] == 2))])
    assert short["indices"].map(len).tolist() == [SIZE] * 4
    added = {(arm, s): labeled(arm, s, 2) - labeled(arm, s, 0) for arm in ARMS for s in SEEDS}
    expected = [len(added["vae", s] & added["kmeans", s]) / (2 * SIZE) for s in SEEDS]
    shares = pair_shares(whole, "query")
    assert shares.loc["a", "b"] == shares.loc["b", "a"] == pytest.approx(np.mean(expected))
    assert choices(both[both["cycle"] == 0]).empty


def test_hard_classes_equal_a_count_of_all_draws() -> None:
    """6 classes, so that k is 2; the most are 0 and 1, the hardest 1 and 2."""
    accuracy = [0.9, 0.1, 0.2, 0.8, 0.8, 0.8]
    rows = rows_of([0.5], "vae", "entropy", data="digits", **{"test/acc_per_class": accuracy})
    pools = POOLS[POOLS["arm"] == "vae"].assign(class_counts=[[5, 4, 1, 1, 1, 0]] * 6)
    (row,) = hard_classes(pd.DataFrame(rows), pools).itertuples()
    assert (row.classes, row.k, row.shared) == (6, 2, 1)
    draws = [len({0, 1} & set(pair)) for pair in combinations(range(6), 2)]
    assert row.expected == pytest.approx(np.mean(draws))
    assert row.p == pytest.approx(np.mean([n >= 1 for n in draws]))


def test_class_counts_are_means_of_the_pools_that_know_them() -> None:
    pools = pd.DataFrame({"class_counts": [[4, 0, 2], None, [1, 2, 3], float("nan")]})
    assert mean_class_counts(pools).tolist() == [2.5, 1, 2.5]
    assert mean_class_counts(pools[1::2]) is None
    assert mean_class_counts(pd.DataFrame({"arm": ["vae"]})) is None


def test_even_pools_over_sample_nothing() -> None:
    rows = rows_of([0.5], "vae", data="digits", **{"test/acc_per_class": [0.5, 0.6, 0.7]})
    pools = POOLS[POOLS["arm"] == "vae"].assign(class_counts=[[4, 4, 4]] * 6)
    assert hard_classes(pd.DataFrame(rows), pools).empty
    assert hard_classes(pd.DataFrame(rows), POOLS).empty


def test_embedding_keeps_neighbors_and_members() -> None:
    """Two far groups of features stay apart, and members are the rows that were asked for."""
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(0, 0.1, (40, 8)), rng.normal(5, 0.1, (40, 8))])
    pools = {"a": np.array([3, 70, 5]), "b": np.array([79])}
    points, members = embed_pools(features, pools)
    assert points.shape == (80, 2)  # fewer images than the sample takes: all of them
    assert members["a"].tolist() == [3, 70, 5]
    near = np.linalg.norm(points[:40] - points[:40].mean(0), axis=1).max()
    assert np.linalg.norm(points[:40].mean(0) - points[40:].mean(0)) > near
