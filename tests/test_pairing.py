"""Endpoints and pairs against loops over runs and sums by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from active.pairing import endpoints, pair_pools, pair_queries
from tests.study_rows import BUDGETS, noisy, rows_of, study_of


def find(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def test_endpoints_of_a_curve_by_hand() -> None:
    ends = endpoints(pd.DataFrame(rows_of([0.2, 0.4, 0.8]))).iloc[0]
    assert ends["start"] == 0.2
    assert ends["final"] == 0.8
    assert ends["aubc"] == pytest.approx((10 * 0.3 + 20 * 0.6) / 30)


def test_area_equals_numpys_for_every_run() -> None:
    runs = study_of(noisy({"vae": -0.1}), ["random", "vae"], ["random", "entropy"], 4)
    ends = endpoints(runs.sample(frac=1, random_state=0))
    assert len(ends) == 16
    for _, end in ends.iterrows():
        run = find(runs, arm=end["arm"], query=end["query"], seed=end["seed"])
        area = np.trapezoid(run["test/acc"], run["pool/labeled"]) / 30
        assert end["aubc"] == pytest.approx(area, abs=1e-12)


def test_one_budget_only_is_the_accuracy_there() -> None:
    ends = endpoints(pd.DataFrame(rows_of([0.3])))
    assert ends[["aubc", "final", "start"]].to_numpy().tolist() == [[0.3, 0.3, 0.3]]


def test_any_metric_has_endpoints() -> None:
    rows = pd.DataFrame(rows_of([0.2, 0.4, 0.8], budgets=(0, 10, 20)))
    rows["test/nll"] = [3.0, 2.0, 1.0]
    ends = endpoints(rows, "test/nll").iloc[0]
    assert ends[["aubc", "final", "start"]].tolist() == [2, 1, 3]


@pytest.mark.parametrize("curve", [[0.2, 0.4], [0.2, np.nan, 0.8], [0.2, 0.4, np.nan]])
def test_an_unfinished_run_or_a_hole_has_a_start_only(curve: list[float]) -> None:
    runs = pd.DataFrame(rows_of([0.1, 0.2, 0.3]) + rows_of(curve, "vae"))
    end = find(endpoints(runs), arm="vae").iloc[0]
    assert end["start"] == 0.2
    assert end[["aubc", "final"]].isna().all()


def test_another_data_set_or_learner_may_have_another_range() -> None:
    runs = rows_of([0.1, 0.2, 0.3]) + rows_of([0.1, 0.2], data="digits")
    runs += rows_of([0.1, 0.2], learner="linear")
    assert endpoints(pd.DataFrame(runs))["aubc"].notna().all()


def test_a_dropout_run_is_held_to_the_range_of_its_learner() -> None:
    runs = rows_of([0.1, 0.2, 0.3]) + rows_of([0.1, 0.2], learner="resnet18-dropouton")
    assert endpoints(pd.DataFrame(runs))["aubc"].isna().tolist() == [False, True]


def test_pools_are_paired_by_query_and_seed() -> None:
    runs = study_of(noisy({"vae": -0.1}), ["random", "vae", "scan"], ["random", "entropy"], 3)
    ends = endpoints(runs)
    pairs = pair_pools(ends)
    later = pairs[pairs["endpoint"] != "start"]
    assert len(later) == 2 * 2 * 2 * 3  # endpoints, arms, queries, seeds
    for _, pair in later.iterrows():
        same = find(ends, query=pair["query"], seed=pair["seed"])
        ours, theirs = (find(same, arm=a)[pair["endpoint"]].item() for a in (pair["arm"], "random"))
        assert pair["difference"] == ours - theirs


def test_start_is_one_pair_for_each_kind_of_classifier() -> None:
    queries = ["random", "entropy", "dbal", "bald", "ens_varr"]
    runs = study_of(lambda arm, query, seed: [0.5 + (arm == "vae") / 10] * 3,
                    ["random", "vae"], queries, 2)  # fmt: skip
    passive = study_of(lambda arm, query, seed: [0.5 + (arm == "vae") / 10] * 3,
                       ["random", "vae"], ["random"], 2, learner="resnet18-dropouton")  # fmt: skip
    pairs = pair_pools(endpoints(pd.concat([runs, passive])))
    start = find(pairs, endpoint="start")
    assert set(start["query"]) == {"any"}
    assert set(start["learner"]) == {"resnet18"}
    assert start.groupby("classifier")["seed"].apply(list).to_dict() == {
        kind: ["seed0", "seed1"] for kind in ("committee", "dropout", "plain")
    }
    assert start["difference"].to_numpy() == pytest.approx(0.1)


def test_a_start_needs_one_query_that_both_have() -> None:
    runs = rows_of([0.5], "random", "entropy") + rows_of([0.5], "random", "margin")
    runs += rows_of([0.7], "vae", "margin") + rows_of([0.9], "vae", "coreset")
    pairs = find(pair_pools(endpoints(pd.DataFrame(runs))), endpoint="start")
    assert pairs["difference"].to_numpy() == pytest.approx([0.2])


def test_control_of_the_same_pretext_seed_first() -> None:
    runs = rows_of([0.5] * 3) + rows_of([0.6] * 3, pretext="1")
    for k in ("", "1", "2"):
        runs += rows_of([0.8] * 3, "vae", pretext=k, artifact=f"vae-{k}")
    pairs = find(pair_pools(endpoints(pd.DataFrame(runs))), endpoint="final")
    assert pairs.set_index("model")["difference"].round(9).to_dict() == {
        "vae-": 0.3, "vae-1": 0.2, "vae-2": 0.3,
    }  # fmt: skip


def test_unpaired_seeds_leave_no_pair() -> None:
    runs = rows_of([0.5] * 3, seed=0) + rows_of([0.5] * 3, seed=1) + rows_of([0.5] * 2, seed=2)
    runs += rows_of([0.6] * 3, "vae", seed=1) + rows_of([0.6] * 3, "vae", seed=2)
    pairs = pair_pools(endpoints(pd.DataFrame(runs)))
    assert find(pairs, endpoint="aubc")["seed"].tolist() == ["seed1"]
    assert find(pairs, endpoint="start")["seed"].tolist() == ["seed1", "seed2"]


def test_a_query_is_paired_with_passive_learning_of_its_kind() -> None:
    runs = rows_of([0.5, 0.5, 0.50]) + rows_of([0.5, 0.5, 0.56], query="entropy")
    runs += rows_of([0.4, 0.4, 0.60], query="dbal") + rows_of([0.6, 0.6, 0.70], query="ens_varr")
    runs += rows_of([0.4, 0.4, 0.58], learner="resnet18-dropouton")
    ends = endpoints(pd.DataFrame(runs))
    fair = find(pair_queries(ends), endpoint="final").set_index("query")["difference"]
    assert fair.round(9).to_dict() == {"entropy": 0.06, "dbal": 0.02}
    papers = find(pair_queries(ends, confounded=True), endpoint="final")
    assert papers.set_index("query")["difference"].round(9).to_dict() == {
        "dbal": 0.10, "ens_varr": 0.20,
    }  # fmt: skip
    assert set(pair_queries(ends)["endpoint"]) == {"aubc", "final"}


def test_a_query_is_paired_within_its_pool_pretext_seed_and_seed() -> None:
    runs = []
    for k, seed in (("", 0), ("1", 0), ("", 1)):
        base = 0.5 + 0.1 * (k == "1") + 0.01 * seed
        runs += rows_of([base] * 3, "vae", seed=seed, pretext=k, artifact=f"v{k}")
        runs += rows_of([base + 0.02] * 3, "vae", "margin", seed, pretext=k, artifact=f"v{k}")
    pairs = find(pair_queries(endpoints(pd.DataFrame(runs))), endpoint="aubc")
    assert len(pairs) == 3
    assert pairs["difference"].to_numpy() == pytest.approx(0.02)


def test_no_control_at_all_and_no_other_pool() -> None:
    alone = endpoints(pd.DataFrame(rows_of([0.5] * 3, query="entropy")))
    assert pair_pools(alone).empty
    assert pair_queries(alone).empty
    assert pair_queries(alone, confounded=True).empty


def test_ten_thousand_curves_in_seconds() -> None:
    size = 10_000
    runs = pd.concat([pd.DataFrame(rows_of([0.1, 0.2, 0.3]))] * size, ignore_index=True)
    runs["seed"] = np.repeat(np.arange(size) // 50, len(BUDGETS)).astype(str)
    runs["query"] = np.repeat(np.arange(size) % 50 // 10, len(BUDGETS)).astype(str)
    runs["arm"] = np.repeat(np.arange(size) % 10, len(BUDGETS)).astype(str)
    pairs = pair_pools(endpoints(runs), control="0")
    assert len(pairs) == 9 * 200 * (5 * 2 + 1)
