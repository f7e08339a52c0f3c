"""Pretext models built or trained by the command, small, and what their artifacts hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.images import load_images
from datamodules.sources import Digits
from pretext.artifacts import Artifact
from pretext.devices import Devices
from pretext.making import load
from pretext.module import PretextModule
from pretext.request import Context, model_type
from tests.conftest import Finished, run_cli

Train = Callable[..., Artifact]
TRAIN, TEST = 1433, 364  # digits
EPOCHS = 2
RECIPE = {
    "max_epochs": 1, "batch_size": 10, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0,
    "schedule": "none",
}  # fmt: skip


def trained(model: str) -> list[bool]:
    """Whether it, its parent and theirs are trained by steps."""
    return {"kmeans": [False, True], "scan": [True, True, True]}.get(model, [True])


def words(model: str, epochs: int) -> list[str]:
    """`--model kmeans --model.parent.max_epochs 2`: so many epochs for all its generations."""
    flags = ["--model." + "parent." * i + "max_epochs" for i in range(3)]
    chosen = itertools.compress(flags, trained(model))
    settings = ["--model.threshold", "0.15"] if model == "scan" else []  # some are confident
    return ["--model", model, *settings, *itertools.chain(*((f, str(epochs)) for f in chosen))]


def command(model: str, folder: Path, *more: str, epochs: int = EPOCHS) -> Finished:
    return run_cli(
        "pretext", *words(model, epochs), "--artifacts_dir", str(folder), "--logger", "none",
        "--data.recipe.width", "8", *more,
    )  # fmt: skip


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
