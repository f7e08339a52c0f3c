"""Claims about curves on tables that make them confirmed, contradicted, undecided and not run."""

from __future__ import annotations

import pandas as pd
import pytest

from active.claims import Study, all_answers, curves
from active.claims.study import ACTIVE
from tests.claim_tables import UNSURE, answer, study

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


def test_pools_that_some_queries_lack_are_said() -> None:
    parts = [
        study({}, queries=("random", *ACTIVE), arms=["random"]),
        study({}, queries=["entropy"]),
    ]
    made = curves.r6(Study(pd.concat(parts).drop_duplicates(["arm", "query", "seed", "cycle"])))
    assert made.answer == "confirmed"
    assert (
        "simclr, vae, scan, kmeans under random, least_confidence, margin, dbal, coreset, vaal, "
        "ens_varr on MNIST" in made.why
    )


def test_r5_needs_all_pools_under_a_query_and_judges_all_vaes() -> None:
    best = study({"vae": TO_UP}, **SEVEN)
    some = best[best["arm"].isin(["random", "vae"]) | (best["query"] == "dbal")]
    made = curves.r5(Study(some))
    assert made.answer == "undecided"
    assert "simclr, scan, kmeans under least_confidence, entropy" in made.why
    second = best[best["arm"] == "vae"].assign(pretext="1", init_artifact="vae-1")
    second["test/acc"] -= 0.5
    assert answer("r5", best, second) != "confirmed"
    assert "vae beside" in curves.r5(Study(best)).why


@pytest.mark.parametrize(
    ("data", "learner"),
    [
        ("mnist-imbalance50", "resnet18"),
        ("mnist-val0.3", "resnet18"),
        ("mnist", "resnet18-max_epochs5"),
        ("mnist", "resnet18-warm_start"),
        ("mnist", "resnet18-threads1-min_steps1000"),
        ("mnist", "resnet18-devices2-no_sync_batchnorm"),
    ],
)
def test_what_was_set_otherwise_does_not_speak_of_the_paper(data: str, learner: str) -> None:
    assert answer("r3", study({"simclr": UP}, data, learner=learner)) == "not run"


@pytest.mark.parametrize(
    ("data", "learner"),
    [
        ("mnist", "resnet18-dropouton-threads1-precisionbf16-mixed"),
        ("mnist", "resnet18-no_deterministic-acceleratorgpu-devices8-strategyddp-num_nodes2"),
        ("mnist", "resnet18-devices-1-strategyddp"),
        ("mnist-eval_batch_size2000", "resnet18"),
    ],
)
def test_where_and_how_fast_it_ran_is_no_other_protocol(data: str, learner: str) -> None:
    assert answer("r3", study({"simclr": UP}, data, learner=learner)) == "contradicted"


def test_unfinished_runs_leave_a_claim_about_the_end_not_run() -> None:
    runs = study({})
    short = runs[~((runs["arm"] != "random") & (runs["cycle"] == 2))]
    assert answer("r6", short) == "not run"
    assert answer("r1", short) == "contradicted"  # the start is there


def test_all_answers_in_order_and_of_any_table() -> None:
    for runs in (study({}, "digits", start=0.1), study({}, seeds=1), study({}, arms=["random"])):
        answers = all_answers(Study(runs))
        assert [a.claim for a in answers] == [f"R-{i}" for i in range(1, 13)]
        assert {a.answer for a in answers} <= {"not run", "undecided"}
