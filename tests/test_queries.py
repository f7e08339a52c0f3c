"""The contract of every query strategy. A new strategy adds one row to `QUERIES`."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from active.arm import build_query
from active.classifier import Classifier
from active.committee import Committee
from active.covering import ArtifactQuery
from active.predictor import Outputs, Predictor
from active.queries.passive import Random
from active.query import (
    Gathered,
    Query,
    Request,
    Selection,
    check_finite,
    check_selection,
    unscored,
)
from conf.compose import compose_config, composer, plain
from datamodules.augment import Augmenter, Normalizer
from datamodules.datamodule import PoolDataModule
from datamodules.errors import UserError
from datamodules.images import Images, Part
from datamodules.pools import Pools
from datamodules.seeds import Seeds
from pretext.devices import Devices
from tests.conftest import ROOT

# What each is built with here, beside its YAML file's settings.
QUERIES: dict[str, dict[str, Any]] = {
    "random": {},
    "least_confidence": {},
    "entropy": {},
    "margin": {},
    "dbal": {},
    "bald": {},
    "powerbald": {},
    "batchbald": {"candidates": 30},
    "coreset": {},
    "typiclust": {},
    "probcover": {},
    "maxherding": {},
    "badge": {},
    "uherding": {},
    "ens_varr": {},
    "ens_lc": {},
    "ens_me": {},
    "ens_mm": {},
    "vaal": {"width": 16, "epochs": 1, "batch": 16},
}
NO_PASS = {"random", "typiclust", "probcover", "maxherding", "vaal"}
BY_FEATURES = {"coreset", "typiclust", "probcover", "maxherding", "uherding"}  # not by logits
NOT_NESTED = {"typiclust"}  # its clusters depend on the budget
POOLS = ["random", "duplicates", "one image", "constant logits", "saturated logits"]


class Poison:
    """Labels that no query may look at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("a label of U was read")

    def __getitem__(self, _: Any) -> Any:
        raise AssertionError("a label of U was read")


def make_pool(kind: str, size: int = 60) -> tuple[Classifier, Images]:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (size, 1, 8, 8), dtype=torch.uint8)
    if kind == "duplicates":
        pixels[::2] = pixels[0]
    if kind == "one image":
        pixels[:] = pixels[0]
    classifier = Classifier(5, 1, width=4, max_pool=False).eval()
    with torch.no_grad():
        if kind == "constant logits":
            classifier.head.weight.zero_()
            classifier.head.bias.zero_()
        if kind == "saturated logits":
            classifier.head.weight.mul_(1e6)
    ids = [f"train/{i:05d}" for i in range(size)]
    part = Part(ids, Poison(), (1, 8, 8), pixels, None)  # type: ignore[arg-type]
    return classifier, Images("fake", part, None, tuple("abcde"), "fake")


def make(name: str) -> Query:
    """The query of an option, as its YAML file has it."""
    with composer():
        node = plain(compose_config("active", [f"query={name}"]))["query"] | QUERIES[name]
    return build_query(node)[0]


def ask(
    query: Query,
    classifier: Classifier,
    images: Images,
    budget: int,
    seed: int = 0,
    batch: int = 16,
    devices: Devices | None = None,
) -> tuple[Selection, Pools]:
    """What a run asks of a query, without the run."""
    devices = devices or Devices(accelerator="cpu", threads=1)
    labels = np.zeros(len(images.train), dtype=np.int64)
    labels[10:] = 99  # of U: nobody may look, and nobody is told
    pools = Pools(len(images.train), np.arange(4), [np.arange(4, 10)])
    datamodule = PoolDataModule(
        images, pools, Seeds(seed), augmenter=Augmenter(2, True), batch_size=8,
        eval_batch_size=batch, normalizer=Normalizer([0.5], [0.3]),
    )  # fmt: skip
    features = images.train.take(np.arange(len(images.train))).flatten(1).float()
    unit = torch.nn.functional.normalize(features + 1, dim=1).numpy()
    request = Request(budget, 1, Seeds(seed), unit if isinstance(query, ArtifactQuery) else None)
    datamodule.at(1, asked=query.covers or ("unlabeled",))
    query.prepare(datamodule, devices.trainer, request)
    if query.covers:
        asked = Committee(committee(classifier)) if query.wants_committee else classifier
        trainer = devices.trainer(callbacks=[query])
        trainer.predict(asked, datamodule=datamodule, return_predictions=False)

    def select() -> Selection:
        gathered = query.gathered(pools, labels)
        columns = [*gathered.unlabeled.values(), *gathered.labeled.values()]
        assert not any(column.is_inference() for column in columns), "a strategy may work in place"
        check_finite(gathered, images.train.ids)
        return query.select(gathered, request)

    return devices.decide(select), pools


def committee(classifier: Classifier) -> list[Classifier]:
    """The classifier and two that differ from it in the head's weights."""
    members = [classifier]
    for shift in (1, 2):
        other = copy.deepcopy(classifier)
        other.head.weight.data = classifier.head.weight.data.roll(shift, dims=0)
        members.append(other)
    return members


class Keep(Query):
    """Keeps the logits of U, in the order of its indices."""

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, torch.Tensor]:
        return {"logits": outputs.logits}

    def select(self, gathered: Gathered, request: Request) -> Selection:
        self.logits = gathered.unlabeled["logits"]
        return unscored(gathered.indices, torch.arange(request.budget))


def test_every_option_is_in_this_table() -> None:
    assert set(QUERIES) == {file.stem for file in (ROOT / "conf/query").glob("*.yaml")}


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("name", QUERIES)
def test_contract(name: str, kind: str) -> None:
    classifier, images = make_pool(kind)
    state = {key: value.clone() for key, value in classifier.state_dict().items()}
    for budget in (1, 7, 50):
        selection, pools = ask(make(name), classifier, images, budget)
        check_selection(make(name), selection, pools.unlabeled, budget)
        again, _ = ask(make(name), classifier, images, budget)
        assert np.array_equal(selection.indices, again.indices)
        assert np.array_equal(selection.scores, again.scores, equal_nan=True)
        assert len(pools.labeled) == 6
    assert all(torch.equal(state[key], value) for key, value in classifier.state_dict().items())
    assert not classifier.training
    if name in NOT_NESTED:
        return
    smaller, _ = ask(make(name), classifier, images, 7)
    assert np.array_equal(smaller.indices, again.indices[:7]), "not in order of preference"


@pytest.mark.parametrize("name", QUERIES)
def test_batch_size_changes_nothing_but_near_ties(name: str) -> None:
    classifier, images = make_pool("random")
    one, _ = ask(make(name), classifier, images, 50, batch=1)
    other, _ = ask(make(name), classifier, images, 50, batch=50)
    differ = one.indices != other.indices
    if differ.any():
        assert np.allclose(one.scores[differ], other.scores[differ], atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(n, "one image") for n in QUERIES]
    + [(n, "constant logits") for n in sorted(QUERIES.keys() - BY_FEATURES - {"vaal"})],
)
def test_ties_are_broken_by_the_seed(name: str, kind: str) -> None:
    classifier, images = make_pool(kind)
    picks = {tuple(ask(make(name), classifier, images, 5, seed)[0].indices) for seed in range(6)}
    assert len(picks) == 6


@pytest.mark.parametrize("name", [n for n in QUERIES if n not in NO_PASS])
def test_nan_names_the_sample(name: str) -> None:
    classifier, images = make_pool("random")
    with torch.no_grad():
        classifier.projector[2].bias[2] = float("nan")
    with pytest.raises(UserError, match=r"NaN for 50 of 50 .* train/00010"):
        ask(make(name), classifier, images, 3)


def test_nan_of_one_sample_is_found() -> None:
    kept = torch.zeros(5, 2)
    kept[3, 1] = torch.nan
    gathered = Gathered(np.array([0, 1, 2, 4, 5]), np.array([3]), {"logits": kept})
    with pytest.raises(UserError, match=r"NaN for 1 of 5 .* e:"):
        check_finite(gathered, list("abcdef"))


@pytest.mark.parametrize("name", ["least_confidence", "entropy", "margin"])
def test_scores_are_those_of_the_model(name: str) -> None:
    from active import acquisition

    classifier, images = make_pool("random")
    selection, _ = ask(make(name), classifier, images, 50)
    pixels = images.train.take(selection.indices).float().div(255).sub(0.5).div(0.3)
    with torch.no_grad():
        values = getattr(acquisition, name)(classifier(pixels)[1])
    assert np.allclose(selection.scores, values.numpy(), atol=1e-5)
    assert (np.diff(selection.scores) <= 0).all()


@pytest.mark.parametrize(
    ("name", "slow"), [("ens_lc", "least_confidence"), ("ens_me", "entropy"), ("ens_mm", "margin")]
)
def test_scores_of_a_committee_are_those_of_members_asked_one_by_one(name: str, slow: str) -> None:
    from active import acquisition

    classifier, images = make_pool("random")
    keepers = [Keep() for _ in range(3)]
    for keeper, member in zip(keepers, committee(classifier), strict=True):
        ask(keeper, member, images, 50)
    logits = torch.stack([keeper.logits for keeper in keepers])
    values = getattr(acquisition, slow)(acquisition.mean_log_probs(logits)).numpy()
    selection, _ = ask(make(name), classifier, images, 50)
    assert np.array_equal(selection.scores, values[selection.indices - 10])
    assert len(np.unique(values)) > 40


def test_passive_arms_of_a_seed_share_their_order() -> None:
    request = Request(20, 3, Seeds(1))
    one = Random().select(Gathered(np.arange(100), np.arange(0)), request).indices
    later = Random().select(Gathered(np.arange(100), np.arange(0)), Request(20, 4, Seeds(1)))
    assert np.array_equal(one, later.indices), "and so do all cycles"
    other = Random().select(Gathered(np.arange(0, 100, 2), np.arange(0)), request).indices
    kept = [i for i in one if i % 2 == 0]
    assert other[: len(kept)].tolist() == kept


@pytest.mark.parametrize(
    ("indices", "sentence"),
    [
        ([1, 2], "Keep chose 2 samples"),
        ([1, 1, 2], "Keep chose a sample twice"),
        ([1, 2, 99], "outside"),
    ],
)
def test_a_strategy_that_breaks_the_contract_is_stopped(indices: list, sentence: str) -> None:
    chosen = np.array(indices)
    with pytest.raises(ValueError, match=sentence):
        check_selection(Keep(), Selection(chosen, np.zeros(len(chosen))), np.arange(10), 3)
