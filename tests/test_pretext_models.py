"""The contract of every pretext model. A new model adds one row to `MODELS`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from datamodules.sources import Digits, Opened
from pretext.inpainting import Inpainting
from pretext.making import data_of, score_all
from pretext.module import PretextModule
from pretext.request import model_type
from pretext.rotation import Rotation
from pretext.simclr import SimCLR
from pretext.vae import VAE
from tests.pretext_artifacts import (
    EPOCHS,
    TEST,
    TRAIN,
    Train,
    command,
    context_of,
    module_of,
    numbers,
    trained,
)

pytestmark = pytest.mark.usefixtures("elsewhere")

MODELS: dict[str, set[str]] = {  # the columns that each leaves
    "simclr": {"score", "alignment", "density"},
    "vae": {"score", "error", "kl", "loss"},
    "kmeans": {"cluster", "distance"},
    "scan": {"cluster", "confidence", "cluster_scan"},
    "rotation": {"score", "accuracy"},
    "inpainting": {"score"},
    "deepcluster": {"cluster", "distance"},
}
KEYS = {
    "model", "config", "inputs", "data", "fingerprint", "recipe", "parents", "seed", "packages",
    "hardware", "wall_seconds", "train_seconds", "metrics", "history", "sha256",
}  # fmt: skip


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(k) is str and is_plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize("model", MODELS)
def test_what_a_model_leaves(model: str, train: Train) -> None:
    artifact = train(model)
    record, table, columns = artifact.record, artifact.samples, numbers(artifact)
    kind = model_type(record["config"])
    assert record.keys() >= KEYS
    assert artifact.name == f"{model}-{record['fingerprint']}"
    epochs = record["config"].get("max_epochs", 0)
    assert len(record["history"]) == epochs == EPOCHS * trained(model)[0]
    assert all(np.isfinite(row["train/loss"]) for row in record["history"])
    assert 0.3 < record["metrics"]["knn/acc"] <= 1
    assert ("cluster/ari_test" in record["metrics"]) == ("clusters" in kind.leaves)

    assert table.column_names[:2] == ["id", "index"]
    assert table["id"].to_pylist() == [f"train/{i:05d}" for i in range(TRAIN)]
    assert table["index"].to_pylist() == list(range(TRAIN))
    assert columns.keys() == MODELS[model]
    assert ("score" in columns) == ("scores" in kind.leaves)
    assert ("cluster" in columns) == ("clusters" in kind.leaves)
    for name, values in columns.items():
        whole = pa.types.is_integer(table.schema.field(name).type)
        assert whole == name.startswith("cluster")
        assert np.isfinite(values).all()
        assert len(np.unique(values)) > 1, f"{name} is constant"
    if "cluster" in columns:
        assert columns["cluster"].min() >= 0
        assert columns["cluster"].max() < 10

    parts = {"features.npy": TRAIN, "features_test.npy": TEST}
    for name, count in parts.items():
        features = np.load(artifact.path / name)
        assert features.dtype == np.float32
        assert features.shape == (count, features.shape[1])
        assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-5)
        assert features.std(axis=0).max() > 1e-3, "all images have the same features"
    assert record["sha256"].keys() == {"model.ckpt", "samples.parquet", *parts}
    for name, digest in record["sha256"].items():
        assert hashlib.sha256((artifact.path / name).read_bytes()).hexdigest() == digest
    assert {f.name for f in artifact.path.iterdir()} == {*record["sha256"], "record.json"}

    checkpoint = torch.load(artifact.path / "model.ckpt", weights_only=True)
    assert is_plain(checkpoint["hyper_parameters"])
    assert json.loads(json.dumps(checkpoint["hyper_parameters"]))["inputs"] == record["inputs"]


@pytest.mark.parametrize("model", MODELS)
def test_a_second_time_it_is_found(model: str, train: Train) -> None:
    folder = train(model).path.parent
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*") if ".lock" not in f.name}
    again = command(model, folder.parent)
    assert again.status == 0
    assert f"found {train(model).path}" in again.out
    assert "to be" not in again.out
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*") if ".lock" not in f.name} == before


@pytest.mark.parametrize("model", MODELS)
def test_a_loaded_checkpoint_says_the_same(model: str, train: Train) -> None:
    """In batches of another size; nothing that scoring needs is missing from the checkpoint."""
    artifact = train(model)
    context, module = context_of(artifact, eval_batch_size=301), module_of(artifact)
    tables = score_all(module, data_of(module, context), context.devices)
    for part in ("train", "test"):
        again = tables[part].features
        np.testing.assert_allclose(again, artifact.features(part), atol=1e-4)
    for name, values in numbers(artifact).items():
        again = tables["train"].columns[name]
        if name.startswith("cluster"):
            assert (again == values).mean() > 0.995, "but for ties"
        else:
            np.testing.assert_allclose(again, values, atol=1e-4, rtol=1e-4)


def shuffle_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the fixed split, so that the images are the same in either part."""
    original = Digits.open

    def shuffled(self: Digits) -> Opened:
        opened, rng = original(self), np.random.default_rng(0)
        assert opened.test is not None
        train, test = (
            replace(raw, labels=rng.permutation(raw.labels)) for raw in (opened.train, opened.test)
        )
        return replace(opened, train=train, test=test)

    monkeypatch.setattr(Digits, "open", shuffled)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_bits_whatever_the_labels(
    model: str, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels are shuffled the second time: monitors fall to chance, and nothing else changes."""
    first = train(model)
    shuffle_labels(monkeypatch)
    second = train(model, "shuffled")
    assert second.path != first.path
    assert second.record["metrics"]["knn/acc"] < 0.2 < first.record["metrics"]["knn/acc"]
    assert second.name == first.name
    assert second.samples.equals(first.samples)
    for part in ("train", "test"):
        assert np.array_equal(second.features(part), first.features(part))
    weights = module_of(second).state_dict()
    for name, value in module_of(first).state_dict().items():
        assert torch.equal(weights[name], value), name
    losses = [[row["train/loss"] for row in a.record["history"]] for a in (first, second)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("model", MODELS)
def test_another_seed_gives_other_numbers(model: str, train: Train) -> None:
    first, other = train(model), train(model, "first", "--seed", "1")
    assert other.name != first.name
    assert other.record["seed"] == 1
    for name, values in numbers(other).items():
        assert not np.array_equal(values, numbers(first)[name]), name
    assert np.abs(other.features() - first.features()).max() > 0.01


@pytest.mark.parametrize("model", MODELS)
def test_images_without_labels(model: str, train: Train, loose: Path) -> None:
    settings = ["--data", "folder", "--data.root", str(loose), "--data.size", "16"]
    artifact = train(model, "loose", *settings, "--data.recipe.width", "16", epochs=1)
    assert artifact.samples["id"].to_pylist() == [f"{i:03d}.png" for i in range(60)]
    assert all(np.isfinite(values).all() for values in numbers(artifact).values())
    assert artifact.features().shape[0] == 60
    assert not (artifact.path / "features_test.npy").exists()
    assert artifact.record["metrics"] == {}
    logged = set().union(*artifact.record["history"])
    assert not {name for name in logged if name.startswith(("knn", "cluster"))}
    if "cluster" in artifact.samples.column_names:
        assert artifact.column("cluster").max() < 10  # type: ignore[union-attr]


@pytest.mark.parametrize("model", ["simclr", "rotation", "inpainting", "vae"])
def test_weights_that_are_not_numbers_leave_no_artifact(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_weights(self: PretextModule, datamodule: Any) -> None:
        for parameter in self.parameters():
            parameter.fill_(float("nan"))

    for kind in (SimCLR, Rotation, Inpainting, VAE):
        monkeypatch.setattr(kind, "finish", break_weights)
    finished = command(model, tmp_path / "a", epochs=0)
    assert finished.status == 2
    assert f"score is not finite for {TRAIN} of {TRAIN} images, first train/00000" in finished.err
    assert not list((tmp_path / "a" / "digits").glob(f"{model}-*"))


def test_the_first_sample_that_is_not_finite_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Rotation.columns

    def infinite(self: Rotation, images: Tensor, indices: Tensor, *rest: Any) -> dict[str, Tensor]:
        columns = original(self, images, indices, *rest)
        columns["score"][torch.isin(indices, torch.tensor([707, 1001]))] = float("inf")
        return columns

    monkeypatch.setattr(Rotation, "columns", infinite)
    finished = command("rotation", tmp_path / "a", epochs=0)
    assert finished.status == 2
    assert f"score is not finite for 2 of {TRAIN} images, first train/00707" in finished.err
