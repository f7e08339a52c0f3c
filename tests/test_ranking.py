"""Ranks against scipy, loops over permutations, published tables and known answers."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from active.ranking import (
    cliques,
    correlation,
    critical_difference,
    penalty_matrix,
    rank_arms,
    rank_pools,
    start_to_end,
)  # fmt: skip
from tests.study_rows import noisy, rows_of, study_of

ARMS = ["random", "vae", "scan", "kmeans"]


def made(gains: dict[str, tuple[float, float]], seeds: int = 4, sd: float = 0.001) -> pd.DataFrame:
    """Runs whose pools gain so much at the start and at the end."""

    def curve(arm: str, query: str, seed: int) -> np.ndarray:
        noise = np.random.default_rng([*arm.encode(), seed]).normal(0, sd, 3)
        first, last = gains[arm]
        return np.array([0.5 + first, 0.6, 0.7 + last]) + noise + seed / 10

    return study_of(curve, list(gains), ["entropy"], seeds)


def test_correlation_is_spearmans_and_its_p_goes_through_all_permutations() -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=(5, 3))
    end = start + rng.normal(size=(5, 3))
    rho, p = correlation(start, end)
    assert rho == pytest.approx(stats.spearmanr(start.ravel(), end.ravel()).statistic)
    others = [
        stats.spearmanr(start.ravel(), end[list(order)].ravel()).statistic
        for order in permutations(range(5))
    ]
    assert p == pytest.approx(np.mean(np.array(others) >= rho - 1e-9))


def test_correlation_of_many_pools_is_drawn_and_of_equal_ones_unknown() -> None:
    start = np.arange(20.0).reshape(10, 2)
    rho, p = correlation(start, start)
    assert rho == pytest.approx(1)
    assert p == pytest.approx(1 / 5001)
    assert np.isnan(correlation(np.ones((4, 2)), start[:4])).all()


def test_a_good_start_stays_or_turns() -> None:
    steps = {arm: i / 20 for i, arm in enumerate(ARMS)}
    stays = start_to_end(made({a: (g, g) for a, g in steps.items()}))
    assert stays["cycle"].tolist() == [1, 2]
    last = stays.iloc[-1]
    assert (last["labeled"], last["pools"], last["seeds"]) == (40, 4, 4)
    assert last["rho"] > 0.9  # without the centering, seeds would be all that is ranked
    assert last["p"] == pytest.approx(1 / 24)
    turns = start_to_end(made({a: (g, -g) for a, g in steps.items()})).iloc[-1]
    assert turns["rho"] < -0.9
    assert turns["p"] == 1


def test_seeds_that_differ_are_no_correlation_of_pools() -> None:
    rhos = [
        start_to_end(study_of(noisy({}, 0.01, s / 7), ARMS, [f"q{s}"], 5))["rho"].iloc[-1]
        for s in range(12)
    ]
    assert abs(np.mean(rhos)) < 0.3


def test_a_pretext_model_that_is_behind_is_left_out() -> None:
    runs = made({a: (i / 20, i / 20) for i, a in enumerate(ARMS)})
    other = runs[(runs["arm"] == "vae") & (runs["cycle"] < 2)].assign(pretext="1")
    other["test/acc"] += 0.5
    expected = start_to_end(runs)
    assert start_to_end(pd.concat([runs, other])).equals(expected)


def test_holes_are_left_out_of_the_correlation() -> None:
    runs = made({a: (i / 20, i / 20) for i, a in enumerate(ARMS)})
    hole = (runs["arm"] == "vae") & (runs["seed"] == "seed1") & (runs["cycle"] == 2)
    last = start_to_end(runs[~hole]).iloc[-1]
    assert (last["pools"], last["seeds"]) == (4, 3)
    assert start_to_end(made({"random": (0, 0), "vae": (0, 0)})).empty


def test_friedman_is_scipys_and_ranks_are_by_hand() -> None:
    values = pd.DataFrame(
        [[0.9, 0.8, 0.7], [0.6, 0.7, 0.5], [0.5, 0.4, 0.4]], ["x", "y", "z"], ["a", "b", "c"]
    )
    ranking = rank_arms(values)
    assert ranking.ranks.to_dict() == pytest.approx({"a": 4 / 3, "b": 5.5 / 3, "c": 8.5 / 3})
    expected = stats.friedmanchisquare(*values.to_numpy().T)
    assert (ranking.statistic, ranking.p) == pytest.approx(tuple(expected))
    assert ranking.blocks == ["x", "y", "z"]
    values.loc["z", "a"] = np.nan
    assert rank_arms(values).blocks == ["x", "y"]


def test_too_few_to_be_tested() -> None:
    assert np.isnan(rank_arms(pd.DataFrame([[1.0, 2.0, 3.0]])).p)
    assert np.isnan(rank_arms(pd.DataFrame([[1.0, 2.0]] * 4)).p)
    assert np.isnan(rank_arms(pd.DataFrame([[1.0, 1.0, 1.0]] * 3)).p)


@pytest.mark.parametrize(
    ("arms", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)]
)
def test_critical_difference_is_from_demsars_table(arms: int, q: float) -> None:
    for blocks in (4, 14):
        expected = q * (arms * (arms + 1) / (6 * blocks)) ** 0.5
        assert critical_difference(arms, blocks) == pytest.approx(expected, rel=5e-4)


def test_cliques() -> None:
    ranks = pd.Series({"d": 4.0, "a": 1.0, "b": 1.5, "c": 2.4})
    assert cliques(ranks, 1.0) == [["a", "b"], ["b", "c"]]
    assert cliques(ranks, 1.5) == [["a", "b", "c"]]
    assert cliques(ranks, 9.0) == [["a", "b", "c", "d"]]
    assert cliques(ranks, 0.1) == []


def test_pools_are_ranked_over_data_sets() -> None:
    gains = {"vae": -0.1, "scan": 0.1, "kmeans": 0.02}
    runs = [study_of(noisy(gains), ARMS, ["random", "entropy"], 3, data=d) for d in ("a", "b", "c")]
    runs.append(study_of(noisy(gains), ARMS[:2], ["random"], 3, data="d"))  # misses two pools
    rankings = rank_pools(pd.concat(runs))
    assert set(rankings) == {("resnet18", "random"), ("resnet18", "entropy")}
    ranking = rankings["resnet18", "random"]
    assert ranking.ranks.index.tolist() == ["scan", "kmeans", "random", "vae"]
    assert ranking.blocks == ["a", "b", "c"]
    assert ranking.p == pytest.approx(stats.chi2.sf(9, 3))  # all blocks agree


def test_a_query_that_is_still_running_is_ranked_later() -> None:
    runs = study_of(noisy({}), ARMS, ["random", "entropy"], 3)
    short = runs[(runs["query"] == "random") | (runs["cycle"] < 2)]
    assert set(rank_pools(short)) == {("resnet18", "random")}
    holes = runs[runs["cycle"].to_numpy() != runs["seed"].str[-1].astype(int).to_numpy()]
    assert start_to_end(holes).empty


def test_budgets_of_a_data_set_are_one_block() -> None:
    gains = {"vae": -0.1, "scan": 0.1, "kmeans": 0.02}
    names = ("cifar10", "cifar10-100+100", "cifar10-1000+1000", "mnist-10+10", "mnist")
    runs = [study_of(noisy(gains), ARMS, ["random"], 3, data=name) for name in names]
    ranking = rank_pools(pd.concat(runs))["resnet18", "random"]
    assert ranking.blocks == ["cifar10", "mnist"]
    assert ranking.p == pytest.approx(stats.chi2.sf(6, 3))  # two blocks that agree


def test_penalties_by_hand() -> None:
    gains = {"vae": [-0.2, 0, 0], "scan": [0.2, 0.2, 0.2]}

    def curve(arm: str, query: str, seed: int) -> np.ndarray:
        wiggle = np.random.default_rng([*arm.encode(), seed]).normal(0, 1e-3, 3)
        return 0.5 + np.array(gains.get(arm, [0, 0, 0])) + wiggle

    runs = study_of(curve, ["random", "vae", "scan"], ["random", "entropy"], 4)
    table = penalty_matrix(runs)
    assert table.columns.tolist() == ["random", "scan", "vae"]
    assert table.loc["scan", ["random", "vae"]].tolist() == [1, 1]  # all three budgets
    assert table.loc["random", "vae"] >= 1 / 3  # one budget of three, in two cells
    assert np.isnan(np.diag(table)).all()
    assert table.loc["vae", "scan"] == 0
    assert table.loc["mean"].tolist() == pytest.approx(table.iloc[:3].mean().tolist())


def test_an_arm_is_beaten_where_it_got_and_not_where_it_never_met() -> None:
    runs = study_of(noisy({"vae": -0.05, "scan": -0.05}), ARMS[:3], ["entropy"], 5)
    whole = penalty_matrix(runs)
    assert whole.loc["random", ["vae", "scan"]].tolist() == [1, 1]
    short = runs[(runs["arm"] != "vae") | (runs["cycle"] < 2)]
    assert penalty_matrix(short).loc["random", "vae"] == 1
    hole = runs[(runs["arm"] != "vae") | (runs["cycle"] < 2) | (runs["seed"] != "seed0")]
    assert penalty_matrix(hole).loc["random", "vae"] == 1
    apart = runs[(runs["arm"] == "vae") == runs["seed"].isin(["seed0", "seed1"])]
    assert np.isnan(penalty_matrix(apart).loc["random", "vae"])
    assert penalty_matrix(apart).loc["random", "scan"] == 1


def test_penalties_are_scipys_t_tests() -> None:
    runs = study_of(noisy({"vae": 0.01}, 0.01), ARMS, ["random"], 5)
    table = penalty_matrix(runs)
    at = runs.set_index(["arm", "cycle", "seed"])["test/acc"].sort_index()
    for i in ARMS:
        for j in set(ARMS) - {i}:
            wins = 0
            for cycle in range(3):
                test = stats.ttest_rel(at[i, cycle], at[j, cycle])
                wins += test.statistic > stats.t.ppf(0.975, 4)
            assert table.loc[i, j] == pytest.approx(wins / 3)


def test_penalties_of_queries_and_of_one_seed() -> None:
    """A query with dropout is held to none without: it is not unbeaten, it has not met them."""
    better = ("margin", "dbal")
    runs = study_of(lambda a, q, s: [0.5 + (q in better) * (0.1 + s % 3 * 1e-4)] * 3,
                    ["random", "vae"], ["random", *better], 3)  # fmt: skip
    table = penalty_matrix(runs, by="query")
    assert table.loc["margin", "random"] == 1
    assert table.loc["mean", ["random", "margin"]].tolist() == [1, 0]
    assert table["dbal"].isna().all()
    assert table.loc["dbal"].isna().all()
    one = penalty_matrix(pd.DataFrame(rows_of([0.1]) + rows_of([0.9], "vae")))
    assert np.nanmax(one.to_numpy()) == 0
