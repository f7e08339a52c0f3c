"""The arithmetic of verdicts against scipy, statsmodels, loops and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from active.estimate import Estimate, bootstrap, holm, one_way, two_way


def pairs(n: int, seed: int = 0, mean: float = 0.01, sd: float = 0.02) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sd, n)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_t_test_and_interval_are_scipys(n: int) -> None:
    ours, theirs = one_way(pairs(n)), stats.ttest_1samp(pairs(n), 0)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    for confidence in (0.9, 0.95):
        expected = theirs.confidence_interval(confidence)
        assert ours.interval(confidence) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("mean", [-0.02, 0.0, 0.004, 0.02])
def test_tost_is_statsmodels_and_agrees_with_the_90_percent_interval(mean: float) -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    for seed in range(20):
        values = pairs(6, seed, mean, 0.008)
        made = one_way(values)
        theirs = weightstats.ttost_paired(values, np.zeros(6), -0.01, 0.01)[0]
        assert made.p_tost(0.01) == pytest.approx(theirs, rel=1e-9)
        low, high = made.interval(0.9)
        assert (made.p_tost(0.01) < 0.05) == (low > -0.01 and high < 0.01)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_detectable_difference_is_statsmodels(n: int) -> None:
    power = pytest.importorskip("statsmodels.stats.power")
    values = pairs(n)
    effect = power.TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert one_way(values).detectable() == pytest.approx(effect * values.std(ddof=1), rel=1e-4)


def test_a_detectable_difference_is_found_in_80_of_100_studies() -> None:
    wanted = float(Estimate(np.zeros(()), np.asarray(1 / 5**0.5), np.asarray(4.0)).detectable())
    found = one_way(np.random.default_rng(0).normal(wanted, 1, (40_000, 5))).p < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_holm_is_statsmodels_and_skips_what_was_not_tested() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).uniform(0, 0.1, (50, 16))
    p[:, 3] = p[:, 5]  # ties
    expected = [multitest.multipletests(row, method="holm")[1] for row in p]
    assert holm(p) == pytest.approx(np.array(expected))
    gaps = np.insert(p, [0, 7], np.nan, axis=1)
    assert np.isnan(holm(gaps)[:, [0, 8]]).all()
    assert np.delete(holm(gaps), [0, 8], axis=1) == pytest.approx(np.array(expected))
    assert np.isnan(holm(np.full(3, np.nan))).all()
    assert holm(np.empty(0)).size == 0


def test_bootstrap_is_close_to_t_for_many_normal_pairs_and_repeats() -> None:
    values = pairs(200)
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values) == pytest.approx(one_way(values).interval(0.95), abs=3e-4)


def test_one_pair_says_nothing_of_the_noise() -> None:
    made = one_way(np.array([0.5]))
    assert made.mean == 0.5
    for value in (made.p, made.p_tost(0.01), *made.interval(0.95), made.detectable()):
        assert np.isnan(value)


def test_differences_all_alike_are_no_certainty_unless_zero() -> None:
    alike = one_way(np.array([0.31, 0.32]) - np.array([0.30, 0.31]))  # equal up to rounding
    assert np.isnan([alike.p, alike.p_tost(0.01), *alike.interval(0.9), alike.detectable()]).all()
    same = one_way(np.zeros(2))
    assert (same.p, same.p_tost(0.01), same.interval(0.9), same.detectable()) == (1, 0, (0, 0), 0)
    same, *_ = two_way(np.zeros((3, 2)))
    assert (same.p, same.interval(0.95)) == (1, (0, 0))


def test_nan_stays_nan_without_a_warning() -> None:
    made = one_way(np.array([[0.1, np.nan, 0.2], [0.1, 0.3, 0.2]]))
    assert np.isnan(made.p).tolist() == [True, False]


def test_two_way_mean_squares_are_those_of_a_regression() -> None:
    formula = pytest.importorskip("statsmodels.formula.api")
    anova = pytest.importorskip("statsmodels.stats.anova")
    import pandas as pd

    table = np.random.default_rng(1).normal(0, 1, (5, 3)) + 2 * np.arange(3)
    long = pd.DataFrame({"d": table.ravel(), "s": np.repeat(range(5), 3), "k": [0, 1, 2] * 5})
    fit = anova.anova_lm(formula.ols("d ~ C(s) + C(k)", long).fit())
    b, a, e = fit["mean_sq"]
    made, pretext, run = two_way(table)
    assert made.mean == pytest.approx(table.mean())
    assert pretext == pytest.approx((a - e) / 5)
    assert run == pytest.approx(max(0, (b - e) / 3) + e)
    assert made.se**2 == pytest.approx(max(a, b, e, a + b - e) / 15)


def test_two_way_without_models_effect_or_rest_is_the_t_test_over_seeds() -> None:
    seeds = pairs(6)
    made, pretext, run = two_way(np.repeat(seeds[:, None], 4, axis=1))
    assert made.se == pytest.approx(one_way(seeds).se)
    assert pretext == 0
    assert run == pytest.approx(seeds.var(ddof=1))
    assert 3 <= made.df <= 5  # never as many as if the other models had not been needed


def test_two_way_components_are_unbiased_where_not_truncated() -> None:
    rng = np.random.default_rng(0)
    shape = (20_000, 6, 4)
    table = rng.normal(0, 3, (shape[0], 1, 4)) + rng.normal(0, 2, (shape[0], 6, 1))
    _, pretext, run = two_way(table + rng.normal(0, 0.5, shape))
    assert pretext.mean() == pytest.approx(9, rel=0.02)
    assert run.mean() == pytest.approx(4.25, rel=0.02)
