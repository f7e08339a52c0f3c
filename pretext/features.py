"""Features that were computed elsewhere, such as those of a foundation model."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.errors import UserError
from datamodules.files import sha256
from datamodules.pretext_data import ViewBatch
from pretext.module import Embedding, PretextModule, Scored, unit


class Features(PretextModule):
    """Rows of files of the user's own, in place of a model that is trained.

    For inits and queries by coverage and for `--learner linear`. They are what the files hold, so
    that no other image can be embedded, and no model be built on them. The artifact is named after
    the files' content.

    Args:
        train: .npy file of (N, D) numbers, a row a train image in the data set's own order, which
            the `samples.parquet` of any artifact has.
        test: the same for the test images; None where the data set has none.
    """

    has_backbone: ClassVar[bool] = False
    embeds: ClassVar[bool] = False

    def __init__(self, inputs: dict[str, Any], seed: int, train: str | None, test: str | None):
        super().__init__(inputs, seed)
        if train is None:
            raise ValueError("train must be a .npy file of features, a row a train image")
        self.files = {"train": train, "test": test}
        self._rows: dict[str, Tensor] = {}
        _open(train, inputs["num_train"], "train")

    @classmethod
    def identity(cls, settings: dict[str, Any]) -> dict[str, Any]:
        files = {name: settings[name] for name in ("train", "test")}
        return settings | {name: file and _content(file) for name, file in files.items()}

    @property
    def network(self) -> nn.Module:
        return nn.Identity()

    def embed(self, images: Tensor) -> Embedding:
        raise UserError("features of a file are of the train and the test images alone")

    def predict_step(self, batch: ViewBatch) -> Scored:
        part = self._datamodule.predicted
        if part not in self._rows:
            self._rows[part] = self._read(part)
        rows = self._rows[part][batch.indices.cpu()]
        return Scored(batch.indices, {}, unit(rows.to(batch.indices.device)))

    def _read(self, part: str) -> Tensor:
        images, file = self._datamodule.images, self.files.get(part)
        if file is None:
            raise UserError(f"model.{part} must be a .npy file of features, a row a {part} image")
        count = len(images.train if part == "train" else images.test or ())
        return torch.from_numpy(_open(file, count, part).astype(np.float32))


def _content(file: str) -> str:
    stat = Path(file).stat()
    return _digest(file, stat.st_size, stat.st_mtime_ns)


@cache
def _digest(file: str, size: int, changed: int) -> str:
    return sha256(Path(file))


def _open(file: str, count: int, part: str) -> np.ndarray:
    try:
        rows = np.load(file, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise UserError(f"model.{part} {file} cannot be read as .npy: {error}") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or len(rows) != count:
        raise UserError(
            f"model.{part} {file} must hold numbers of shape ({count}, D), a row a {part} image, "
            f"not {rows.dtype} of shape {rows.shape}"
        )
    return rows
