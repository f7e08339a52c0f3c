"""Pretext models that leave clusters: SCAN and self-labeling, k-means, DeepCluster."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pretext.artifacts import Artifact
from pretext.deepcluster import DeepCluster
from pretext.kmeans import KMeans
from pretext.making import _new_module, data_of
from pretext.module import PretextModule
from pretext.scan import SelfLabel
from pretext.scan_step import ScanStep
from pretext.simclr import SimCLR
from tests.pretext_artifacts import EPOCHS, RECIPE, TRAIN, Train, command, context_of, module_of

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_no_sample_is_its_own_neighbor(train: Train) -> None:
    """Also where others are equal to it; the rest are the nearest by cosine."""
    parent = train("simclr")
    features = torch.from_numpy(np.array(parent.features())[:300])
    features[100:140] = features[:40]
    features[140:180] = features[0]
    arguments = {**parent.record["inputs"], "num_train": 300}
    module = ScanStep(
        arguments, 0, **RECIPE, clusters=None, num_neighbors=20, entropy_weight=5.0, flip=False
    )
    module.adopt(module_of(parent), module.search(features))
    for name, weight in module_of(parent).backbone.state_dict().items():
        assert torch.equal(module.backbone.state_dict()[name], weight), "it starts from SimCLR"
    neighbors = module.neighbors
    assert neighbors is not None
    assert neighbors.shape == (300, 20)
    cosines = (features.double() @ features.double().T).numpy()
    for i, row in enumerate(neighbors):
        assert i not in row
        assert len(set(row.tolist())) == 20
        others = np.delete(cosines[i], i)
        np.testing.assert_allclose(np.sort(cosines[i, row]), np.sort(others)[-20:], atol=1e-6)


def test_partners_are_neighbors(train: Train) -> None:
    """Anchors of a batch come first, then one neighbor of each."""
    parent = train("simclr")
    module = ScanStep(
        parent.record["inputs"], 0, **{**RECIPE, "batch_size": 128}, clusters=None,
        num_neighbors=20, entropy_weight=5.0, flip=False,
    )  # fmt: skip
    features = torch.from_numpy(np.array(parent.features()))
    module.adopt(module_of(parent), module.search(features))
    neighbors = module.neighbors
    assert neighbors is not None
    places = set()
    for batch in data_of(module, context_of(parent)).train_dataloader():
        anchors, partners = batch[0].numpy().reshape(2, -1)
        for anchor, partner in zip(anchors, partners, strict=True):
            places.add(neighbors[anchor].tolist().index(partner))
    assert places == set(range(20))


def test_self_labeling_remembers_the_clusters_before(train: Train) -> None:
    """Its parent's weights are kept as they were, batch norm's statistics too."""
    artifact = train("scan")
    (name,) = artifact.record["parents"]
    parent = Artifact(artifact.path.parent / name)
    assert parent.name.startswith("scan_step-")
    before = module_of(parent).state_dict()
    after = module_of(artifact).state_dict()
    kept = {k: v for k, v in before.items() if k.startswith(("backbone", "head"))}
    assert all(torch.equal(after[f"before.{k}"], v) for k, v in kept.items())
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert np.array_equal(artifact.column("cluster_scan"), parent.column("cluster"))
    assert artifact.record["history"][0]["train/loss"] > 0, "some samples are confident"


def test_self_labeling_starts_from_its_parent(train: Train) -> None:
    artifact = train("scan")
    (name,) = artifact.record["parents"]
    parent = module_of(Artifact(artifact.path.parent / name))
    module = SelfLabel(**module_of(artifact).hparams)
    module.adopt(parent, None)
    for key, weight in parent.state_dict().items():
        if key.startswith(("backbone", "head")):
            assert torch.equal(module.state_dict()[key], weight), key


def test_self_labeling_without_confident_samples_moves_no_weight(train: Train) -> None:
    artifact = train("scan", "unsure", "--model.threshold", "0.999999", epochs=1)
    assert artifact.record["history"][0]["train/loss"] == 0
    module = module_of(artifact)
    assert isinstance(module, SelfLabel)
    for name, before in module.before.named_parameters():
        assert torch.allclose(module.get_parameter(name), before, rtol=1e-6, atol=0), name


def test_kmeans_assigns_the_nearest_center(train: Train) -> None:
    artifact = train("kmeans")
    (name,) = artifact.record["parents"]
    features, centers = artifact.features(), module_of(artifact).centers.numpy()  # type: ignore[operator]
    assert np.array_equal(features, Artifact(artifact.path.parent / name).features())
    distances = np.linalg.norm(features[:, None].astype(float) - centers, axis=2)
    np.testing.assert_allclose(artifact.column("distance"), distances.min(axis=1), atol=1e-3)
    clusters = artifact.column("cluster")
    assert (clusters == distances.argmin(axis=1)).mean() > 0.995
    for k, center in enumerate(centers):
        np.testing.assert_allclose(center, features[clusters == k].mean(axis=0), atol=0.01)


@pytest.mark.parametrize("kind", [KMeans, ScanStep])
def test_only_rank_zero_searches_the_features(kind: type[PretextModule], train: Train) -> None:
    """Others are sent what it has found, and read no features."""
    parent = train("simclr")
    sent = np.full((10, 64) if kind is KMeans else (TRAIN, 20), 3)
    more = {"starts": 10} if kind is KMeans else {
        **RECIPE, "num_neighbors": 20, "entropy_weight": 5.0, "flip": False
    }  # fmt: skip
    new = kind(parent.record["inputs"], 0, clusters=None, **more)  # type: ignore[call-arg]
    devices = SimpleNamespace(kind="cpu", decide=lambda function: sent)
    stage: Any = SimpleNamespace(
        context=SimpleNamespace(devices=devices, seed=0),
        parent=SimpleNamespace(type=SimCLR),
        module=lambda: new,
    )
    made = _new_module(stage, parent)
    found = made.centers.numpy() if isinstance(made, KMeans) else made.neighbors
    assert np.array_equal(found, sent)


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_deepcluster_embeds_in_the_precision_of_its_training(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each epoch; what it leaves is of features in float32."""
    mixed: list[bool] = []
    plain = DeepCluster._embed_all

    def embed(self: DeepCluster, datamodule: Any) -> np.ndarray:
        mixed.append(torch.is_autocast_enabled("cpu"))
        return plain(self, datamodule)

    monkeypatch.setattr(DeepCluster, "_embed_all", embed)
    assert command("deepcluster", tmp_path, "--trainer.precision", precision).status == 0
    assert mixed == [precision == "bf16-mixed"] * EPOCHS + [False]


def test_deepcluster_scores_with_its_last_clusters(train: Train) -> None:
    """The clusters that it leaves are those that k-means found, not the head's."""
    artifact = train("deepcluster")
    module = module_of(artifact)
    assert isinstance(module, DeepCluster)
    assert (module.assignment.numpy() == artifact.column("cluster")).mean() > 0.995
    sizes = module.assignment.bincount(minlength=10)
    torch.testing.assert_close(module.weight, TRAIN / (10 * sizes.clamp_min(1).float()))
    white = module.whiten(torch.from_numpy(np.array(artifact.features())))
    centers = module.centers[torch.tensor(artifact.column("cluster"))]
    np.testing.assert_allclose(
        artifact.column("distance"), (white - centers).norm(dim=1), atol=1e-3
    )


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_deepcluster_with_more_clusters_than_there_are_groups(train: Train, tmp_path: Path) -> None:
    """Sixty files of three images: most of twenty clusters are empty, in each of its epochs."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    (tmp_path / "three").mkdir()
    for i in range(60):
        Image.fromarray(pixels[i % 3]).save(tmp_path / "three" / f"{i:03d}.png")
    artifact = train(
        "deepcluster", "three", "--data", "folder", "--data.root", str(tmp_path / "three"),
        "--data.size", "16", "--model.clusters", "20",
    )  # fmt: skip
    clusters = artifact.column("cluster")
    assert clusters is not None
    assert len(set(clusters.tolist())) == 3
    assert all(len(set(clusters[i::3].tolist())) == 1 for i in range(3))
    assert all(np.isfinite(row["train/loss"]) for row in artifact.record["history"])
    assert module_of(artifact).weight.isfinite().all()  # type: ignore[operator,union-attr]


def test_deepcluster_without_training(tmp_path: Path) -> None:
    assert command("deepcluster", tmp_path / "a", epochs=0).status == 0


def test_deepcluster_that_diverges_last(tmp_path: Path, loose: Path) -> None:
    finished = command(
        "deepcluster", tmp_path / "a", "--data", "folder", "--data.root", str(loose),
        "--data.size", "16", "--model.lr", "1e25", epochs=1,
    )  # fmt: skip
    assert finished.status == 2
    assert "training diverged" in finished.err
