"""V, L and U; budgets; initial pools."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from datamodules.errors import UserError
from datamodules.initial import (
    BalancedInit,
    Candidates,
    RandomInit,
    choose,
    equal_shares,
    rank_within,
)
from datamodules.pools import Pools, check_budgets, draw_validation, resolve_count
from datamodules.seeds import Seeds

INITS = {"random": RandomInit(), "balanced": BalancedInit()}


def test_pools_partition_the_train_part() -> None:
    pools = Pools(100, draw_validation(100, 0.1, Seeds(1)))
    assert len(pools.validation) == 10
    pools.label(pools.unlabeled[[3, 1, 7]])
    pools.label(pools.unlabeled[:5])
    parts = np.concatenate([pools.validation, pools.labeled, pools.unlabeled])
    assert sorted(parts) == list(range(100))
    assert len(pools.labeled) == 8
    again = Pools(100, pools.validation, pools.batches)
    assert np.array_equal(again.labeled, pools.labeled)


@pytest.mark.parametrize("wrong", ["validation", "labeled"])
def test_only_the_unlabeled_can_be_labeled(wrong: str) -> None:
    pools = Pools(20, np.array([0, 1]), [np.array([5])])
    with pytest.raises(AssertionError):
        pools.label(getattr(pools, wrong)[:1])
    with pytest.raises(AssertionError):
        pools.label(np.array([7, 7]))


def test_validation_is_rounded_and_depends_on_the_split_stream_alone() -> None:
    assert len(draw_validation(13_996, 0.1, Seeds(0))) == 1400
    assert len(draw_validation(100, 7, Seeds(0))) == 7
    assert len(draw_validation(100, 0, Seeds(0))) == 0
    one, other = draw_validation(1000, 0.1, Seeds(4)), draw_validation(1000, 0.1, Seeds(4, init=8))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, draw_validation(1000, 0.1, Seeds(5)))


@pytest.mark.parametrize(("value", "count"), [(60, 60), (0.1, 5000), (0.001, 50), (0.29, 14_500)])
def test_budgets_are_counts_or_fractions(value: float, count: int) -> None:
    assert resolve_count("budget", value, 50_000) == count


@pytest.mark.parametrize("value", [0, -3, -0.1, 1.5, 1e-9])
def test_budgets_that_are_none(value: float) -> None:
    with pytest.raises(UserError, match="budget"):
        resolve_count("budget", value, 50_000)


def test_budgets_must_fit() -> None:
    check_budgets(100, 10, 40, 10, 5)
    with pytest.raises(UserError, match="only 90 can be labeled"):
        check_budgets(100, 10, 41, 10, 5)


def slow_shares(sizes: list[int], budget: int) -> list[int]:
    """One at a time, to a group with the fewest so far that still has members."""
    shares = [0] * len(sizes)
    for _ in range(budget):
        free = [i for i in range(len(sizes)) if shares[i] < sizes[i]]
        shares[min(free, key=lambda i: (shares[i], i))] += 1
    return shares


def test_equal_shares_equal_a_slow_loop() -> None:
    for sizes in itertools.product([0, 1, 3, 8], repeat=4):
        for budget in range(sum(sizes) + 1):
            got = equal_shares(np.array(sizes), budget)
            want = slow_shares(list(sizes), budget)
            assert got.sum() == budget
            assert sorted(got) == sorted(want), (sizes, budget)
            assert (got <= sizes).all()


def test_shares_larger_than_the_groups_are_refused() -> None:
    with pytest.raises(UserError, match="larger than the 5"):
        equal_shares(np.array([2, 3]), 6)


def test_rank_within() -> None:
    groups = np.random.default_rng(0).integers(0, 5, 200)
    slow = [int((groups[:i] == groups[i]).sum()) for i in range(len(groups))]
    assert rank_within(groups).tolist() == slow


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("kind", ["even", "one class", "rare class", "missing class"])
def test_every_init_gives_exactly_its_budget(name: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    labels = {
        "even": rng.integers(0, 4, 60),
        "one class": np.zeros(60, dtype=np.int64),
        "rare class": (np.arange(60) == 17).astype(np.int64),
        "missing class": rng.choice([0, 2], 60),
    }[kind]
    indices = np.setdiff1d(np.arange(60), [3, 9, 30])
    for budget in (1, 2, 7, 30, 57):
        pool = INITS[name](Candidates(indices, 4, labels), budget, seed=5)
        assert len(pool) == budget == len(set(pool.tolist()))
        assert np.isin(pool, indices).all()
        assert np.array_equal(pool, INITS[name](Candidates(indices, 4, labels), budget, seed=5))
    assert not np.array_equal(pool, INITS[name](Candidates(indices, 4, labels), 57, seed=6))


def test_balanced_is_balanced_and_says_that_it_needs_labels() -> None:
    labels = np.repeat(np.arange(5), [5, 100, 100, 100, 100])
    pool = BalancedInit()(Candidates(np.arange(405), 5, labels), 53, seed=0)
    assert sorted(np.bincount(labels[pool], minlength=5)) == [5, 12, 12, 12, 12]
    assert sorted(np.bincount(labels[pool[:5]], minlength=5)) == [1] * 5
    with pytest.raises(UserError, match="needs the labels"):
        BalancedInit()(Candidates(np.arange(9), 5), 3, seed=0)


def test_a_smaller_random_pool_lies_in_a_larger() -> None:
    candidates = Candidates(np.arange(500), 0)
    small, large = (RandomInit()(candidates, budget, seed=1) for budget in (10, 40))
    assert np.array_equal(small, large[:10])


def test_runs_of_one_process_ask_an_init_once() -> None:
    asked = []

    def init(candidates: Candidates, budget: int, seed: int) -> np.ndarray:
        asked.append((candidates.name, budget, seed))
        return candidates.indices[:budget]

    one, two = np.arange(10), np.arange(1, 11)
    for indices, name in [(one, "a"), (one, "a"), (two, "a"), (one, "b"), (one, ""), (one, "")]:
        candidates = Candidates(indices, 2, name=name)
        first = choose(init, candidates, 3, 5)  # type: ignore[arg-type]
        assert np.array_equal(first, indices[:3])
        first[:] = -1  # what one run does with its pool is nothing to the next
    assert len(asked) == 5
    assert len(choose(init, Candidates(one, 2, name="a"), 4, 5)) == 4  # type: ignore[arg-type]
    choose(init, Candidates(one, 2, name="a"), 3, 6)  # type: ignore[arg-type]
    assert len(asked) == 7
