"""Every claim on tables that make it confirmed, contradicted, undecided and not run."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from active.claims import CLAIMS, Study, all_answers, anatomy, cost, curves
from active.claims.anatomy import overlap_p
from active.claims.study import ACTIVE
from tests.study_rows import rows_of

ALL = ("random", "simclr", "vae", "scan", "kmeans")
QUERIES = ("entropy", "dbal")
SIZES = {"mnist": 60_000, "tiny_imagenet": 100_000, "cifar10_lt": 14_000}
STARTS = {"mnist": 0.001}
SURE, UNSURE = 0.001, 0.05  # sd of a run: next to none, and too large for six seeds


def study(
    gains: dict[str, tuple[float, float]],
    data: str = "mnist",
    sd: float = SURE,
    arms: Iterable[str] = ALL,
    queries: Iterable[str] = QUERIES,
    start: float | None = None,
    end: int = 11,
    seeds: int = 6,
    learner: str = "resnet18",
    total: int = 0,
    **columns: object,
) -> pd.DataFrame:
    """Curves of three cycles; a pool gains so much at its start, rising or falling to its end."""
    total = total or SIZES.get(data.split("-")[0], 50_000)
    first = int((start or STARTS.get(data.split("-")[0], 0.1)) * total)
    budgets = np.array([1, end / 2, end]) * first
    rows: list[dict] = []
    for arm in arms:
        for query in queries:
            for seed in range(seeds):
                noise = np.random.default_rng([*f"{data}{arm}{query}".encode(), seed])
                curve = 0.5 + np.linspace(*gains.get(arm, (0, 0)), 3) + noise.normal(0, sd, 3)
                rows += rows_of(
                    curve, arm, query, seed, data, learner, budgets=budgets.tolist(), **columns
                )
    table = pd.DataFrame(rows)
    table["pool/fraction"] = table["pool/labeled"] / total
    return table


def answer(claim: str, *tables: pd.DataFrame, pools: pd.DataFrame | None = None) -> str:
    function = {c.__name__: c for c in CLAIMS}[claim]
    made = function(Study(pd.concat(tables), pools))
    assert made.claim == f"R-{claim[1:]}"
    assert made.title
    assert made.statement.endswith(".")
    assert made.why.endswith(".")
    assert "nan" not in made.why
    assert "\n" not in made.why
    return made.answer


UP, DOWN, NONE, SMALL = (0.05, 0.05), (-0.05, -0.05), (0.0, 0.0), (0.005, 0.005)
FROM_UP, FROM_DOWN, TO_UP = (0.05, 0.0), (-0.05, 0.0), (-0.05, 0.05)
LOW = {"data": "cifar10-1000+1000", "start": 0.02}
LONG = {"data": "cifar10_lt"}
SEVEN = {"data": "cifar100", "queries": ACTIVE}


@pytest.mark.parametrize(
    ("claim", "gains", "changed", "expected"),
    [
        ("r1", {"vae": FROM_DOWN}, {}, "confirmed"),
        ("r1", {"vae": FROM_UP}, {}, "contradicted"),
        ("r1", {}, {}, "contradicted"),  # equivalent: no 18 points
        ("r1", {}, {"sd": UNSURE}, "undecided"),
        ("r1", {"vae": FROM_DOWN}, {"seeds": 1}, "undecided"),
        ("r1", {"vae": FROM_DOWN}, {"arms": ("random", "vae", "scan", "simclr")}, "not run"),
        ("r2", {"simclr": FROM_UP}, {"data": "cifar10"}, "confirmed"),
        ("r2", {"simclr": UP}, {"data": "cifar10"}, "contradicted"),  # it still differs later
        ("r2", {}, {"data": "cifar10"}, "contradicted"),
        ("r2", {"simclr": FROM_UP}, {"data": "cifar10", "sd": UNSURE}, "undecided"),
        ("r2", {"simclr": FROM_UP}, {"data": "mnist"}, "not run"),
        ("r2", {"simclr": FROM_UP}, LOW, "not run"),  # another budget
        ("r2", {"simclr": FROM_UP}, {"data": "cifar10_lt"}, "not run"),
        ("r3", {"simclr": DOWN}, {}, "confirmed"),
        ("r3", {"simclr": SMALL}, {}, "confirmed"),
        ("r3", {"simclr": (0.0, 0.05)}, {}, "contradicted"),
        ("r3", {"simclr": FROM_UP}, {"data": "tiny_imagenet"}, "contradicted"),
        ("r3", {}, {"sd": UNSURE}, "undecided"),
        ("r3", {"simclr": UP}, {"data": "cifar10"}, "not run"),
        ("r4", {"scan": DOWN}, {"data": "cifar10"}, "confirmed"),
        ("r4", {"kmeans": FROM_UP}, {"data": "cifar100"}, "contradicted"),
        ("r4", {}, {"sd": UNSURE}, "undecided"),
        ("r4", {}, {"arms": ("random", "scan")}, "not run"),
        ("r5", {"vae": TO_UP}, SEVEN, "confirmed"),
        ("r5", {"vae": TO_UP, "scan": UP}, SEVEN, "contradicted"),  # as good as another
        ("r5", {"vae": TO_UP}, SEVEN | {"sd": UNSURE}, "undecided"),
        ("r5", {"vae": TO_UP}, SEVEN | {"queries": ("random",)}, "not run"),
        ("r5", {"vae": TO_UP}, SEVEN | {"arms": ("random", "vae")}, "not run"),
        ("r6", {"vae": FROM_DOWN}, {}, "confirmed"),
        ("r6", {"vae": DOWN}, {}, "contradicted"),
        ("r6", {"scan": (0.0, 0.05)}, {"data": "tiny_imagenet"}, "contradicted"),
        ("r6", {}, {"sd": UNSURE}, "undecided"),
        ("r6", {}, {"data": "cifar100"}, "not run"),
        ("r10", {"vae": SMALL}, LOW, "confirmed"),
        ("r10", {"vae": UP, "scan": DOWN}, LOW, "confirmed"),
        ("r10", {"vae": SMALL, "scan": UP}, LOW, "contradicted"),
        ("r10", {"vae": DOWN}, LOW, "contradicted"),
        ("r10", {}, LOW, "undecided"),
        ("r10", {"vae": SMALL}, LOW | {"sd": UNSURE}, "undecided"),
        ("r10", {"vae": SMALL}, {"data": "cifar10"}, "not run"),
        ("r11", {"scan": DOWN, "vae": (0.0, 0.005)}, LONG, "confirmed"),
        ("r11", {"vae": SMALL}, LONG, "contradicted"),  # SCAN is no worse
        ("r11", {"scan": DOWN, "vae": SMALL, "kmeans": UP}, LONG, "contradicted"),
        ("r11", {"scan": DOWN, "vae": SMALL}, LONG | {"sd": UNSURE}, "undecided"),
        ("r11", {"scan": DOWN}, LONG | {"arms": ("random", "scan", "vae")}, "not run"),
    ],
)
def test_claims_of_curves(claim: str, gains: dict, changed: dict, expected: str) -> None:
    assert answer(claim, study(gains, **changed)) == expected


def test_one_query_of_seven_may_differ_from_r5_and_two_may_not() -> None:
    for exceptions, expected in ((1, "confirmed"), (2, "contradicted")):
        parts = [study({"vae": DOWN}, "cifar100", queries=ACTIVE[:exceptions])]
        parts.append(study({"vae": TO_UP}, "cifar100", queries=ACTIVE[exceptions:]))
        assert answer("r5", *parts) == expected


def test_one_data_set_against_it_is_enough_and_missing_ones_are_named() -> None:
    both = [study({"simclr": DOWN}), study({"simclr": UP}, "cifar100")]
    made = curves.r3(Study(pd.concat(both)))
    assert made.answer == "contradicted"
    assert "MNIST" in made.why
    assert "; Tiny ImageNet;" in made.why


def test_numbers_and_n_are_in_the_sentence() -> None:
    made = curves.r1(Study(study({"vae": FROM_DOWN}, queries=["random"])))
    assert made.why.startswith(
        "Of 1 comparison with the mean of the other pools on MNIST, 1 is for it; "
        "the largest for it: vae on mnist at the start, -5.0 points (95 % interval -5."
    )
    assert "n = 6, worse)" in made.why
    missing = curves.r1(Study(study({}, arms=["random", "vae"])))
    assert "simclr on MNIST" in missing.why
    assert "CIFAR-100" in missing.why


def test_r1_is_beside_the_mean_of_the_four_others() -> None:
    gains = {"vae": (0.0, 0.0), "random": (0.2, 0), "simclr": (0.1, 0)}  # mean of four: .075
    made = curves.r1(Study(study(gains, sd=1e-4)))
    assert made.answer == "confirmed"
    assert "-7.5 points" in made.why


def test_other_learners_and_queries_do_not_speak_of_the_paper() -> None:
    assert answer("r3", study({"simclr": UP}, learner="linear")) == "not run"
    other = curves.r3(Study(study({}, learner="linear"))).why
    assert "MNIST with the paper's learner and budget" in other
    assert answer("r3", study({"simclr": UP}, learner="resnet18-threads1")) == "contradicted"
    both = [study({}), study({"simclr": (0.0, 0.05)}, queries=["badge"])]
    assert answer("r3", *both) == "confirmed"


def test_what_the_runs_lack_is_said() -> None:
    made = curves.r3(Study(study({"simclr": DOWN}, "mnist-pretext_epochs0.02", end=5)))
    assert made.answer == "confirmed"  # at the start; the end is another one
    assert "Of 2 comparisons with the random pool on MNIST, 2 are for it" in made.why
    assert made.why.endswith(
        "; random, least_confidence, margin, coreset, vaal, ens_varr on MNIST; MNIST beyond 300 "
        "labels (the paper: 660); pretext models of the recipes' length on MNIST."
    )
    start = curves.r1(Study(study({"vae": DOWN}, "mnist-pretext_epochs0.02", end=5)))
    assert start.answer == "confirmed"
    assert start.why.endswith("; pretext models of the recipes' length on MNIST.")
    whole = curves.r3(Study(study({"simclr": DOWN}, queries=("random", *ACTIVE))))
    assert whole.why.endswith("; not run: CIFAR-100; Tiny ImageNet.")
    assert answer("r6", study({}, end=5)) == "not run"
    assert answer("r5", study({"vae": TO_UP}, "cifar100", queries=ACTIVE, end=3)) == "not run"


@pytest.mark.parametrize(
    ("data", "learner"),
    [
        ("mnist-imbalance50", "resnet18"),
        ("mnist-val0.3", "resnet18"),
        ("mnist", "resnet18-max_epochs5"),
        ("mnist", "resnet18-warm_start"),
        ("mnist", "resnet18-threads1-min_steps1000"),
    ],
)
def test_what_was_set_otherwise_does_not_speak_of_the_paper(data: str, learner: str) -> None:
    assert answer("r3", study({"simclr": UP}, data, learner=learner)) == "not run"
    runs = study({"simclr": UP}, "mnist", learner="resnet18-dropouton-threads1-precisionbf16-mixed")
    assert answer("r3", runs) == "contradicted"


def test_unfinished_runs_leave_a_claim_about_the_end_not_run() -> None:
    runs = study({})
    short = runs[~((runs["arm"] != "random") & (runs["cycle"] == 2))]
    assert answer("r6", short) == "not run"
    assert answer("r1", short) == "contradicted"  # the start is there


def pools_of(
    sizes: dict[str, np.ndarray], data: str, seeds: int = 3, counts: np.ndarray | None = None
) -> pd.DataFrame:
    rows = [
        {
            "data": data, "query": query, "learner": "resnet18", "seed": f"seed{seed}", "cycle": 0,
            "arm": arm, "pretext": "", "indices": indices,
            "class_counts": None if counts is None else counts.tolist(),
        }
        for arm, indices in sizes.items() for seed in range(seeds) for query in QUERIES
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
    pools = pools_of({"vae": np.arange(5)}, "cifar100", counts=counts)
    assert answer("r8", runs, pools=pools) == expected
    assert f"{common} of 10 classes" in anatomy.r8(Study(runs, pools)).why


def test_r8_not_run() -> None:
    runs = study({}, "cifar100", **{"test/acc_per_class": [0.5] * 100})
    assert answer("r8", runs) == "not run"
    assert answer("r8", runs, pools=pools_of({"vae": np.arange(5)}, "cifar100")) == "not run"
    assert answer("r8", study({}), pools=pools_of({"vae": np.arange(5)}, "mnist")) == "not run"


def test_chance_of_classes_in_common_is_what_draws_give() -> None:
    chance, fewer = overlap_p(4, 100)
    assert chance == pytest.approx(0.008, abs=5e-4)
    rng = np.random.default_rng(0)
    draws = np.array([(rng.permutation(100)[:10] < 10).sum() for _ in range(20_000)])
    assert overlap_p(2, 100)[0] == pytest.approx((draws >= 2).mean(), abs=0.01)
    weights = stats.hypergeom.pmf(np.arange(11), 100, 10, 10)
    odds = np.geomspace(1, 100, 20_001)[:, None]
    tilted = weights * odds ** np.arange(11)
    tilted /= tilted.sum(axis=1, keepdims=True)
    nearest = np.abs((tilted * np.arange(11)).sum(axis=1) - 4).argmin()
    assert fewer == pytest.approx(tilted[nearest, :5].sum(), abs=1e-3)


def drawn_pools(near: float = 0, size: int = 5000, total: int = 45_000) -> dict[str, np.ndarray]:
    """Five independent pools; of the VAE's, the share `near` is the SimCLR pool's instead."""
    rng = np.random.default_rng(0)
    pools = {arm: rng.permutation(total)[:size] for arm in ALL}
    if near:
        kept = pools["simclr"][: int(near * size)]
        others = np.setdiff1d(np.arange(total), pools["simclr"])
        pools["vae"] = np.concatenate([kept, rng.permutation(others)[: size - len(kept)]])
    return pools


def test_r9() -> None:
    held = {"pool/validation_labels": 5000}
    runs = study({}, "cifar10", **held)
    assert answer("r9", runs, pools=pools_of(drawn_pools(), "cifar10")) == "confirmed"
    near = pools_of(drawn_pools(0.5), "cifar10")
    assert answer("r9", runs, pools=near) == "contradicted"
    assert (
        "simclr and vae, share 50.0% where chance gives 11.1%" in anatomy.r9(Study(runs, near)).why
    )
    assert answer("r9", runs) == "not run"
    alone = near[near["seed"] == near["seed"].iloc[0]]
    assert "with two seeds" in anatomy.r9(Study(runs, alone)).why
    few = {arm: drawn_pools()[arm] for arm in ALL[:3]}
    assert answer("r9", runs, pools=pools_of(few, "cifar10")) == "not run"
    assert answer("r9", study({}), pools=pools_of(drawn_pools(), "cifar10")) == "not run"


def test_r9_does_not_hold_pools_of_one_seed_to_each_other() -> None:
    """They share its random order, here all of it."""
    runs = study({}, "cifar10", **{"pool/validation_labels": 5000})
    pools = pools_of(drawn_pools(), "cifar10")
    orders = {seed: np.random.default_rng(i).permutation(45_000)[:5000]
              for i, seed in enumerate(pools["seed"].unique())}  # fmt: skip
    paired = pools["arm"].isin(["random", "scan", "kmeans"])
    drawn = pools["seed"].map(orders).where(paired, pools["indices"])
    assert answer("r9", runs, pools=pools.assign(indices=drawn)) == "confirmed"


def test_r9_is_undecided_where_pools_are_too_small() -> None:
    runs = study({}, "cifar10", total=5000, **{"pool/validation_labels": 500})
    assert answer("r9", runs, pools=pools_of(drawn_pools(0, 500, 4500), "cifar10")) == "undecided"


def test_r9s_spread_is_that_of_drawn_pools() -> None:
    runs = study({}, "cifar10", **{"pool/validation_labels": 5000})
    row = anatomy.overlaps(Study(runs, pools_of(drawn_pools(), "cifar10"))).iloc[0]
    rng = np.random.default_rng(1)
    shares = [(rng.permutation(45_000)[:5000] < 5000).mean() for _ in range(300)]
    assert row["chance"] == pytest.approx(np.mean(shares), abs=1e-3)
    assert row["sd"] == pytest.approx(np.std(shares), rel=0.15)


def test_r12_is_only_ever_not_run_with_our_cost_beside() -> None:
    assert answer("r12", study({})) == "not run"
    times = {"time/train_s": 3600.0, "time/query_s": 7200.0}
    runs = study({}, "tiny_imagenet", queries=["vaal", "entropy"], **times)
    assert answer("r12", runs) == "not run"
    assert "a run took 9 hours" in cost.r12(Study(runs)).why
    assert "n = 30" in cost.r12(Study(runs)).why


def test_all_answers_in_order_and_of_any_table() -> None:
    for runs in (study({}, "digits", start=0.1), study({}, seeds=1), study({}, arms=["random"])):
        answers = all_answers(Study(runs))
        assert [a.claim for a in answers] == [f"R-{i}" for i in range(1, 13)]
        assert {a.answer for a in answers} <= {"not run", "undecided"}
