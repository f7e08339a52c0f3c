"""Finished artifacts in a test's folder `X`: found, read and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

FILES = ("model.ckpt", "samples.parquet", "features.npy", "features_test.npy")


def whole(folder: Path, model: str = "simclr") -> list[Path]:
    """Every folder of the model that has a record: what is taken for finished."""
    return [file.parent for file in folder.glob(f"X/digits/{model}-*/record.json")]


def only(folder: Path, model: str = "simclr") -> Path:
    (artifact,) = whole(folder, model)
    return artifact


def record_of(artifact: Path) -> dict[str, Any]:
    return json.loads((artifact / "record.json").read_text())


def assert_same(artifact: Path, reference: Path) -> None:
    """Bit-equal numbers and weights, and the same names of files."""
    assert artifact.name == reference.name
    assert {f.name for f in artifact.iterdir()} == {f.name for f in reference.iterdir()}
    for name in FILES[1:]:
        assert (artifact / name).read_bytes() == (reference / name).read_bytes(), name
    weights, known = (
        torch.load(folder / "model.ckpt", weights_only=True)["state_dict"]
        for folder in (artifact, reference)
    )
    assert weights.keys() == known.keys()
    assert all(torch.equal(weights[name], known[name]) for name in known)
