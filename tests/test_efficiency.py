"""Label efficiency and break-even against hand-drawn curves and a walk along them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from active.efficiency import (
    _row,
    break_even,
    first_reached,
    label_efficiency,
    reached_interval,
)
from tests.study_rows import noisy, rows_of, study_of

BUDGETS = np.array([10.0, 20.0, 40.0, 80.0])


def walked(curve: np.ndarray, target: float) -> float:
    """Along the curve in tiny steps: the first budget at which the highest so far is enough."""
    fine = np.linspace(10, 80, 700_001)
    values = np.interp(fine, BUDGETS, curve)
    there = np.flatnonzero(values >= target)
    return fine[there[0]] if len(there) else np.inf


def test_first_reached_is_what_a_walk_finds() -> None:
    curves = np.random.default_rng(0).uniform(0, 1, (60, 4))
    targets = np.random.default_rng(1).uniform(0.2, 1, 60)
    reached = first_reached(BUDGETS, curves, targets)
    for curve, target, found in zip(curves, targets, reached, strict=True):
        # the running maximum rises from its last peak, so that it may be there a little earlier
        highest = np.maximum.accumulate(curve)
        assert found == pytest.approx(walked(highest, target), abs=2e-4)
    assert np.isinf(reached).any()
    assert (reached == 10).any()


@pytest.mark.parametrize(
    ("curve", "reached"),
    [
        ([0.2, 0.4, 0.6, 0.8], 30),
        ([0.5, 0.1, 0.1, 0.1], 10),
        ([0.7, 0.1, 0.1, 0.1], 10),
        ([0.1, 0.5, 0.2, 0.3], 20),
        ([0.3, 0.2, 0.1, 0.7], 60),  # from the peak of .3 at 40, not from .1
        ([0.1, 0.2, 0.3, 0.49], np.inf),
    ],
)
def test_first_reached_by_hand(curve: list[float], reached: float) -> None:
    assert first_reached(BUDGETS, np.array(curve), 0.5) == pytest.approx(reached)


@pytest.mark.parametrize(
    ("differences", "cycle"),
    [([0, 1, 2], 0), ([-1, 1, 2], 1), ([1, -1, 2], 2), ([1, 1, -1], None), ([np.nan, 1], 1)],
)
def test_break_even(differences: list[float], cycle: int | None) -> None:
    assert break_even(np.array(differences)) == cycle


def test_a_table_by_hand() -> None:
    runs = []
    for seed, shift in enumerate((-0.1, 0.1)):  # the seeds' means are the curves below
        for arm, curve in {
            "random": [0.2, 0.4, 0.6], "vae": [0.1, 0.3, 0.55], "scan": [0.3, 0.6, 0.7],
            "kmeans": [0.6, 0.5, 0.5],
        }.items():  # fmt: skip
            runs += rows_of(np.array(curve) + shift, arm, seed=seed)
    table = label_efficiency(pd.DataFrame(runs)).set_index("arm")
    assert table["text"].to_dict() == {"vae": "> 40", "scan": "20", "kmeans": "<= 10"}
    assert table["target"].to_numpy() == pytest.approx(0.6)
    assert table.loc["scan", ["low", "high"]].tolist() == [20, 20]  # shifts cancel in pairs
    assert np.isinf(table.loc["vae", "low"])
    assert table["break_even_cycle"].fillna(-1).to_dict() == {"vae": -1, "scan": 0, "kmeans": -1}
    assert table.loc["scan", "break_even_labeled"] == 10


def test_under_the_same_query_and_learner_only() -> None:
    runs = rows_of([0.2, 0.4, 0.6]) + rows_of([0.2, 0.4, 0.6], "vae", "entropy")
    runs += rows_of([0.2, 0.4, 0.6], "vae", learner="linear")
    assert label_efficiency(pd.DataFrame(runs)).empty


def test_unfinished_seeds_and_lone_seeds_are_left_out() -> None:
    runs = rows_of([0.2, 0.4, 0.6]) + rows_of([0.3, 0.5, 0.7], seed=1) + rows_of([0.0], seed=2)
    runs += rows_of([0.4, 0.6, 0.8], "vae") + rows_of([0.0, 0.1], "vae", seed=1)
    row = label_efficiency(pd.DataFrame(runs)).iloc[0]
    assert (row["seeds"], row["target"], row["labeled"]) == (1, 0.6, 20)
    assert np.isnan(row["low"])


def test_pretext_models_of_a_seed_are_averaged() -> None:
    runs = []
    for seed in range(3):
        runs += rows_of([0.2, 0.4, 0.6], seed=seed)
        runs += rows_of([0.2, 0.5, 0.7], "vae", seed=seed)
        runs += rows_of([0.2, 0.7, 0.9], "vae", seed=seed, pretext="1")
    row = label_efficiency(pd.DataFrame(runs)).iloc[0]
    assert row["seeds"] == 3
    assert row["labeled"] == pytest.approx(20)


def test_the_interval_holds_the_budgets_that_a_t_test_does_not_exclude() -> None:
    runs = study_of(noisy({"vae": 0.03}, 0.01), ["random", "vae"], ["random"], 6)
    row = label_efficiency(runs).iloc[0]
    table = runs.pivot(index=["arm", "seed"], columns="pool/labeled", values="test/acc")
    ours, last = table.loc["vae"].to_numpy(), table.loc["random"].to_numpy()[:, -1]
    ends = [stats.ttest_1samp(at - last, 0).confidence_interval(0.95) for at in ours.T]
    for end, limits in (("low", [e.high for e in ends]), ("high", [e.low for e in ends])):
        assert row[end] == pytest.approx(np.interp(0, limits, [10, 20, 40]))  # they rise
    assert 10 < row["low"] < row["labeled"] < row["high"] < 40


def test_the_interval_covers_the_truth_with_few_seeds() -> None:
    """Curves that rise by .1 a cycle with noise; the truth is two thirds of the last step."""
    rng, budgets, covered = np.random.default_rng(0), np.array([10, 20, 40]), 0
    means = {"random": [0.2, 0.3, 0.4], "vae": [0.2, 0.3, 0.45]}
    truth = 20 + 20 * (0.4 - 0.3) / 0.15
    for _ in range(400):
        ours, theirs = (rng.normal(means[arm], 0.01, (4, 3)) for arm in ("vae", "random"))
        low, high = reached_interval(budgets, ours, theirs)
        covered += low <= truth <= high
    assert covered / 400 > 0.93


def test_the_random_pool_is_beside_its_own_running_maximum() -> None:
    runs = rows_of([0.2, 0.6, 0.5]) + rows_of([0.2, 0.6, 0.5], "vae")
    row = label_efficiency(pd.DataFrame(runs)).iloc[0]
    assert row["labeled"] == row["control"] == pytest.approx(17.5)


def test_the_control_reaches_its_own_end() -> None:
    """Its mean over seeds may differ by a rounding error from the mean of its last values."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        curves = np.sort(rng.random((10, 6)).round(4), axis=1)
        row = _row(np.arange(6.0), curves, curves)
        assert row["control"] == row["labeled"] <= 5
