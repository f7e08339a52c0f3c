"""Arms: from nothing to the first row with every init, and what a run says of its initial pool."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from math import log
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datamodules.draws import random_order
from datamodules.initial import equal_shares
from datamodules.seeds import Seeds
from datamodules.sources import Digits
from tests.conftest import only_run, rows_of, run, selected_of

SHORT = ("--cycles", "0", "--trainer.max_epochs", "1", "--logger", "csv")
TRAIN = Digits().open().train
LABELS = TRAIN.labels
# Each init with the settings that make its models small, and the model whose artifact it reads.
INITS: dict[str, tuple[str, str]] = {
    "random": ("", ""),
    "balanced": ("", ""),
    "pixel_floor": ("", ""),
    "simclr": ("--init.model.max_epochs 2", "simclr"),
    "vae": ("--init.model.max_epochs 2", "vae"),
    "rotation": ("--init.model.max_epochs 1", "rotation"),
    "inpainting": ("--init.model.max_epochs 1", "inpainting"),
    "kmeans": ("--init.model.parent.max_epochs 2", "kmeans"),
    "scan": (
        "--init.model.max_epochs 1 --init.model.parent.max_epochs 1 "
        "--init.model.parent.parent.max_epochs 2",
        "scan",
    ),
    "deepcluster": ("--init.model.max_epochs 1", "deepcluster"),
    "typiclust": ("--init.model.max_epochs 2", "simclr"),
    "kcenter": ("--init.model.max_epochs 2", "simclr"),
    "probcover": ("--init.model.max_epochs 2", "simclr"),
    "maxherding": ("--init.model.max_epochs 2", "simclr"),
    "shuffled": ("--init.model.max_epochs 2", "vae"),
    "histogram": ("--init.of.model.max_epochs 2", "vae"),
}
SCORED = ("simclr", "vae", "rotation", "inpainting")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose artifacts all inits share, with a run from a random pool."""
    folder = tmp_path_factory.mktemp("shared")
    assert run(folder, *SHORT, "--init", "random").status == 0
    return folder


def folder_of(shared: Path, init: str) -> Path:
    """The run of an init, made where it is not there yet."""
    settings = INITS[init][0].split()
    finished = run(shared, *SHORT, "--init", init, *settings)
    assert finished.status == 0, finished.err
    words = [f"{k.removeprefix('--init.').replace('.', '_')}{v}"
             for k, v in zip(settings[::2], settings[1::2], strict=True)]  # fmt: skip
    (found,) = (shared / "runs/single/digits").glob(f"{init}*/random/resnet18-max_epochs1/seed0")
    name = found.relative_to(shared / "runs/single/digits").parts[0]
    assert name.split("-")[0] == init
    assert sorted(name.split("-")[1:]) == sorted(words)
    return found


def artifact_of(shared: Path, init: str) -> Path | None:
    """The artifact that the init reads: that of the last stage that its settings ask for."""
    model = INITS[init][1]
    found = [f.parent for f in (shared / "artifacts/digits").glob(f"{model}-*/record.json")]
    return found[0] if len(found) == 1 else None


def entropy(counts: list[int]) -> float:
    total = sum(counts)
    return -sum(n / total * log(n / total) for n in counts if n)


def slow_herding(features: np.ndarray, left: np.ndarray, budget: int) -> list[int]:
    """Under exp(-distance^2), of the samples `left`; equal gains fall as the seed has it."""
    order = random_order(Seeds(0).stream("init"), left)
    x = features[order].astype(float)
    kernel = np.exp(-np.maximum(2 - 2 * x @ x.T, 0))
    cover, picks = np.zeros(len(x)), []
    for _ in range(budget):
        gains = np.maximum(kernel - cover[:, None], 0).sum(axis=0)
        gains[picks] = -1
        picks.append(int(gains.argmax()))
        cover = np.maximum(cover, kernel[:, picks[-1]])
    return order[picks].tolist()


@pytest.mark.parametrize("init", INITS)
def test_from_nothing_to_a_described_pool(shared: Path, init: str) -> None:
    folder = folder_of(shared, init)
    assert [row["pool/labeled"] for row in rows_of(folder)] == [20]
    (pool,) = selected_of(folder)
    validation = pq.read_table(folder / "validation.parquet")["index"].to_pylist()
    assert len(set(pool)) == 20
    assert not set(pool) & set(validation)
    described = json.loads((folder / "cycle_0/pool.json").read_text())
    (by_chance,) = selected_of(folder_of(shared, "random"))
    counts = Counter(int(LABELS[i]) for i in pool)
    assert described["size"] == 20
    assert described["overlap_random"] == sum(i in by_chance for i in pool)
    assert described["overlap_expected"] == pytest.approx(400 / 1290)
    assert described["class_counts"] == [counts[c] for c in range(10)]
    assert described["class_entropy"] == pytest.approx(entropy(list(counts.values())))
    sheet = np.asarray(Image.open(folder / "cycle_0/contact_sheet.png"))
    assert sheet.shape == (3 * 50, 8 * 50, 3)  # 20 images of 8 pixels, each 6 wide, and a border
    for place, index in enumerate(pool):
        row, column = divmod(place, 8)
        shown = sheet[row * 50 + 1 : row * 50 + 49, column * 50 + 1 : column * 50 + 49]
        image = TRAIN.decoder(np.array([index]))[0, 0]
        enlarged = np.kron(image, np.ones((6, 6), np.uint8))
        assert all(np.array_equal(shown[:, :, channel], enlarged) for channel in range(3))
    assert (sheet[100:, 200:] == 255).all()
    artifact, scores = artifact_of(shared, init), None
    assert (artifact is not None) == bool(INITS[init][1])
    selected = pq.read_table(folder / "cycle_0/selected.parquet")["score"].to_numpy()
    if artifact is not None:
        table = pq.read_table(artifact / "samples.parquet")
        scores = table["score"].to_numpy() if "score" in table.column_names else None
    if scores is None:
        assert np.isnan(selected).all()
        assert "score_mean" not in described
    else:
        assert np.array_equal(selected, scores[pool].astype(float))
        assert described["score_mean"] == pytest.approx(sum(scores[i] for i in pool) / 20, rel=1e-5)
        assert described["score_mean_all"] == pytest.approx(float(np.mean(scores)), rel=1e-5)
    if init in SCORED:
        left = sorted(set(range(1433)) - set(validation), key=lambda i: -scores[i])
        assert pool == left[:20]
    left = np.setdiff1d(np.arange(1433), validation)
    if init in ("scan", "kmeans", "deepcluster"):
        clusters = table["cluster"].to_numpy()
        sizes, taken = (np.bincount(clusters[i], minlength=10) for i in (left, pool))
        assert sorted(taken) == sorted(equal_shares(sizes, 20))
    if init == "maxherding":
        assert artifact is not None
        assert pool == slow_herding(np.load(artifact / "features.npy"), left, 20)
    if init == "pixel_floor":
        pixels = (TRAIN.decoder(np.arange(1433)) / 255 - 0.3053) / 0.3764
        beyond = (np.maximum(np.abs(pixels) - 1, 0) ** 2).mean(axis=(1, 2, 3))
        assert beyond[pool].min() >= np.sort(beyond[left])[-20] - 1e-6
    if init == "shuffled":
        assert described["score_mean"] < np.sort(scores)[-20:].mean()


def test_histogram_has_the_classes_of_the_vaes_pool(shared: Path) -> None:
    pools = [selected_of(folder_of(shared, init))[0] for init in ("vae", "histogram")]
    assert [LABELS[i] for i in pools[0]] == [LABELS[i] for i in pools[1]]
    assert pools[0] != pools[1]


def test_an_unread_artifact_is_not_asked_for(shared: Path, tmp_path: Path) -> None:
    assert run(tmp_path, *SHORT, "--init", "pixel_floor").status == 0
    made = {p.name.strip(".").split("-")[0] for p in (tmp_path / "artifacts/digits").iterdir()}
    assert made == {"images", "cycle_0"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--init simclr --pretext.if_missing error", ["is not there", "forbids", "train.py"]),
        ("--init simclr --init.model kmeans", ["needs scores", "KMeans leaves clusters"]),
        ("--init kmeans --init.model simclr", ["needs clusters", "SimCLR leaves scores"]),
        ("--init histogram --init.of.model scan", ["needs scores", "SelfLabel leaves clusters"]),
        ("--init simclr --init.model.temperature 0", ["temperature must be positive"]),
        ("--init simclr --init.model vaee", ["'vaee'", "'vae'"]),
        ("--init simclr --init.model.lrr 1", ["'init.model.lrr'", "'init.model.lr'"]),
        ("--init simclr --init.order hard", ["hardest", "'hard'"]),
        ("--init simclr --pretext.seed x", ["pretext.seed", "'x'"]),
        ("--init simclr --pretext.if_missing no", ["pretext.if_missing", "train, error", "'no'"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: str, words: list[str]) -> None:
    finished = run(tmp_path, *SHORT, *arguments.split())
    assert finished.status == 2
    assert finished.err.startswith("error: ")
    assert finished.err.count("\n") == 1
    assert all(word in finished.err for word in words), finished.err
    assert not list(tmp_path.rglob("model.ckpt"))
    assert not list(tmp_path.rglob(".*.partial"))
    assert not list(tmp_path.rglob("cycles.jsonl"))


def planned(shared: Path, *arguments: str) -> tuple[str, str]:
    """The init's part of the run's folder, and the artifact, of a dry run."""
    finished = run(shared, *SHORT, "--init", "simclr", *arguments, "--dry-run")
    assert finished.status == 0, finished.err
    lines = finished.out.splitlines()
    artifact = lines[1].split("artifacts/digits/")[1].split(",")[0]
    return lines[0].split("/")[3], artifact


def test_the_pretext_seed_is_in_the_artifact_and_the_name(shared: Path) -> None:
    folder, artifact = planned(shared)
    assert folder == "simclr"
    assert planned(shared, "--seed", "1") == (folder, artifact)
    one = planned(shared, "--pretext.seed", "1")
    assert one[0] == "simclr-pretext1"
    assert one[1] != artifact
    tied = planned(shared, "--pretext.seed", "run", "--seed", "1")
    assert tied == ("simclr-pretextrun", one[1])


@pytest.mark.parametrize("file", ["samples.parquet", "features.npy", "model.ckpt"])
def test_a_damaged_artifact_is_refused_or_mended(shared: Path, tmp_path: Path, file: str) -> None:
    reference = folder_of(shared, "simclr")
    found = artifact_of(shared, "simclr")
    assert found is not None
    copied = tmp_path / found.relative_to(shared)
    shutil.copytree(found, copied)
    data = bytearray((copied / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / file).write_bytes(data)
    arguments = (*SHORT, "--init", "simclr", *INITS["simclr"][0].split())
    refused = run(tmp_path, *arguments, "--pretext.if_missing", "error")
    assert refused.status == 2
    assert f"{file} is damaged" in refused.err
    assert refused.err.count("\n") == 1
    if file == "samples.parquet":
        mended = run(tmp_path, *arguments)
        assert mended.status == 0, mended.err
        assert f"{file} is damaged" in mended.out + mended.err
        assert (copied / file).read_bytes() == (found / file).read_bytes()
        assert selected_of(only_run(tmp_path)) == selected_of(reference)


def test_a_finished_run_needs_its_artifact_no_more(shared: Path, tmp_path: Path) -> None:
    reference = folder_of(shared, "simclr")
    shutil.copytree(shared / "runs", tmp_path / "runs")
    arguments = (*SHORT, "--init", "simclr", *INITS["simclr"][0].split())
    finished = run(tmp_path, *arguments, "--pretext.if_missing", "error")
    assert finished.status == 0, finished.err
    assert "is finished" in finished.out
    assert not list(tmp_path.glob("artifacts/*/simclr-*"))
    assert rows_of(tmp_path / reference.relative_to(shared)) == rows_of(reference)
