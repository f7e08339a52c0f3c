"""Stages as a command asks for them: announced, refused in one sentence, on several devices."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from datamodules.sources import Digits
from tests.artifact_folder import only, record_of, whole
from tests.conftest import ROOT, run_cli, write_images
from tests.wandb_files import read_back

SIMCLR = (
    "--model", "simclr", "--model.max_epochs", "2", "--logger", "none", "--artifacts_dir", "X",
)  # fmt: skip


def listing(folder: Path) -> dict[str, int]:
    """Every file and folder below, with the time of its last change."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`command("--model", "vae")` runs pretext/train.py in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_cli("pretext", *arguments, "--artifacts_dir", "X")


@pytest.fixture(scope="module")
def simclr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished SimCLR of two epochs."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("simclr"))
        finished = run_cli("pretext", *SIMCLR)
        assert finished.status == 0, finished.err
        return Path.cwd()


def test_a_dry_run_writes_nothing(command: Callable[..., Any], tmp_path: Path) -> None:
    epochs = ("--model.max_epochs", "5", "--model.parent.max_epochs", "4")
    finished = command(
        "--model", "scan", *epochs, "--model.parent.parent.max_epochs", "3", "--dry-run"
    )
    assert finished.status == 0, finished.err
    stages = re.findall(r"to be trained: X/digits/(\w+)-\w{12}, (\d+) epochs, about", finished.out)
    assert stages == [("simclr", "3"), ("scan_step", "4"), ("scan", "5")]
    assert listing(tmp_path) == {}


def test_what_is_there_is_found(simclr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(simclr)
    before = listing(simclr)
    shared = ("--logger", "none", "--artifacts_dir", "X", "--dry-run")
    scan = run_cli("pretext", "--model", "scan", "--model.parent.parent.max_epochs", "2", *shared)
    lines = scan.out.splitlines()
    assert lines[0] == f"found X/digits/{only(simclr).name}"
    assert [re.sub(r".*digits/(\w+)-.*", r"\1", line) for line in lines[1:]] == [
        "scan_step", "scan",
    ]  # fmt: skip
    kmeans = run_cli("pretext", "--model", "kmeans", "--model.parent.max_epochs", "2", *shared)
    assert kmeans.out.splitlines()[0] == lines[0]
    assert re.fullmatch(r"to be made: X/digits/kmeans-\w{12}", kmeans.out.splitlines()[1])
    assert listing(simclr) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--model scan --model.parent vae", ["scan is built on scan_step", "not on vae"]),
        ("--model scan_step --model.parent vae", ["scan_step is built on", "not on vae"]),
        ("--model kmeans --model.parent kmeanz", ["'kmeanz'", "'kmeans'", "Allowed: deepcluster"]),
        ("--model simclr --model.parent vae", ["model.parent"]),
        ("--model simclrr", ["'simclrr'", "'simclr'", "Allowed: deepcluster"]),
        ("--model.temperature -1", ["temperature must be positive, not -1"]),
        ("--model.features pooledd", ["pooled or projection", "'pooledd'"]),
        ("--model.foo 3", ["'model.foo'", "model.temperature"]),
        ("--model.optimizer adagrad", ["sgd, adam", "'adagrad'"]),
        ("--model scan --model.parent.parent.bank x", ["SimCLR: bank", "a whole number", "'x'"]),
        ("--model kmeans --model.clusters 1", ["clusters must be at least 2"]),
        ("--pretext.if_missing eror", ["one of train, error", "'eror'"]),
        ("--trainer.precision half", ["bf16-mixed", "'half'"]),
        ("--score nowhere", ["nowhere", "does not exist"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(
    command: Callable[..., Any], tmp_path: Path, arguments: str, words: list[str]
) -> None:
    finished = command(*arguments.split())
    assert finished.status == 2
    assert finished.err.startswith("error: ")
    assert finished.err.count("\n") == 1
    assert all(word in finished.err for word in words), finished.err
    assert finished.out == ""
    cache = ("X/digits/images-", "X/digits/.images-")  # and its lock
    written = {name for name in listing(tmp_path) if not name.startswith(cache)}
    assert written <= {"X", "X/digits"}, "more than the cache of the images was written"


def test_images_without_labels(command: Callable[..., Any], tmp_path: Path) -> None:
    """No monitor, no metric; later a dry run finds what was made."""
    write_images(tmp_path / "pictures", 40)
    folder = (
        "--model", "kmeans", "--model.clusters", "3", "--model.parent.max_epochs", "1",
        "--model.parent.batch_size", "16", "--data", "folder", "--data.root", "pictures",
        "--data.size", "16", "--data.recipe.width", "8", "--logger", "csv",
    )  # fmt: skip
    planned = command(*folder, "--dry-run")
    assert planned.status == 0, planned.err
    assert not (tmp_path / "X").exists()
    finished = command(*folder)
    assert finished.status == 0, finished.err
    (artifact,) = (tmp_path / "X").glob("*/kmeans-*/")
    table = pq.read_table(artifact / "samples.parquet")
    assert table["id"].to_pylist() == sorted(p.name for p in (tmp_path / "pictures").iterdir())
    assert set(table["cluster"].to_pylist()) == {0, 1, 2}
    assert not (artifact / "features_test.npy").exists()
    assert record_of(artifact)["metrics"] == {}
    assert command(*folder, "--dry-run").out == f"found {artifact.relative_to(tmp_path)}\n"


def test_in_a_sweep_pretext_models_are_not_the_agents_run(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "swp1")
    monkeypatch.setenv("WANDB_RUN_ID", "agentrun")
    finished = command(*(a.replace("none", "csv,wandb") for a in SIMCLR[:-2]))
    assert finished.status == 0, finished.err
    logs = tmp_path / "X/digits/logs" / only(tmp_path).name
    assert (logs / "curves.csv").is_file()
    assert not (logs / "wandb").exists()


def test_wandb_has_the_curves_against_epochs(command: Callable[..., Any], tmp_path: Path) -> None:
    """Kept offline: no server is asked."""
    arguments = [a.replace("none", "wandb") for a in SIMCLR[:-2]]
    finished = command(*arguments)
    assert finished.status == 0, finished.err
    artifact = only(tmp_path)
    found, deadline = read_back(tmp_path / "X/digits/logs" / artifact.name), time.monotonic() + 60
    while len(found["history"]) < 4 and time.monotonic() < deadline:  # W&B flushes after it returns
        time.sleep(0.05)
        found = read_back(tmp_path / "X/digits/logs" / artifact.name)
    assert len(found["files"]) == 1
    assert {r.job_type for r in found["runs"]} == {"pretext"}
    history = record_of(artifact)["history"]
    for name in ("train/loss", "knn/acc"):
        assert found["axis"][name] == "epoch"
        logged = [(row["epoch"], row[name]) for row in found["history"] if name in row]
        assert logged == [(row["epoch"], pytest.approx(row[name])) for row in history]
        assert len(logged) == 2
    assert "wandb sync" in finished.out


def test_a_training_that_fails_ends_its_own_wandb_run(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    arguments = [a.replace("none", "wandb") for a in SIMCLR[:-2]]
    assert command(*arguments, "--model.lr", "1e30").status == 2
    assert command(*arguments).status == 0
    found = [read_back(logs) for logs in (tmp_path / "X/digits/logs").iterdir()]
    assert sorted(f["exits"] for f in found) == [[0], [1]]
    assert len({run.run_id for f in found for run in f["runs"]}) == 2


DDP = ("--trainer", "ddp", "--trainer.devices", "2", "--trainer.accelerator", "cpu")
KMEANS = (
    "--model", "kmeans", "--model.parent.max_epochs", "2", "--logger", "none",
    "--artifacts_dir", "X",
)  # fmt: skip


@pytest.fixture(scope="module")
def ddp(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """SimCLR trained and k-means made by two processes, and what they printed."""
    folder = tmp_path_factory.mktemp("ddp")
    command = [sys.executable, str(ROOT / "pretext/train.py"), *KMEANS, *DDP]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_two_processes_make_one_artifact(ddp: tuple[Path, str]) -> None:
    """1433 and 364 images in batches of 500: the ranks have 2 and 1 batches, then 1 and none."""
    folder, out = ddp
    simclr, kmeans = only(folder), only(folder, "kmeans")
    assert out.count("epoch 2/2") == 1
    assert out.splitlines()[-1] == str(kmeans.relative_to(folder))
    assert not list(folder.glob("X/digits/.*.partial"))
    images = Digits().open()
    for artifact in (simclr, kmeans):
        table, record = pq.read_table(artifact / "samples.parquet"), record_of(artifact)
        assert record["world_size"] == 2
        assert table["id"].to_pylist() == list(images.train.ids)
        assert table["index"].to_pylist() == list(range(1433))
        for part, rows in (("", 1433), ("_test", 364)):
            features = np.load(artifact / f"features{part}.npy")
            assert features.shape == (rows, 128)
            assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert len(np.unique(pq.read_table(simclr / "samples.parquet")["score"])) > 1400


@pytest.mark.parametrize("model", ["simclr", "kmeans"])
def test_one_process_scores_as_two(ddp: tuple[Path, str], tmp_path: Path, model: str) -> None:
    """From the weights that two processes left: bit for bit the same scores and clusters."""
    folder, _ = ddp
    scored = only(folder, model)
    for artifact in {only(folder), scored}:
        shutil.copytree(artifact, tmp_path / "X/digits" / artifact.name)
    partial = tmp_path / "X/digits" / f".{scored.name}.partial"
    (tmp_path / "X/digits" / scored.name).rename(partial)
    for file in partial.iterdir():
        if file.name != "model.ckpt":
            file.unlink()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path)
        finished = run_cli("pretext", *(SIMCLR if model == "simclr" else KMEANS))
    assert finished.status == 0, finished.err
    assert "epoch" not in finished.out.split(scored.name, 2)[-1]
    again = only(tmp_path, model)
    assert record_of(again)["world_size"] == 1
    for name in ("samples.parquet", "features.npy", "features_test.npy"):
        assert (again / name).read_bytes() == (scored / name).read_bytes(), name
    assert len(whole(tmp_path, model)) == 1
