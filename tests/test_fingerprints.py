"""Which settings and pixels change the fingerprint of an artifact, and which do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def fingerprint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """That of a command's artifact; nothing is trained."""
    from conf.cli import expand, parse
    from pretext import setup
    from pretext.job import _stage
    from pretext.setup import pretext_devices

    caches = str(tmp_path_factory.mktemp("caches"))
    setup._images.cache_clear()

    def of(*arguments: str) -> str:
        place = () if "--artifacts_dir" in arguments else ("--artifacts_dir", caches)
        (job,) = expand("pretext", parse([*arguments, *place], "pretext"))
        devices = pretext_devices(job.config.trainer, job.config.data)
        return _stage(job, devices).fingerprint

    return of


@pytest.mark.parametrize(
    "change",
    [
        "--model.temperature 0.2", "--model.max_epochs 31", "--model.features projection",
        "--model.bank 100", "--pretext.seed 1", "--data.imbalance 5", "--data.mean [0.5]",
        "--data.recipe.width 8", "--trainer.precision bf16-mixed",
    ],
)  # fmt: skip
def test_fingerprint_changes_with(fingerprint: Callable[..., str], change: str) -> None:
    assert fingerprint(*change.split()) != fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        "--artifacts_dir elsewhere", "--data.workers 2", "--data.eval_batch_size 7",
        "--logger none", "--logger wandb", "--trainer.threads 2", "--trainer.val_checks 1",
        "--pretext.if_missing error", "--trainer.timeout_hours 1", "--data.in_memory false",
        "--data.clusters 20",
    ],
)  # fmt: skip
def test_fingerprint_does_not_change_with(
    fingerprint: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fingerprint(*change.split()) == fingerprint()


def test_a_number_of_clusters_is_of_models_that_make_them(
    fingerprint: Callable[..., str],
) -> None:
    kmeans = ("--model", "kmeans")
    assert fingerprint(*kmeans, "--data.clusters", "20") != fingerprint(*kmeans)
    typed = fingerprint(*kmeans, "--model.clusters", "20")
    assert fingerprint(*kmeans, "--data.clusters", "20") == typed
    null = fingerprint(*kmeans, "--model.clusters", "null")
    assert null not in (typed, fingerprint(*kmeans))
    of_classes = fingerprint(*kmeans, "--model.clusters", "null", "--data.clusters", "20")
    assert of_classes == null


def test_fingerprint_of_a_stage_holds_its_parents(fingerprint: Callable[..., str]) -> None:
    scan = ("--model", "scan")
    others = [
        (), ("--model.threshold", "0.9"), ("--model.parent.num_neighbors", "5"),
        ("--model.parent.parent.temperature", "0.2"),
    ]  # fmt: skip
    assert len({fingerprint(*scan, *other) for other in others}) == len(others)


def test_fingerprint_changes_with_the_pixels_of_a_folder(
    fingerprint: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.conftest import write_images

    monkeypatch.chdir(tmp_path)
    folder = ("--data", "folder", "--data.root", "pictures", "--data.size", "16")
    write_images(tmp_path / "pictures", 12, seed=1)
    first = fingerprint(*folder, "--artifacts_dir", "a")
    write_images(tmp_path / "pictures", 12, seed=2)
    assert fingerprint(*folder, "--artifacts_dir", "b") != first
