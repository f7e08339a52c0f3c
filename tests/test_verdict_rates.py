"""Two thousand simulated studies: how often the verdicts are wrong, and find what is there.

A study has 4 pools x 4 queries x 5 seeds. Every run has noise of its own; the pools under a query
share the random pool's runs, so that their differences depend on each other.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from active.estimate import Estimate, holm, one_way, two_way
from active.verdict import compare_pools, verdicts
from tests.study_rows import rows_of

STUDIES, POOLS, QUERIES, SEEDS = 2000, 4, 4, 5
MARGIN, SD = 0.01, 0.03
CLEAR = ("better", "worse")
pytestmark = pytest.mark.slow


def differences(
    truth: np.ndarray | float, sd: float, seeds: int = SEEDS, models: int = 0, rng_seed: int = 0,
    noise: str = "normal", spread: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """(studies, pools, queries, seeds[, models]): truth + model + pool's runs - random's runs."""
    rng = np.random.default_rng(rng_seed)
    draws = {
        "normal": rng.standard_normal,
        "skewed": lambda shape: rng.standard_exponential(shape) - 1,
        "heavy": lambda shape: rng.standard_t(5, shape) / (5 / 3) ** 0.5,
    }[noise]
    shape = (STUDIES, POOLS, QUERIES, seeds, max(models, 1))
    ours = draws(shape)
    theirs = draws((STUDIES, 1, QUERIES, seeds, 1))
    model = spread * rng.standard_normal((STUDIES, POOLS, 1, 1, max(models, 1)))
    made = np.asarray(truth)[..., None, None] + sd * (ours - theirs + model)
    return made if models else made[..., 0]


def words_of(made: Estimate) -> np.ndarray:
    """(studies, pools, queries) verdicts, Holm over the pools and queries of each study."""
    adjusted = holm(made.p.reshape(STUDIES, -1)).reshape(made.p.shape)
    return verdicts(made, adjusted, MARGIN)


def familywise(words: np.ndarray) -> float:
    return float(np.isin(words, CLEAR).reshape(STUDIES, -1).any(axis=1).mean())


def covered(made: Estimate, truth: float, confidence: float) -> float:
    low, high = made.interval(confidence)
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("noise", ["normal", "skewed", "heavy"])
def test_false_verdicts_are_rare_where_nothing_differs(noise: str) -> None:
    rate = familywise(words_of(one_way(differences(0.0, SD, noise=noise))))
    print(f"nothing differs, {noise} noise: a false better/worse in {rate:.2%} of studies")
    assert rate < 0.06


def test_false_verdicts_are_rare_beside_a_true_difference() -> None:
    truth = np.zeros((POOLS, QUERIES))
    truth[0] = 0.3
    words = words_of(one_way(differences(truth, SD)))
    rate, power = familywise(words[:, 1:]), np.isin(words[:, 0], "better").mean()
    print(f"one pool far better: found in {power:.2%}, false among the others {rate:.2%}")
    assert rate < 0.06
    assert power > 0.95


@pytest.mark.parametrize("seeds", [5, 20])
@pytest.mark.parametrize("models", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 3.0])
def test_false_verdicts_are_rare_with_crossed_pretext_models(
    seeds: int, models: int, spread: float
) -> None:
    values = differences(0.0, SD, seeds, models, spread=spread)
    made, *_ = two_way(values)
    rate, naive = familywise(words_of(made)), familywise(words_of(one_way(values.mean(axis=-1))))
    print(
        f"{seeds} seeds x {models} models, their sd {spread} of a run's: false in {rate:.2%} "
        f"of studies (t test over seeds alone {naive:.2%}); "
        f"95 % interval covers {covered(made, 0.0, 0.95):.2%}, 90 % {covered(made, 0.0, 0.9):.2%}"
    )
    assert rate < 0.06
    assert covered(made, 0.0, 0.95) > 0.935
    assert covered(made, 0.0, 0.9) > 0.885


def test_a_true_difference_is_found_with_enough_seeds() -> None:
    found = {}
    for seeds in (3, 5, 10, 20):
        words = words_of(one_way(differences(0.02, 0.01, seeds)))
        assert not (words == "worse").mean() > 0.001
        found[seeds] = (words == "better").mean()
    print(f"a difference of 2 points, runs' sd 1 point, found by seeds: {found}")
    assert found[20] > 0.99
    assert found[3] < found[5] < found[10] < found[20]


def test_equivalent_is_right_where_it_is_said() -> None:
    for noise in ("normal", "heavy"):
        for sd in (0.002, 0.005, 0.01):
            words = words_of(one_way(differences(MARGIN, sd, noise=noise)))
            false = (words == "equivalent").mean()
            print(f"true difference at the margin, {noise}, sd {sd}: called equivalent {false:.2%}")
            assert false < 0.055
    said = (words_of(one_way(differences(0.0, 0.003))) == "equivalent").mean()
    print(f"no difference, sd 0.003: called equivalent {said:.2%}")
    assert said > 0.95


def test_intervals_cover_the_truth() -> None:
    for noise, least in (("normal", 0.945), ("skewed", 0.93), ("heavy", 0.945)):
        for seeds in (2, 3, 5, 10):
            made = one_way(differences(0.02, SD, seeds, noise=noise))
            at95, at90 = covered(made, 0.02, 0.95), covered(made, 0.02, 0.9)
            print(f"{noise} noise, {seeds} seeds: 95 % covers {at95:.2%}, 90 % {at90:.2%}")
            assert at95 > least
            assert at90 > least - 0.05


def test_the_table_says_what_the_arrays_say() -> None:
    values = differences(np.linspace(-0.1, 0.1, POOLS * QUERIES).reshape(POOLS, QUERIES), 0.02)
    expected = words_of(one_way(values))
    for study in range(5):
        rows = []
        for query in range(QUERIES):
            for seed in range(SEEDS):
                rows += rows_of([0.5], query=f"q{query}", seed=seed)
                for pool in range(POOLS):
                    accuracy = 0.5 + values[study, pool, query, seed]
                    rows += rows_of([accuracy], f"p{pool}", f"q{query}", seed)
        table = compare_pools(pd.DataFrame(rows), MARGIN)
        words = table[table["endpoint"] == "aubc"].sort_values(["arm", "query"])["verdict"]
        assert words.tolist() == expected[study].ravel().tolist()
