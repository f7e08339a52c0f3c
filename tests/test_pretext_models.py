"""The contract of every pretext model. A new model adds one row to `MODELS`."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor

from datamodules.images import load_images
from datamodules.sources import Digits, Opened
from pretext.artifacts import Artifact
from pretext.deepcluster import DeepCluster
from pretext.devices import Devices
from pretext.inpainting import Inpainting
from pretext.making import data_of, load, predict, score_all
from pretext.module import PretextModule
from pretext.request import Context, model_type
from pretext.rotation import Rotation
from pretext.scan_step import ScanStep
from pretext.simclr import SimCLR
from pretext.vae import VAE
from tests.conftest import Finished, run_cli, write_images
from tests.test_pretext_units import RECIPE

Train = Callable[..., Artifact]

# Generations of models that are trained, its own first, and the columns that each leaves.
MODELS: dict[str, tuple[list[bool], set[str]]] = {
    "simclr": ([True], {"score", "alignment", "density"}),
    "vae": ([True], {"score", "error", "kl", "loss"}),
    "kmeans": ([False, True], {"cluster", "distance"}),
    "scan": ([True, True, True], {"cluster", "confidence", "cluster_scan"}),
    "rotation": ([True], {"score", "accuracy"}),
    "inpainting": ([True], {"score"}),
    "deepcluster": ([True], {"cluster", "distance"}),
}
TRAIN, TEST = 1433, 364  # digits
EPOCHS = 2
KEYS = {
    "model", "config", "inputs", "data", "fingerprint", "recipe", "parents", "seed", "packages",
    "hardware", "wall_seconds", "train_seconds", "metrics", "history", "sha256",
}  # fmt: skip


def words(model: str, epochs: int) -> list[str]:
    """`--model kmeans --model.parent.max_epochs 2`: so many epochs for all its generations."""
    flags = ["--model." + "parent." * i + "max_epochs" for i in range(3)]
    chosen = itertools.compress(flags, MODELS[model][0])
    settings = ["--model.threshold", "0.15"] if model == "scan" else []  # some are confident
    return ["--model", model, *settings, *itertools.chain(*((f, str(epochs)) for f in chosen))]


def command(model: str, folder: Path, *more: str, epochs: int = EPOCHS) -> Finished:
    return run_cli(
        "pretext", *words(model, epochs), "--artifacts_dir", str(folder), "--logger", "none",
        "--data.recipe.width", "8", *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """`train("vae", "again", "--seed", "1")`: an artifact in the folder `again`, made once."""
    root = tmp_path_factory.mktemp("pretext")

    def make(model: str, folder: str = "first", *more: str, epochs: int = EPOCHS) -> Artifact:
        finished = command(model, root / folder, *more, epochs=epochs)
        assert finished.status == 0, finished.err
        return Artifact(Path(finished.out.splitlines()[-1]))

    return make


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def module_of(artifact: Artifact) -> PretextModule:
    return load(artifact.path / "model.ckpt", model_type(artifact.record["config"]))


def context_of(artifact: Artifact, **settings: Any) -> Context:
    folder = artifact.path.parent.parent
    devices = Devices(accelerator="cpu", threads=1, width=8)
    images, inputs = load_images(Digits(), folder), artifact.record["inputs"]
    seed = artifact.record["seed"]
    return Context("digits", images, inputs, seed, folder, devices, **settings)


def numbers(artifact: Artifact) -> dict[str, np.ndarray]:
    table = artifact.samples
    return {n: table[n].to_numpy() for n in table.column_names if n not in ("id", "index")}


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
    assert len(record["history"]) == epochs == EPOCHS * MODELS[model][0][0]
    assert all(np.isfinite(row["train/loss"]) for row in record["history"])
    assert 0.3 < record["metrics"]["knn/acc"] <= 1
    assert ("cluster/ari_test" in record["metrics"]) == ("clusters" in kind.leaves)

    assert table.column_names[:2] == ["id", "index"]
    assert table["id"].to_pylist() == [f"train/{i:05d}" for i in range(TRAIN)]
    assert table["index"].to_pylist() == list(range(TRAIN))
    assert columns.keys() == MODELS[model][1]
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


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loose")
    write_images(folder, 60)
    return folder


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


# --- SimCLR ------------------------------------------------------------------------------------


@pytest.fixture
def banked(train: Train) -> Artifact:
    """SimCLR with a bank of 200 images: some images are in it, most are not."""
    return train("simclr", "first", "--model.bank", "200")


def test_the_bank_holds_clean_images(banked: Artifact) -> None:
    module, images = module_of(banked), context_of(banked).images
    assert isinstance(module, SimCLR)
    members = module.members.numpy()
    assert len(set(members.tolist())) == 200
    assert members.max() > TRAIN - 100, "drawn from all of the train part"
    with torch.no_grad():
        pixels = images.train.take(members).float() / 255
        expected = module.project(module.backbone(module.standardize(pixels)))
    torch.testing.assert_close(module.bank, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch_size", ["1", "50", "1433"])
def test_the_score_depends_on_no_batch(batch_size: str, banked: Artifact) -> None:
    module = module_of(banked)
    rows = np.random.default_rng(0).permutation(TRAIN)[:60]
    images = context_of(banked).images.train.take(rows).float() / 255
    indices = torch.from_numpy(rows)
    for part in torch.arange(60).split(int(batch_size)):
        with torch.no_grad():
            embedding = module.embed(images[part])
            columns = module.columns(images[part], indices[part], embedding, True)
        for name, values in columns.items():
            expected = numbers(banked)[name][rows[part]]
            np.testing.assert_allclose(values, expected, atol=1e-4)


def test_members_of_the_bank_do_not_look_hard(banked: Artifact) -> None:
    """They would if each were among its own negatives: `seen=False` shows what that does."""
    module, score = module_of(banked), numbers(banked)["score"]
    assert isinstance(module, SimCLR)
    assert score.std() > 0.01
    member = np.isin(np.arange(TRAIN), module.members)
    hardest = np.argsort(score)[-TRAIN // 10 :]
    expected = member.mean() * len(hardest)
    assert abs(member[hardest].sum() - expected) < 3 * np.sqrt(expected)

    images = context_of(banked).images.train.take(np.arange(TRAIN)).float() / 255
    indices = torch.arange(TRAIN)
    with torch.no_grad():
        columns = [
            module.columns(images[rows], indices[rows], module.embed(images[rows]), False)
            for rows in indices.split(500)
        ]
    kept = torch.cat([part["score"] for part in columns]).numpy()
    assert (kept - score)[member].min() > 0
    np.testing.assert_allclose(kept[~member], score[~member], atol=1e-4)


def test_a_new_image_is_in_no_bank(banked: Artifact) -> None:
    """Its index is that of a train image, which may be in the bank; here it is one."""
    module, context = module_of(banked), context_of(banked)
    assert isinstance(module, SimCLR)
    table = predict(module, data_of(module, context), context.devices, "new")
    with torch.no_grad():
        pixels = context.images.train.take(np.arange(TRAIN)).float() / 255
        z = module.project(module.backbone(module.standardize(pixels)))
    density = (z @ module.bank.T / module.temperature).logsumexp(dim=1)
    np.testing.assert_allclose(table.columns["density"], density, atol=1e-3)
    assert (table.columns["density"] - numbers(banked)["density"])[module.members].min() > 0


def test_of_the_test_part_only_clusters_are_kept(banked: Artifact) -> None:
    module, context = module_of(banked), context_of(banked)
    tables = score_all(module, data_of(module, context), context.devices)
    assert set(tables["train"].columns) == {"score", "alignment", "density"}
    assert not tables["test"].columns
    assert len(tables["test"].features) == TEST


# --- the others --------------------------------------------------------------------------------


def test_the_vae_holds_images_out(train: Train) -> None:
    """A share of .05 is never trained on; it is scored, and has a loss of its own."""
    artifact = train("vae")
    module, context = module_of(artifact), context_of(artifact)
    assert isinstance(module, VAE)
    datamodule = data_of(module, context)
    assert len(datamodule.held_out) == 71
    trained = np.concatenate(list(datamodule.train_dataloader().sampler))  # type: ignore[call-overload]
    assert sorted(trained) == sorted({*range(TRAIN)} - {*datamodule.held_out})
    assert module.kl_weight == pytest.approx(200 / (TRAIN - 71))
    assert all(np.isfinite(row["val/loss"]) for row in artifact.record["history"])
    columns = numbers(artifact)
    assert np.array_equal(columns["score"], columns["error"])
    loss = columns["error"] + module.kl_weight * columns["kl"]
    np.testing.assert_allclose(columns["loss"], loss, rtol=1e-5)


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
    module.adopt(module_of(parent), features)
    neighbors = module.neighbors()
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
    module.adopt(module_of(parent), torch.from_numpy(np.array(parent.features())))
    neighbors = module.neighbors()
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


@pytest.mark.parametrize("bank", ["-5", "0", "1"])
def test_a_bank_needs_two_images(bank: str, tmp_path: Path) -> None:
    finished = command("simclr", tmp_path / "a", "--model.bank", bank, epochs=0)
    assert finished.status == 2
    assert "bank must be at least 2" in finished.err


def test_deepcluster_without_training(tmp_path: Path) -> None:
    assert command("deepcluster", tmp_path / "a", epochs=0).status == 0


def test_deepcluster_that_diverges_last(tmp_path: Path, loose: Path) -> None:
    finished = command(
        "deepcluster", tmp_path / "a", "--data", "folder", "--data.root", str(loose),
        "--data.size", "16", "--model.lr", "1e25", epochs=1,
    )  # fmt: skip
    assert finished.status == 2
    assert "training diverged" in finished.err
