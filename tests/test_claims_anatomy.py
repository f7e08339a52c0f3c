"""Claims about pools, R-7 to R-9, and about cost, R-12, each answer made to appear."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from active.claims import Study, anatomy, cost
from active.claims.anatomy import fewer_p
from active.classes import common_p
from tests.claim_tables import ALL, QUERIES, answer, study


def pools_of(
    pools: dict[str, list[np.ndarray]], data: str, counts: np.ndarray | None = None
) -> pd.DataFrame:
    """Of each arm, one for each seed."""
    rows = [
        {
            "data": data, "query": query, "learner": "resnet18", "seed": f"seed{seed}", "cycle": 0,
            "arm": arm, "pretext": "", "indices": indices,
            "class_counts": None if counts is None else counts.tolist(),
        }
        for arm, of_seeds in pools.items() for seed, indices in enumerate(of_seeds)
        for query in QUERIES
    ]  # fmt: skip
    return pd.DataFrame(rows)


def entropies(vae: float, sd: float, seeds: int = 6) -> pd.DataFrame:
    runs = study({}, "cifar100", seeds=seeds)
    rng = np.random.default_rng(0)
    by_run = {key: rng.normal(0, sd) for key in zip(runs["arm"], runs["seed"], strict=True)}
    noise = [by_run[key] for key in zip(runs["arm"], runs["seed"], strict=True)]
    runs["pool/entropy"] = 4.6 + np.where(runs["arm"] == "vae", vae, 0) + noise
    return runs


@pytest.mark.parametrize(
    ("vae", "sd", "expected"),
    [
        (-0.5, 0.01, "confirmed"), (0.5, 0.01, "contradicted"), (0.0, 0.01, "contradicted"),
        (-0.5, 1.0, "undecided"),
    ],
)  # fmt: skip
def test_r7(vae: float, sd: float, expected: str) -> None:
    assert answer("r7", entropies(vae, sd)) == expected


def test_r7_not_run() -> None:
    assert answer("r7", study({}, "cifar100", arms=["random", "vae"])) == "not run"
    assert answer("r7", study({}, "cifar10")) == "not run"


@pytest.mark.parametrize(
    ("common", "expected"),
    [(10, "confirmed"), (4, "confirmed"), (2, "undecided"), (3, "undecided"), (0, "contradicted")],
)
def test_r8(common: int, expected: str) -> None:
    counts = np.where(np.arange(100) < 10, 200, 30)  # the first ten classes are over-sampled
    accuracies = np.full(100, 0.6)
    accuracies[10 - common : 20 - common] = 0.1
    runs = study({}, "cifar100", **{"test/acc_per_class": accuracies.tolist()})
    pools = pools_of({"vae": [np.arange(5)]}, "cifar100", counts=counts)
    assert answer("r8", runs, pools=pools) == expected
    assert f"{common} of 10 classes" in anatomy.r8(Study(runs, pools)).why


def test_r8_not_run() -> None:
    runs = study({}, "cifar100", **{"test/acc_per_class": [0.5] * 100})
    assert answer("r8", runs) == "not run"
    assert answer("r8", runs, pools=pools_of({"vae": [np.arange(5)]}, "cifar100")) == "not run"
    assert answer("r8", study({}), pools=pools_of({"vae": [np.arange(5)]}, "mnist")) == "not run"


def test_chance_of_classes_in_common_is_what_draws_give() -> None:
    assert common_p(4, 100, 10) == pytest.approx(0.008, abs=5e-4)
    rng = np.random.default_rng(0)
    draws = np.array([(rng.permutation(100)[:10] < 10).sum() for _ in range(20_000)])
    assert common_p(2, 100, 10) == pytest.approx((draws >= 2).mean(), abs=0.01)
    weights = stats.hypergeom.pmf(np.arange(11), 100, 10, 10)
    odds = np.geomspace(1, 100, 20_001)[:, None]
    tilted = weights * odds ** np.arange(11)
    tilted /= tilted.sum(axis=1, keepdims=True)
    nearest = np.abs((tilted * np.arange(11)).sum(axis=1) - 4).argmin()
    assert fewer_p(4, 100) == pytest.approx(tilted[nearest, :5].sum(), abs=1e-3)


def drawn_pools(
    near: float = 0, size: int = 5000, total: int = 50_000, seed: int = 0
) -> dict[str, list[np.ndarray]]:
    """Independent pools of three seeds, each from what the seed's own validation set leaves.

    Of the VAE's pools, the share `near` is a part of every SimCLR pool instead.
    """
    rng = np.random.default_rng(seed)
    pools: dict[str, list[np.ndarray]] = {arm: [] for arm in ALL}
    shared = rng.permutation(total)[:size]
    for _ in range(3):
        candidates = rng.permutation(total)[total // 10 :]
        for arm in ALL:
            kept = shared[: int(near * size)] if arm in ("vae", "simclr") else shared[:0]
            others = rng.permutation(np.setdiff1d(candidates, shared if near else kept))
            pools[arm].append(np.concatenate([kept, others[: size - len(kept)]]))
    return pools


HELD = {"pool/validation_labels": 5000}


def test_r9() -> None:
    runs = study({}, "cifar10", **HELD)
    given = [answer("r9", runs, pools=pools_of(drawn_pools(seed=s), "cifar10")) for s in range(20)]
    assert given.count("confirmed") >= 19
    near = pools_of(drawn_pools(0.5), "cifar10")
    assert answer("r9", runs, pools=near) == "contradicted"
    why = anatomy.r9(Study(runs, near)).why
    assert "simclr and vae, share 5" in why
    assert "where chance gives 10.0%" in why
    assert answer("r9", runs) == "not run"
    alone = near[near["seed"] == near["seed"].iloc[0]]
    assert "with two seeds" in anatomy.r9(Study(runs, alone)).why
    few = {arm: drawn_pools()[arm] for arm in ALL[:3]}
    assert answer("r9", runs, pools=pools_of(few, "cifar10")) == "not run"
    assert answer("r9", study({}), pools=pools_of(drawn_pools(), "cifar10")) == "not run"


def test_r9_does_not_hold_pools_of_one_seed_to_each_other() -> None:
    """They share its random order, here all of it."""
    runs, pools = study({}, "cifar10", **HELD), pools_of(drawn_pools(), "cifar10")
    orders = {seed: np.random.default_rng(i).permutation(50_000)[:5000]
              for i, seed in enumerate(pools["seed"].unique())}  # fmt: skip
    paired = pools["arm"].isin(["random", "scan", "kmeans"])
    drawn = pools["seed"].map(orders).where(paired, pools["indices"])
    assert answer("r9", runs, pools=pools.assign(indices=drawn)) == "confirmed"


def test_r9_is_undecided_where_pools_are_too_small() -> None:
    runs = study({}, "cifar10", total=5000, **{"pool/validation_labels": 500})
    assert answer("r9", runs, pools=pools_of(drawn_pools(0, 500, 5000), "cifar10")) == "undecided"


def test_seeds_that_share_a_validation_set_share_more_by_chance() -> None:
    runs = study({}, "cifar10", **HELD)
    rng = np.random.default_rng(0)
    pools = {arm: [rng.permutation(45_000)[:5000] for _ in range(3)] for arm in ALL}
    made = pools_of(pools, "cifar10")
    runs["seed"], made["seed"] = runs["seed"] + "-split0", made["seed"] + "-split0"
    assert answer("r9", runs, pools=made) == "confirmed"
    assert "where chance gives 11.1%" in anatomy.r9(Study(runs, made)).why


def test_r9s_law_is_that_of_draws_without_two_validation_sets() -> None:
    runs = study({}, "cifar10", **HELD)
    row = anatomy.overlaps(Study(runs, pools_of(drawn_pools(), "cifar10"))).iloc[0]
    rng, shares = np.random.default_rng(1), []
    for _ in range(300):
        one, other = (rng.permutation(rng.permutation(50_000)[5000:])[:5000] for _ in range(2))
        shares.append(len(np.intersect1d(one, other)) / 5000)
    assert row["chance"] == pytest.approx(np.mean(shares), abs=1e-3)
    assert row["sd"] == pytest.approx(np.std(shares), rel=0.15)


def test_r12_is_only_ever_not_run_with_our_cost_beside() -> None:
    assert answer("r12", study({})) == "not run"
    times = {"time/train_s": 3600.0, "time/query_s": 7200.0}
    runs = study({}, "tiny_imagenet", queries=["vaal", "entropy"], **times)
    assert answer("r12", runs) == "not run"
    assert "a run took 9 hours" in cost.r12(Study(runs)).why
    assert "n = 30" in cost.r12(Study(runs)).why
