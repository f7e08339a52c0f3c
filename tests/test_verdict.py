"""Verdicts: tables against scipy row by row, designs with pretext models, and what is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from active.estimate import Estimate, one_way
from active.pairing import endpoints, pair_pools
from active.verdict import (
    compare_pools,
    compare_queries,
    compare_with_each,
    independent,
    verdicts,
)
from tests.study_rows import noisy, rows_of, study_of

ARMS = ["random", "vae", "scan", "kmeans"]
GAINS = {"vae": -0.05, "scan": 0.04}


def pick(table: pd.DataFrame, arm: str, endpoint: str = "aubc", query: str = "") -> pd.Series:
    rows = table[(table["arm"] == arm) & (table["endpoint"] == endpoint)]
    return (rows[rows["query"] == query] if query else rows).iloc[0]


def crossed(table: np.ndarray, artifact: str = "vae-{}") -> pd.DataFrame:
    """One row of accuracy a run: (S, K) differences of a vae pool to a random one; NaN: no run."""
    rows = []
    for seed, model in np.argwhere(~np.isnan(table)):
        k = str(model) if model else ""
        accuracy = 0.5 + table[seed, model]
        rows += rows_of(
            [accuracy], "vae", seed=seed, pretext=k, artifact=artifact.format(k, seed=seed)
        )
    for seed in range(len(table)):
        rows += rows_of([0.5], seed=seed)
    return pd.DataFrame(rows)


def test_ends_that_agree_by_accident_are_no_equivalence() -> None:
    """With two seeds and few test images it happens; where whole curves agree, they are one."""
    curves = {"random": [0.5, 0.6, 0.7], "vae": [0.5, 0.61, 0.7], "copy": [0.5, 0.6, 0.7]}

    def curve(arm: str, query: str, seed: int) -> np.ndarray:
        return np.array(curves[arm]) + np.array([0, 0.01 * seed * (arm == "vae"), 0])

    table = compare_pools(study_of(curve, curves, ["random"], 2))
    assert set(table.loc[table["arm"] == "copy", "verdict"]) == {"equivalent"}
    assert set(table.loc[table["arm"] == "vae", "verdict"]) == {"undecided"}
    assert table.loc[(table["arm"] == "vae") & (table["endpoint"] != "aubc"), "p"].isna().all()


def test_every_row_is_scipys_paired_t_test() -> None:
    runs = study_of(noisy(GAINS), ARMS, ["random", "entropy"], 5)
    table, ends = compare_pools(runs), endpoints(runs)
    assert len(table) == 3 * 2 * 2 + 3  # arms, queries, aubc and final; start once
    for _, row in table.iterrows():
        query = "entropy" if row["query"] == "any" else row["query"]
        end = ends[ends["query"] == query].pivot(
            index="seed", columns="arm", values=row["endpoint"]
        )
        if row["endpoint"] == "start":
            other = ends[ends["query"] == "random"].pivot(
                index="seed", columns="arm", values="start"
            )
            end = (end + other) / 2
        ours, theirs = end[row["arm"]], end["random"]
        made = stats.ttest_rel(ours, theirs)
        interval = made.confidence_interval(0.95)
        assert row["mean"] == pytest.approx((ours - theirs).mean())
        assert row["sd"] == pytest.approx((ours - theirs).std(ddof=1))
        assert row["standardized"] == pytest.approx(row["mean"] / row["sd"])
        assert row["p"] == pytest.approx(made.pvalue)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
        assert row["low"] < row["low90"] < row["high90"] < row["high"]
    texts = {"data", "learner", "query", "classifier", "arm", "endpoint", "scope", "verdict"}
    assert set(table) - set(table.select_dtypes("number")) == texts


def test_words() -> None:
    runs = study_of(noisy(GAINS | {"kmeans": 0.0}), ARMS, ["random", "entropy"], 6)
    table = compare_pools(runs)
    assert pick(table, "vae")["verdict"] == "worse"
    assert pick(table, "scan")["verdict"] == "better"
    assert pick(table, "kmeans")["verdict"] == "equivalent"
    assert pick(compare_pools(runs, margin=1e-4), "kmeans")["verdict"] == "undecided"


def test_small_but_clear_is_equivalent_whatever_the_p_value() -> None:
    row = pick(compare_pools(study_of(noisy({"vae": 0.004}, 5e-4), ARMS[:2], ["random"], 8)), "vae")
    assert row["p_holm"] < 1e-3
    assert row["verdict"] == "equivalent"


def test_holm_is_over_pools_and_queries_of_each_endpoint() -> None:
    runs = study_of(noisy(GAINS, 0.02), ARMS, ["random", "entropy"], 4)
    table = compare_pools(runs)
    for endpoint, count in (("aubc", 6), ("final", 6), ("start", 3)):
        rows = table[table["endpoint"] == endpoint].sort_values("p")
        assert len(rows) == count
        expected, highest = [], 0.0
        for rank, p in enumerate(rows["p"]):
            highest = max(highest, min(1, p * (count - rank)))
            expected.append(highest)
        assert rows["p_holm"].to_numpy() == pytest.approx(np.array(expected))
        se = (rows["high"] - rows["low"]).to_numpy() / 2 / stats.t.ppf(0.975, 3)
        found = Estimate(np.zeros(count), se, np.full(count, 3.0)).detectable(0.05 / count)
        assert rows["detectable"].to_numpy() == pytest.approx(found)


def test_one_seed_is_undecided_and_two_are_tested() -> None:
    one = pick(compare_pools(study_of(noisy(GAINS), ARMS, ["random"], 1)), "vae")
    assert (one["verdict"], one["seeds"]) == ("undecided", 1)
    assert np.isnan([one["sd"], one["p"], one["p_holm"], one["low"], one["detectable"]]).all()
    two = pick(compare_pools(study_of(noisy(GAINS), ARMS, ["random"], 2)), "vae")
    assert np.isfinite([two["p"], two["low"], two["detectable"]]).all()


def test_differences_without_variance() -> None:
    gain = {"vae": 0.25, "scan": 0.0}
    flat = study_of(lambda a, q, s: [0.5 + gain.get(a, 0)] * 3, ARMS[:3], ["random"], 3)
    table = compare_pools(flat)
    assert pick(table, "vae")["verdict"] == "undecided"
    assert pick(table, "scan")["verdict"] == "equivalent"
    assert not np.isinf(table.select_dtypes("number")).any().any()


def test_nan_accuracies_are_missing_pairs() -> None:
    runs = study_of(noisy(GAINS), ARMS, ["random"], 3)
    runs.loc[(runs["arm"] == "vae") & (runs["seed"] == "seed1"), "test/acc"] = np.nan
    row = pick(compare_pools(runs), "vae")
    assert (row["seeds"], row["missing"]) == (2, 1)


def test_unfinished_arms_count_as_missing() -> None:
    runs = study_of(noisy(GAINS), ARMS, ["random"], 4)
    late = (runs["arm"] == "vae") & (runs["seed"] == "seed3") & (runs["cycle"] == 2)
    table = compare_pools(runs[~late])
    assert pick(table, "vae")["missing"] == 1
    assert pick(table, "vae", "start")["missing"] == 0
    assert pick(table, "scan")["missing"] == 0


def test_another_learner_with_more_seeds_leaves_none_missing() -> None:
    few = study_of(noisy(GAINS), ARMS, ["random"], 2)
    many = study_of(noisy(GAINS), ARMS, ["random"], 5, learner="linear")
    assert (compare_pools(pd.concat([few, many]))["missing"] == 0).all()


def test_empty_tables_have_all_columns() -> None:
    alone = pd.DataFrame(rows_of([0.5, 0.6, 0.7]))
    assert compare_pools(alone).empty
    assert {"verdict", "p_holm", "scope"} <= set(compare_pools(alone))
    assert "confounded" in compare_queries(alone)


def test_bootstrap_from_20_pairs_on() -> None:
    for seeds, known in ((19, False), (20, True)):
        row = pick(compare_pools(study_of(noisy(GAINS), ARMS[:2], ["random"], seeds)), "vae")
        assert np.isfinite(row["boot_low"]) == known
        if known:
            assert row["boot_low"] == pytest.approx(row["low"], abs=0.001)


@pytest.mark.parametrize(
    ("pool", "learner", "models", "scope"),
    [
        (None, None, 1, "no artifact"),
        ("vae-0", None, 1, "this artifact"),
        ("vae-{seed}", None, 4, "4 artifacts"),
        (None, "simclr-0", 1, "this artifact"),
        (None, "simclr-{seed}", 1, "4 artifacts"),
        ("vae-0", "simclr-{seed}", 1, "this artifact"),
        ("vae-{seed}", "simclr-0", 4, "4 artifacts, one to learn from"),
        ("vae-{seed}", "simclr-{seed}", 4, "4 artifacts"),
    ],
)
def test_scope(pool: str | None, learner: str | None, models: int, scope: str) -> None:
    rows = study_of(noisy({}), ["random"], ["random"], 4).to_dict("records")
    for seed in range(4):
        names = [name and name.format(seed=seed) for name in (pool, learner)]
        rows += rows_of(
            noisy({})("vae", "random", seed), "vae", seed=seed, artifact=names[0],
            learner_artifact=names[1],
        )  # fmt: skip
    row = pick(compare_pools(pd.DataFrame(rows)), "vae")
    assert (row["models"], row["scope"], row["pairs"]) == (models, scope, 4)


def test_a_query_that_reads_one_model_speaks_of_it() -> None:
    runs = study_of(noisy({}), ["random"], ["random", "typiclust"], 3)
    runs["query_artifact"] = np.where(runs["query"] == "typiclust", "simclr-0", None)
    assert set(compare_queries(runs)["scope"]) == {"this artifact"}


def test_crossed_models_split_the_variance() -> None:
    rng = np.random.default_rng(0)
    models = np.array([[-0.06, -0.02, 0.02, 0.06]])
    table = models + rng.normal(0, 0.01, (6, 1)) + rng.normal(0, 0.01, (6, 4))
    row = pick(compare_pools(crossed(table)), "vae")
    assert (row["seeds"], row["models"], row["pairs"], row["missing"]) == (6, 4, 24, 0)
    assert row["scope"] == "4 artifacts"
    assert row["variance_pretext"] > 5 * row["variance_run"] > 0
    naive = one_way(table.mean(axis=1))
    assert row["high"] - row["low"] > 2 * np.diff(naive.interval(0.95)).item()


def test_an_unfinished_table_uses_its_largest_block() -> None:
    table = np.random.default_rng(0).normal(0, 0.01, (5, 3))
    table[4, 1:] = np.nan
    row = pick(compare_pools(crossed(table)), "vae")
    assert (row["pairs"], row["missing"]) == (12, 3)
    assert row["mean"] == pytest.approx(table[:4].mean())
    table[1:, 1:] = np.nan
    row = pick(compare_pools(crossed(table)), "vae")
    assert (row["pairs"], row["scope"], row["missing"]) == (5, "this artifact", 10)


def test_seeds_that_share_models_are_averaged_first() -> None:
    table = np.full((6, 3), np.nan)
    table[range(6), [0, 0, 1, 1, 2, 2]] = [0.01, 0.03, 0.05, 0.07, 0.02, 0.04]
    pairs = pair_pools(endpoints(crossed(table)))
    values, used = independent(pairs[pairs["endpoint"] == "aubc"])
    assert values == pytest.approx(np.array([0.02, 0.06, 0.03]))
    assert len(used) == 6
    row = pick(compare_pools(crossed(table)), "vae")
    assert row["p"] == pytest.approx(stats.ttest_1samp([0.02, 0.06, 0.03], 0).pvalue)
    assert np.isnan(row["variance_run"])  # seeds and models are not told apart


def test_one_seed_with_many_models_is_undecided() -> None:
    row = pick(compare_pools(crossed(np.array([[0.20, 0.21, 0.22]]))), "vae")
    assert row["mean"] == pytest.approx(0.21)
    assert (row["verdict"], row["seeds"], row["models"]) == ("undecided", 1, 3)


def test_one_artifact_under_two_names_is_one() -> None:
    runs = crossed(np.array([[0.1, 0.1], [0.2, np.nan]]), "vae")
    assert pick(compare_pools(runs), "vae")["pairs"] == 2


def test_queries_have_a_control_of_their_kind_or_none() -> None:
    plain = study_of(noisy({}), ARMS[:2], ["random", "entropy", "dbal", "ens_varr"], 3)
    dropout = study_of(noisy({}), ["random"], ["random"], 3, learner="resnet18-dropouton")
    table = compare_queries(pd.concat([plain, dropout]))
    fair = table[~table["confounded"]].set_index(["arm", "query", "endpoint"])["verdict"]
    assert fair["random", "dbal", "aubc"] == "equivalent"
    assert fair["vae", "dbal", "aubc"] == "no control"
    assert fair["random", "ens_varr", "final"] == "no control"
    assert fair["vae", "entropy", "final"] != "no control"
    assert len(fair) == 2 * 3 * 2
    alone = table[table["verdict"] == "no control"]
    assert (alone[["seeds", "pairs", "missing"]] == [0, 0, 3]).all(axis=None)
    assert alone["mean"].isna().all()
    papers = table[table["confounded"]]
    assert set(papers["query"]) == {"dbal", "ens_varr"}
    assert papers["p_holm"].notna().all()
    assert "random" not in set(table["query"])


@pytest.mark.parametrize("kept", ["cycle < 2", "seed == 'seed9'"])
def test_no_query_vanishes_where_its_control_has_no_end_or_no_common_seed(kept: str) -> None:
    plain = study_of(noisy({}), ["random"], ["random", "dbal"], 3)
    dropout = study_of(noisy({}), ["random"], ["random"], 10, learner="resnet18-dropouton")
    table = compare_queries(pd.concat([plain, dropout.query(kept)]))
    fair = table[~table["confounded"]].set_index("endpoint")
    assert fair["verdict"].to_dict() == {"aubc": "no control", "final": "no control"}
    assert fair["missing"].tolist() == [3, 3]


def test_one_pool_beside_each_other_equals_pairs_of_pools() -> None:
    runs = study_of(noisy({"vae": 0.02}), ARMS, ["random", "entropy"], 5)
    second = runs[runs["arm"] == "vae"].assign(pretext="1", init_artifact="vae-1")
    second["test/acc"] -= 0.05  # a second model of the VAE, crossed with the seeds
    both = pd.concat([runs.assign(init_artifact=np.where(runs["arm"] == "vae", "v", None)), second])
    table = compare_with_each(both, "vae")
    assert set(table["arm"]) == {"vae"}
    assert set(table["other"]) == set(ARMS) - {"vae"}
    assert set(table["models"]) == {2}
    for other, rows in table.groupby("other"):
        pair = both[both["arm"].isin(["vae", other])]
        expected = compare_pools(pair, control=str(other))
        for column in ("mean", "low", "high", "p"):
            assert rows[column].to_numpy() == pytest.approx(expected[column].to_numpy())
    for _, rows in table.groupby("endpoint"):
        assert rows["p_holm"].tolist() == pytest.approx(multipletests(rows["p"], 0.05, "holm")[1])


def test_verdict_of_arrays() -> None:
    rng = np.random.default_rng(0)
    made = one_way(rng.normal([[0.0], [0.05], [-0.05], [0.0]], [[0.001]] * 3 + [[0.1]], (4, 6)))
    assert verdicts(made, made.p, 0.01).tolist() == ["equivalent", "better", "worse", "undecided"]
