"""Features of the user's own as a pretext model: for inits, queries and the linear learner."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.sources import Digits
from tests.conftest import TINY, rows_of, selected_of

Cli = Callable[..., Any]
FILES = ("train", "test")


@pytest.fixture
def pixels(tmp_path: Path) -> dict[str, np.ndarray]:
    """Pixels of the digits as features, in files of the current folder."""
    opened, found = Digits().open(), {}
    for name, raw in zip(FILES, (opened.train, opened.test), strict=True):
        assert raw is not None
        images = raw.decoder(np.arange(len(raw.ids)))
        found[name] = (images.reshape(len(images), -1) / 255).astype(np.float16)
        np.save(tmp_path / f"{name}.npy", found[name])
    return found


@pytest.fixture
def broken(tmp_path: Path, pixels: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "many.npz", pixels["train"])
    (tmp_path / "empty.npy").touch()
    pixels["train"][7, 3] = np.nan
    np.save(tmp_path / "nan.npy", pixels["train"])


def asked(group: str, folder: Path) -> list[str]:
    files = [(f"--{group}.model.{name}", str(folder / f"{name}.npy")) for name in FILES]
    return [f"--{group}.model", "features", *(word for pair in files for word in pair)]


def test_the_artifact_holds_the_files_rows(
    cli: Cli, tmp_path: Path, pixels: dict[str, np.ndarray]
) -> None:
    finished = cli(*TINY, "--init", "kcenter", *asked("init", tmp_path), "--cycles", "0")
    assert finished.status == 0, finished.err
    (artifact,) = tmp_path.glob("artifacts/digits/features-*")
    for name, file in zip(FILES, ("features.npy", "features_test.npy"), strict=True):
        rows = pixels[name].astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(np.load(artifact / file), rows, atol=1e-6)
    (run,) = (file.parent for file in tmp_path.glob("runs/**/cycles.jsonl"))
    assert len(selected_of(run)[0]) == 20


def test_a_linear_learner_of_other_features_is_another_run(
    cli: Cli, tmp_path: Path, pixels: dict[str, np.ndarray]
) -> None:
    command = (*TINY[: TINY.index("--trainer.max_epochs")], "--learner", "linear")
    command = (*command, *asked("learner", tmp_path), "--logger", "none")
    finished = cli(*command, "--cycles", "1")
    assert finished.status == 0, finished.err
    (run,) = (file.parent for file in tmp_path.glob("runs/**/cycles.jsonl"))
    assert rows_of(run)[0]["test/acc"] > 0.5
    again = cli(*command, "--cycles", "2")
    assert again.status == 0, again.err
    np.save(tmp_path / "test.npy", pixels["test"][::-1])
    os.utime(tmp_path / "test.npy", (1, 1))
    refused = cli(*command, "--cycles", "3")
    assert refused.status == 2
    assert "learner_model (" in refused.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("kcenter --init.model features", "train must be a .npy file of features"),
        (
            "kcenter --init.model features --init.model.train absent.npy",
            "absent.npy cannot be read as .npy",
        ),
        (
            "kcenter --init.model features --init.model.train test.npy",
            "must hold numbers of shape (1433, D), a row a train image, not float16 of shape",
        ),
        ("kcenter --init.model features --init.model.train train.npy", "model.test must be a .npy"),
        ("kcenter --init.model features --init.model.train many.npz", "many.npz cannot be read as"),
        ("kcenter --init.model features --init.model.train empty.npy", "empty.npy cannot be read"),
        (
            "kcenter --init.model features --init.model.train nan.npy --init.model.test test.npy",
            "nan.npy: row 7 has NaN or infinity",
        ),
        (
            "kcenter --init.model features --init.model.train train.npy --init.model.test no.npy",
            "no.npy cannot be read as .npy",
        ),
        (
            "kmeans --init.model.parent features --init.model.parent.train train.npy",
            "model kmeans is built on a model that embeds images, not on features",
        ),
    ],
)
@pytest.mark.usefixtures("broken")
def test_what_is_no_file_of_features_is_refused(cli: Cli, words: str, told: str) -> None:
    refused = cli(*TINY, "--init", *words.split())
    assert refused.status == 2
    assert told in refused.err
