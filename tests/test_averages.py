"""Curves and paired differences against loops and scipy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from active.averages import curve_table, difference_table
from active.columns import ordered
from tests.study_rows import noisy, rows_of, study_of

RUNS = study_of(noisy({"vae": -0.1}, sd=0.02), ["random", "vae"], ["random", "entropy"], 4)


def accuracies(arm: str, query: str, labeled: int) -> np.ndarray:
    chosen = (RUNS["arm"] == arm) & (RUNS["query"] == query) & (RUNS["pool/labeled"] == labeled)
    return RUNS[chosen].sort_values("seed")["test/acc"].to_numpy()


def test_curves_equal_scipys_intervals() -> None:
    table = curve_table(RUNS)
    assert len(table) == 2 * 2 * 3
    for row in table.itertuples():
        values = accuracies(row.arm, row.query, row.labeled)
        low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        expected = (values.mean(), values.std(ddof=1), low, high, 4)
        assert (row.mean, row.sd, row.low, row.high, row.seeds) == pytest.approx(expected)


def test_differences_equal_scipys_paired_intervals() -> None:
    table = difference_table(RUNS)
    assert set(table["arm"]) == {"vae"}
    for row in table.itertuples():
        ours = accuracies("vae", row.query, row.labeled)
        theirs = accuracies("random", row.query, row.labeled)
        low, high = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert (row.low, row.high) == pytest.approx((low, high))
        assert row.mean == pytest.approx((ours - theirs).mean())


def test_seeds_are_counted_not_pretext_models() -> None:
    rows = rows_of([0.5], seed=0) + rows_of([0.6], seed=1)
    for pretext, gain in (("1", 0.1), ("2", 0.3)):
        rows += rows_of([0.5 + gain], "vae", seed=0, pretext=pretext)
        rows += rows_of([0.6 + gain], "vae", seed=1, pretext=pretext)
    runs = pd.DataFrame(rows)
    row = difference_table(runs).iloc[0]
    assert row["seeds"] == 2
    assert row["mean"] == pytest.approx(0.2)
    assert curve_table(runs).set_index("arm").loc["vae", "mean"] == pytest.approx(0.75)


def test_a_pretext_model_that_is_behind_moves_no_curve() -> None:
    rows = []
    for seed in range(3):
        rows += rows_of([0.2, 0.4, 0.6], seed=seed)
        rows += rows_of([0.3, 0.5, 0.7], "vae", seed=seed)
        rows += rows_of([0.1, 0.2], "vae", seed=seed, pretext="1")
    vae = curve_table(pd.DataFrame(rows)).query("arm == 'vae'")
    assert vae["mean"].tolist() == pytest.approx([0.3, 0.5, 0.7])
    assert vae["seeds"].tolist() == [3, 3, 3]
    assert difference_table(pd.DataFrame(rows))["mean"].tolist() == pytest.approx([0.1] * 3)


def test_one_seed_has_no_interval_and_unpaired_seeds_are_left_out() -> None:
    rows = rows_of([0.5], seed=0) + rows_of([0.7], "vae", seed=0) + rows_of([0.1], "vae", seed=1)
    runs = pd.DataFrame(rows)
    row = difference_table(runs).iloc[0]
    assert (row["mean"], row["seeds"]) == (pytest.approx(0.2), 1)
    assert math.isnan(row["low"])
    assert math.isnan(row["sd"])


def test_validation_labels_are_counted() -> None:
    runs = pd.DataFrame(rows_of([0.5, 0.6], **{"pool/validation_labels": 100}))
    assert curve_table(runs)["counted"].tolist() == [110, 120]


def test_the_control_comes_first() -> None:
    assert ordered(["vae", "random", "kmeans", "vae"]) == ["random", "kmeans", "vae"]
