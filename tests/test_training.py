"""One cycle's training: which epochs are checked, which weights are kept, what is reported."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from sklearn import metrics
from torch import Tensor

from active.classifier import Classifier
from active.training import BestWeights, Training
from datamodules.augment import Augmenter, Normalizer
from datamodules.datamodule import PoolDataModule
from datamodules.images import load_images
from datamodules.pools import Pools, draw_validation
from datamodules.seeds import Seeds
from datamodules.sources import Digits
from pretext.checks import check_epochs
from pretext.devices import Devices
from tests.conftest import Finished


@pytest.fixture(scope="module")
def datamodule(tmp_path_factory: pytest.TempPathFactory) -> PoolDataModule:
    return make_datamodule(tmp_path_factory.mktemp("artifacts"))


def make_datamodule(artifacts: Path, val: float = 0.1, size: int = 50) -> PoolDataModule:
    images, seeds = load_images(Digits(), artifacts), Seeds(0)
    pools = Pools(len(images.train), draw_validation(len(images.train), val, seeds))
    pools.label(pools.unlabeled[:size])
    return PoolDataModule(
        images,
        pools,
        seeds,
        augmenter=Augmenter(),
        batch_size=16,
        normalizer=Normalizer([0.3], [0.38]),
    )


def make_classifier(seed: int = 0, **settings: Any) -> Classifier:
    torch.manual_seed(seed)
    settings = {"width": 8, "max_pool": False, "lr": 0.02} | settings
    return Classifier(10, 1, **settings)


@pytest.fixture(scope="module")
def devices() -> Devices:
    return Devices(accelerator="cpu", threads=1)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 10, 99, 100, 200])
@pytest.mark.parametrize("checks", [1, 3, 10])
def test_checks_are_even_and_end_with_the_last_epoch(epochs: int, checks: int) -> None:
    chosen = sorted(check_epochs(epochs, checks))
    assert len(chosen) == min(checks, epochs)
    assert chosen[-1] == epochs - 1
    gaps = np.diff([-1, *chosen])
    assert gaps.max() - gaps.min() <= 1


class Watch(pl.Callback):
    """What V says at each check, and the weights of then, by other means than ours."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[float, list[Tensor]]] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        weights = [value.clone() for value in pl_module.state_dict().values()]
        self.seen[trainer.current_epoch] = (float(trainer.callback_metrics["val/acc"]), weights)


def accuracy(classifier: Classifier, datamodule: PoolDataModule, part: str) -> float:
    images = datamodule.images.train if part == "val" else datamodule.images.test
    indices = datamodule.pools.validation if part == "val" else np.arange(len(images))
    with torch.no_grad():
        logits = classifier.eval()(datamodule.normalizer(images.take(indices)))[1]
    return float((logits.argmax(1).numpy() == images.labels[indices]).mean())


def test_the_best_weights_are_really_restored(datamodule: PoolDataModule, devices: Devices) -> None:
    watch, classifier = Watch(), make_classifier(lr=0.1, schedule="none")
    row = Training(8, 8).fit(classifier, datamodule, devices, [], [watch])
    accuracies = [watch.seen[epoch][0] for epoch in range(8)]
    best = int(np.argmax(accuracies))  # the first of equally good epochs
    assert best < 7, "the best epoch is the last one: this seed cannot show a restored state"
    assert row["epoch_best"] == best
    assert (
        row["val/acc"]
        == accuracies[best]
        == pytest.approx(accuracy(classifier, datamodule, "val"), abs=1e-6)
    )
    kept = watch.seen[best][1]
    for value, wanted in zip(classifier.state_dict().values(), kept, strict=True):
        assert torch.equal(value, wanted)
    assert row["test/acc"] == pytest.approx(accuracy(classifier, datamodule, "test"))
    last = make_classifier()
    last.load_state_dict(dict(zip(last.state_dict(), watch.seen[7][1], strict=True)))
    assert row["test/acc_last"] == pytest.approx(accuracy(last, datamodule, "test"))
    assert row["test/acc_last"] != row["test/acc"]


def test_the_first_of_equally_good_epochs_is_kept() -> None:
    best, module = BestWeights(), torch.nn.Linear(1, 1)
    for epoch, value in enumerate([0.5, 0.7, 0.7, 0.6]):
        with torch.no_grad():
            module.weight.fill_(epoch)
        trainer: Any = type("T", (), {"callback_metrics": {"val/acc": torch.tensor(value)},
                                      "current_epoch": epoch})  # fmt: skip
        best.on_validation_end(trainer, module)  # type: ignore[arg-type]
    assert best.epoch == 1
    best.restore(module)  # type: ignore[arg-type]
    assert module.weight.item() == 1


def test_without_validation_the_last_weights_count(tmp_path: Path, devices: Devices) -> None:
    row = Training(2, 10).fit(make_classifier(), make_datamodule(tmp_path, 0), devices, [], [])
    assert row["val/acc"] is None
    assert row["test/acc"] == row["test/acc_last"]
    assert row["epoch_best"] == 1


def test_metrics_equal_sklearns(datamodule: PoolDataModule, devices: Devices) -> None:
    classifier = make_classifier()
    row = Training(5, 1).fit(classifier, datamodule, devices, [], [])
    test = datamodule.images.test
    with torch.no_grad():
        images = datamodule.normalizer(test.take(np.arange(len(test))))
        logs = torch.log_softmax(classifier.eval()(images)[1].double(), 1).numpy()
    probs = np.exp(logs)
    predicted = probs.argmax(1)
    assert row["test/acc"] == pytest.approx(metrics.accuracy_score(test.labels, predicted))
    balanced = metrics.balanced_accuracy_score(test.labels, predicted)
    assert row["test/balanced_acc"] == pytest.approx(balanced)
    nll = -logs[np.arange(len(logs)), test.labels].mean()
    assert row["test/nll"] == pytest.approx(nll, rel=1e-5)
    recall = metrics.recall_score(test.labels, predicted, average=None)
    assert row["test/acc_per_class"] == pytest.approx(recall.tolist())
    confidence, right = probs.max(1), predicted == test.labels
    bins = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    ece = sum(
        abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    )
    assert row["test/ece"] == pytest.approx(ece, abs=1e-5)


def test_training_equals_a_bare_loop(tmp_path: Path, devices: Devices) -> None:
    """Lightning, our loader and our callbacks do exactly the arithmetic of ten plain lines."""
    datamodule = make_datamodule(tmp_path, val=0, size=40)
    classifier, bare = make_classifier(), make_classifier()
    Training(3, 1).fit(classifier, datamodule, devices, [], [])
    train = datamodule.images.train
    optimizer = torch.optim.SGD(
        bare.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=3e-4, fused=True
    )
    devices.arrange(bare.backbone, bare)
    bare.train()
    for epoch in range(3):
        optimizer.param_groups[0]["lr"] = 0.02 * 0.5 * (1 + np.cos(np.pi * epoch / 3))
        generator = datamodule.seeds.numpy("batches", 0, epoch)
        order = generator.permutation(datamodule.pools.labeled)
        for start in range(0, 40, 16):
            batch = order[start : start + 16]
            optimizer.zero_grad()
            logits = bare(datamodule.normalizer(train.take(batch)))[1]
            F.cross_entropy(logits, torch.from_numpy(train.labels[batch])).backward()
            optimizer.step()
    for ours, theirs in zip(
        classifier.state_dict().values(), bare.state_dict().values(), strict=True
    ):
        assert torch.allclose(ours.float(), theirs.float(), atol=1e-6)


def test_dropout_sits_before_the_projector() -> None:
    classifier = make_classifier(dropout=True)
    x = torch.randn(4, 1, 8, 8)
    pooled = classifier.eval().backbone(x)
    torch.manual_seed(1)
    mask = F.dropout(torch.ones_like(pooled), 0.5)
    classifier.dropout.train()
    torch.manual_seed(1)
    features, logits = classifier(x)
    assert torch.allclose(features, classifier.projector(pooled * mask))
    assert torch.allclose(logits, classifier.head(features))


def test_a_checkpoint_loads_without_pickles(tmp_path: Path) -> None:
    classifier = make_classifier(dropout=True)
    classifier.save(tmp_path / "model.ckpt")
    loaded = Classifier.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert dict(loaded.hparams) == dict(classifier.hparams)
    for a, b in zip(loaded.state_dict().values(), classifier.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "wrong", [{"optimizer": "sdg"}, {"schedule": "cos"}, {"lr": 0.0}, {"stem": 5}]
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_classifier(**wrong)


def test_ranks_draw_dropout_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for world, rank in ((1, 0), (2, 0), (2, 1)):
        classifier = make_classifier()
        torch.manual_seed(3)
        monkeypatch.setattr(Classifier, "trainer", SimpleNamespace(world_size=world))
        monkeypatch.setattr(Classifier, "global_rank", rank)
        classifier.on_train_start()
        drawn.append(torch.rand(1).item() if world > 1 else torch.initial_seed())
    assert drawn[0] == 3  # one device: as it was
    assert drawn[1] != drawn[2]


def test_models_of_earlier_cycles_are_freed(
    cli: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Trainer and its model lie in circles; the last cycle's and the one in training may live."""
    made: list[weakref.ref[pl.LightningModule]] = []
    alive: list[int] = []
    plain = Training.fit

    def fit(self: Training, classifier: Any, *rest: Any) -> dict[str, Any]:
        made.append(weakref.ref(classifier))
        alive.append(sum(model() is not None for model in made))
        return plain(self, classifier, *rest)

    monkeypatch.setattr(Training, "fit", fit)
    options = "--logger none --trainer.max_epochs 1 --query margin --cycles 6"
    for seed in ("0", "1"):
        assert cli(*options.split(), "--seed", seed).status == 0
    assert len(alive) == 14
    assert max(alive) <= 3
