"""That a run is given what is its own: the lines between parts that are tested by themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from datamodules import sources
from pretext.setup import inputs_of
from tests.conftest import TINY, Finished, rows_of, selected_of, write_images

Cli = Callable[..., Finished]
ONE = (*TINY, "--cycles", "0", "--trainer.max_epochs", "1")


def runs_under(folder: Path, pattern: str = "**") -> list[Path]:
    return sorted(f.parent for f in folder.glob(f"{pattern}/cycles.jsonl"))


@pytest.mark.parametrize("change", [("--data.crop", "2"), ("--data.flip", "true")])
def test_the_classifiers_images_are_augmented(cli: Cli, tmp_path: Path, change: tuple) -> None:
    assert cli(*ONE, "--runs_dir", "plain").status == 0
    assert cli(*ONE, "--runs_dir", "changed", *change).status == 0
    plain, changed = (rows_of(runs_under(tmp_path / name)[0])[0] for name in ("plain", "changed"))
    assert plain["train/loss"] != changed["train/loss"]


def test_pools_of_one_process_are_those_of_their_own_models(cli: Cli, tmp_path: Path) -> None:
    made = cli(*ONE, "--init", "vae", "--init.model.max_epochs", "1", "--pretext.seed", "0,1", "-m")
    assert made.status == 0, made.err
    pools = []
    for run in runs_under(tmp_path):
        seed = 1 if "pretext1" in run.as_posix() else 0
        (pool,) = selected_of(run)
        (scores,) = (s for s in scores_of(tmp_path) if s[0] == seed)
        validation = pq.read_table(run / "validation.parquet")["index"].to_numpy()
        left = np.setdiff1d(np.arange(1433), validation)
        assert pool == left[np.argsort(-scores[1][left], kind="stable")][:20].tolist()
        pools.append(pool)
    assert len(pools) == 2
    assert pools[0] != pools[1]


def scores_of(folder: Path) -> list[tuple[int, np.ndarray]]:
    """The pretext seed and scores of each artifact."""
    found = (folder / "artifacts/digits").glob("vae-*")
    return [
        (
            json.loads((f / "record.json").read_text())["seed"],
            pq.read_table(f / "samples.parquet")["score"].to_numpy(),
        )
        for f in found
    ]


def test_a_file_that_changed_makes_another_pool(cli: Cli, tmp_path: Path) -> None:
    pools = []
    for start, name in ((20, "one"), (100, "two")):
        lines = "\n".join(f"train/{i:05d}" for i in range(start, start + 60))
        (tmp_path / "pool.txt").write_text(lines + "\n")
        made = cli(*ONE, "--init", "file", "--init.path", "pool.txt", "--runs_dir", name)
        assert made.status == 0, made.err
        pools.append(selected_of(runs_under(tmp_path / name)[0])[0])
    assert set(pools[0]) < set(range(20, 80))
    assert set(pools[1]) < set(range(100, 160))


def test_a_cycle_0_is_shared_by_those_of_its_images_and_v(cli: Cli, tmp_path: Path) -> None:
    """Here L0 is the same: of another V, or of another folder's images, it is not shared."""
    for i, name in enumerate(("a", "b")):
        for label in ("x", "y"):
            write_images(tmp_path / name / label, 20, seed=10 * i + ord(label))
    folder = (
        *ONE, "--data", "folder", "--data.size", "8", "--init_budget", "6", "--budget", "4",
        "--learner.width", "4",
    )  # fmt: skip
    assert cli(*folder, "--data.root", "a").status == 0
    assert cli(*folder, "--data.root", "b").status == 0
    assert len(list(tmp_path.glob("artifacts/folder/cycle_0-*"))) == 2

    (tmp_path / "pool.txt").write_text("".join(f"train/{i:05d}\n" for i in range(1433)))
    made = cli(*ONE, "--init", "file", "--init.path", "pool.txt", "--seeds.split", "1,2,3",
               "--init_budget", "4", "-m")  # fmt: skip
    assert made.status == 0, made.err
    pools = [tuple(selected_of(run)[0]) for run in runs_under(tmp_path, "**/digits*/**")]
    assert len(pools) == 3
    assert len(set(pools)) < 3, "two splits leave the same first images"
    assert len(list(tmp_path.glob("artifacts/digits/cycle_0-*"))) == 3


def test_each_cycle_starts_from_weights_of_its_own(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from active.classifier import Classifier

    starts: list[torch.Tensor] = []

    def first(self: Classifier) -> None:
        starts.append(self.head.weight.detach().clone())

    monkeypatch.setattr(Classifier, "on_train_start", first)
    assert cli(*TINY).status == 0
    assert len(starts) == 3
    assert not any(torch.equal(a, b) for a, b in zip(starts, [*starts[1:], starts[0]], strict=True))


def test_a_learners_model_has_the_learners_seed(cli: Cli) -> None:
    told = cli(
        *ONE, "--learner", "linear", "--init", "simclr", "--pretext.seed", "1",
        "--learner.pretext_seed", "2", "--dry-run",
    )  # fmt: skip
    same = cli(
        *ONE, "--learner", "linear", "--init", "simclr", "--pretext.seed", "2",
        "--learner.pretext_seed", "2", "--dry-run",
    )  # fmt: skip
    models = [set(words(finished.out)) for finished in (told, same)]
    assert len(models[0]) == 2
    assert len(models[1]) == 1
    assert models[1] < models[0]


def words(text: str) -> list[str]:
    return [w.strip(",") for w in text.split() if "artifacts/digits/simclr-" in w]


def test_statistics_and_parts_are_those_of_the_train_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision's readers with two unlike parts."""
    from torchvision import datasets

    def reader(root: str, train: bool, download: bool) -> Any:
        shade = np.arange(3, dtype=np.uint8) + (100 if train else 200)
        data = np.broadcast_to(shade, (10 if train else 4, 5, 7, 3)).copy()
        data[:, 0, 1] = 9
        labels = [i % 2 for i in range(len(data))]
        return SimpleNamespace(data=data, targets=labels, classes=["a", "b"])

    monkeypatch.setattr(datasets, "CIFAR10", reader)
    opened = sources.CIFAR(str(tmp_path)).open()
    assert opened.test is not None
    assert (len(opened.train.ids), len(opened.test.ids)) == (10, 4)
    for part, shade in ((opened.train, 100), (opened.test, 200)):
        image = part.decoder(np.array([1]))[0]
        assert image.shape == (3, 5, 7)
        assert image[:, 4, 6].tolist() == [shade, shade + 1, shade + 2]
        assert image[:, 0, 1].tolist() == [9, 9, 9]
    data = SimpleNamespace(
        mean=None, std=None, recipe=SimpleNamespace(width=8, stem=3, max_pool=False)
    )
    images = sources_images(tmp_path)
    pixels = images.train.take(np.arange(10)).double() / 255
    told = inputs_of(data, images)  # type: ignore[arg-type]
    assert told["mean"] == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), abs=1e-6)
    assert told["std"] == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist(), rel=0.02)


def sources_images(folder: Path) -> Any:
    from datamodules.images import load_images

    return load_images(sources.CIFAR(str(folder)), folder / "artifacts")
