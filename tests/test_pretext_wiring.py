"""What a pretext model is trained on and scored by: what lies between network and losses."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.draws import uniform
from datamodules.images import Images, Part
from datamodules.pretext_data import ViewBatch
from datamodules.samplers import PartnerBatches, TrainBatches
from datamodules.seeds import Seeds
from datamodules.sources import Digits
from datamodules.strong import StrongViews
from datamodules.views import CropFlipViews, FixedViews, SimCLRViews
from pretext.inpainting import Inpainting
from pretext.making import data_of, measure
from pretext.module import PretextModule
from pretext.monitors import clustering_metrics, knn_accuracy
from pretext.rotation import Rotation
from pretext.scan import CleanAndStrong, SelfLabel
from pretext.scan_step import ScanStep
from pretext.simclr import SimCLR
from tests.pretext_artifacts import RECIPE, Train, context_of, module_of

INPUTS: dict[str, Any] = {
    "shape": [1, 12, 12], "mean": [0.7], "std": [0.2], "num_train": 40, "clusters": 4, "width": 8,
    "stem": 3, "max_pool": False,
}  # fmt: skip
CLUSTERS: dict[str, Any] = {"clusters": 4, "flip": False}


def make(kind: type[PretextModule], **settings: Any) -> Any:
    torch.manual_seed(0)
    module: Any = kind(INPUTS, 0, **RECIPE, **settings).eval()  # type: ignore[call-arg]
    if isinstance(getattr(module, "head", None), nn.Linear):
        module.head.weight.data.mul_(30)
    return module


def simclr() -> Any:
    return make(
        SimCLR, temperature=0.3, projection=16, crop_scale=0.5, flip=False, jitter=0.4, gray=0.0,
        views="auto", features="pooled", bank=20,
    )  # fmt: skip


MODULES = {
    "simclr": simclr,
    "scan_step": lambda: make(ScanStep, num_neighbors=5, entropy_weight=3.0, **CLUSTERS),
    "scan": lambda: make(SelfLabel, threshold=0.5, **CLUSTERS),
    "rotation": lambda: make(Rotation, crop_scale=None, flip=False),
    "inpainting": lambda: make(Inpainting, hole=0.5, masks=3, flip=False),
}


def images(count: int) -> Tensor:
    return torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def pooled(module: Any, x: Tensor) -> Tensor:
    return module.backbone((x - 0.7) / 0.2)


@pytest.mark.parametrize("name", MODULES)
def test_features_are_those_of_standardized_images(name: str) -> None:
    module, x = MODULES[name](), images(6)
    with torch.no_grad():
        wanted = F.normalize(pooled(module, x), dim=1)
        torch.testing.assert_close(module.embed(x).features, wanted)


@torch.no_grad()
def test_simclr_is_trained_on_pairs_of_standardized_views() -> None:
    """View 0 of all images, then view 1 of all, at the temperature that was asked for."""
    module, x = simclr(), images(12)
    z = F.normalize(module.head(pooled(module, x)), dim=1)
    logits = z @ z.T / 0.3 - torch.diag(torch.full((12,), torch.inf))
    wanted = F.cross_entropy(logits, torch.arange(12).roll(6))
    torch.testing.assert_close(module.loss(ViewBatch(x, torch.arange(6))), wanted)


@torch.no_grad()
def test_simclr_scores_fixed_views_of_standardized_images() -> None:
    module, x, index = simclr(), images(7), torch.tensor([3, 9, 11, 20, 21, 30, 39])
    module.bank.copy_(F.normalize(torch.randn(20, 16), dim=1))
    found = module.columns(x, index, module.embed(x), True)
    views = module._fixed(x, index, Seeds(0).stream("views"))
    assert len(views) == 3
    z, *seen = (F.normalize(module.head(pooled(module, v)), dim=1) for v in (x, *views))
    for i, sample in enumerate(index.tolist()):
        others = [k for k, member in enumerate(module.members.tolist()) if member != sample]
        mass = sum(math.exp(float(z[i] @ module.bank[k]) / 0.3) for k in others)
        mass *= 20 / len(others)
        cosines = [float(z[i] @ view[i]) for view in seen]
        terms = [math.log1p(mass / math.exp(c / 0.3)) for c in cosines]
        assert found["score"][i].item() == pytest.approx(np.mean(terms), rel=1e-4)
        assert found["alignment"][i].item() == pytest.approx(1 - np.mean(cosines), abs=1e-5)


@torch.no_grad()
def test_scan_is_trained_on_anchors_their_neighbors_and_its_weight() -> None:
    module, x = MODULES["scan_step"](), images(12)
    p, q = module.head(pooled(module, x)).softmax(dim=1).split(6)
    mean = p.mean(dim=0)
    assert not torch.allclose(mean, q.mean(dim=0), atol=0.01)
    wanted = -(p * q).sum(dim=1).log().mean() + 3 * (mean * mean.log()).sum()
    torch.testing.assert_close(module.loss(ViewBatch(x, torch.arange(12))), wanted)


def test_self_labels_are_those_of_the_clean_half() -> None:
    """The teacher sees the clean images, which come first, and no gradient goes through it."""
    module, x = MODULES["scan"](), images(60)
    with torch.no_grad():
        logits = module.head(pooled(module, x))
        module.head.bias -= logits.mean(dim=0)  # so that no cluster has all
        clean, strong = (logits - logits.mean(dim=0)).split(30)
        confidence, target = clean.softmax(dim=1).max(dim=1)
        module.threshold = float(confidence.median())
        sure = confidence > module.threshold
        losses = F.cross_entropy(strong, target, reduction="none")
        each = [losses[sure & (target == k)].mean() for k in target[sure].unique()]
    assert 0 < sure.sum() < 30
    assert len(each) > 1
    loss = module.loss(ViewBatch(x, torch.arange(30)))
    torch.testing.assert_close(loss.detach(), torch.stack(each).mean())
    views = CleanAndStrong(lambda x, *_: 1 - x.float() / 255)
    raw = torch.randint(0, 256, (5, 1, 12, 12), dtype=torch.uint8)
    one, two = views(raw, torch.arange(5), 0).chunk(2)
    torch.testing.assert_close(one, raw.float() / 255)
    torch.testing.assert_close(two, 1 - raw.float() / 255)


@torch.no_grad()
def test_inpaintings_score_is_the_mean_error_of_its_squares() -> None:
    module, x, index = MODULES["inpainting"](), images(5), torch.tensor([4, 8, 15, 16, 23])
    clean = (x - 0.7) / 0.2
    draws = uniform(Seeds(0).stream("masks"), index, 6)
    errors = np.zeros((5, 3))
    for i in range(5):
        for k in range(3):
            top, left = (int(d * 7) for d in draws[i, 2 * k : 2 * k + 2])
            inside = (slice(None), slice(top, top + 6), slice(left, left + 6))
            shown = clean[i].clone()
            shown[inside] = 0
            code = module.expand(module.backbone(shown[None])).view(-1, *module.small)
            errors[i, k] = (module.decoder(code)[0] - clean[i])[inside].square().mean()
    score = module.columns(x, index, module.embed(x), True)["score"]
    np.testing.assert_allclose(score, errors.mean(axis=1), rtol=1e-3)


COLOR = INPUTS | {"shape": [3, 12, 12], "mean": [0.7, 0.5, 0.3], "std": [0.2] * 3}
STRONG = StrongViews(flip=True, fill=COLOR["mean"])
MADE: dict[str, tuple[type[PretextModule], dict[str, Any], Any]] = {
    "simclr": (
        SimCLR,
        {"temperature": 0.3, "projection": 16, "crop_scale": 0.5, "flip": True, "jitter": 0.8,
         "gray": 0.6, "views": "auto", "features": "pooled", "bank": 20},
        SimCLRViews(0.5, True, 0.8, gray=0.6),
    ),
    "scan_step": (
        ScanStep, {"num_neighbors": 5, "entropy_weight": 3.0, "clusters": 4, "flip": True}, STRONG,
    ),
    "scan": (SelfLabel, {"threshold": 0.5, "clusters": 4, "flip": True}, CleanAndStrong(STRONG)),
    "rotation": (Rotation, {"crop_scale": 0.5, "flip": True}, CropFlipViews(0.5, True)),
    "inpainting": (Inpainting, {"hole": 0.5, "masks": 3, "flip": True}, CropFlipViews(None, True)),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_views_are_those_of_the_settings(name: str) -> None:
    kind, settings, wanted = MADE[name]
    module: Any = kind(COLOR, 0, **RECIPE, **settings)  # type: ignore[call-arg]
    raw = torch.randint(0, 256, (30, 3, 12, 12), dtype=torch.uint8)
    given = raw, torch.arange(30), 7
    torch.testing.assert_close(module.views(*given), wanted(*given))
    if name == "simclr":
        fixed = FixedViews(["flip", "blur", "jitter", "gray"], 0.8, 0.5)
        torch.testing.assert_close(module._fixed(*given), fixed(*given))


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("model", ["simclr", "scan"])
def test_training_sees_the_models_views(model: str, train: Train) -> None:
    artifact = train(model)
    module, context = module_of(artifact), context_of(artifact)
    datamodule = data_of(module, context)
    assert (datamodule.batch_size, datamodule.drop_last) == (256, model == "simclr")
    pixels, indices = context.images.train.take(np.arange(20)), torch.arange(20)
    assert module.views is not None
    wanted = module.views(pixels, indices, Seeds(0).stream("augmentation", 3))
    assert len(wanted) == 40
    torch.testing.assert_close(datamodule.view(pixels, indices, 3).images, wanted)


def test_partners_are_drawn_anew_in_each_epoch() -> None:
    neighbors = np.tile(np.arange(100, 120), (40, 1))
    batches = PartnerBatches(TrainBatches(np.arange(40), 40, Seeds(0), 0), neighbors)
    drawn = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        anchors, partners = np.split(next(iter(batches)), 2)
        drawn.append(partners[np.argsort(anchors)])
    assert (drawn[0] == drawn[1]).mean() < 0.3


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("model", ["simclr", "scan"])
def test_monitors_are_of_this_models_features_and_clusters(model: str, train: Train) -> None:
    """Test images by all train images; clusters of either part by its own labels."""
    artifact, opened = train(model), Digits().open()
    assert opened.test is not None
    truth = {"train": opened.train.labels, "test": opened.test.labels}
    rows = [
        torch.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x
        for p in ("train", "test") for x in (np.array(artifact.features(p)), truth[p])
    ]  # fmt: skip
    wanted = {"knn/acc": knn_accuracy(*rows, 10)}  # type: ignore[arg-type]
    if model == "scan":
        wanted |= clustering_metrics(artifact.column("cluster"), truth["train"])
    told = artifact.record["metrics"]
    for name, value in wanted.items():
        assert told[name] == pytest.approx(value, abs=1e-6), name
        assert artifact.record["history"][-1][name] == pytest.approx(value, abs=0.01), name


def test_clusters_are_measured_by_superclasses_and_features_by_classes() -> None:
    """CIFAR-100's 100 classes are 20 of them."""
    labels, above = np.arange(80) % 4, [1, 0, 1, 0]
    part = Part([str(i) for i in range(80)], labels, (1, 2, 2), None, None)
    features = np.eye(4, dtype=np.float32)[labels]
    table = SimpleNamespace(columns={"cluster": np.array(above)[labels]}, features=features)
    context: Any = SimpleNamespace(
        images=Images("x", part, part, ("a", "b", "c", "d"), ""), superclasses=above,
        devices=SimpleNamespace(kind="cpu"),
    )  # fmt: skip
    told = measure({"train": table, "test": table}, context)  # type: ignore[dict-item]
    assert set(told.values()) == {1.0}
    context.superclasses = None
    told = measure({"train": table, "test": table}, context)  # type: ignore[dict-item]
    assert told["knn/acc"] == 1
    assert told["cluster/acc"] == told["cluster/acc_test"] == 0.5
