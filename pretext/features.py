"""Features that were computed elsewhere, such as those of a foundation model."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.lib.format import open_memmap
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
        _open(train, "train", inputs["num_train"])
        if test is not None:
            _open(test, "test")

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
        images, part = self._datamodule.images, self._datamodule.predicted
        file = self.files.get(part)
        if file is None:
            raise UserError(f"model.{part} must be a .npy file of features, a row a {part} image")
        count = len(images.train if part == "train" else images.test or ())
        indices = batch.indices.cpu().numpy()
        rows = _open(file, part, count)[indices].astype(np.float32)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            row = indices[finite.argmin()]
            raise UserError(f"model.{part} {file}: row {row} has NaN or infinity")
        return Scored(batch.indices, {}, unit(torch.from_numpy(rows).to(batch.indices.device)))


def _content(file: str) -> str:
    try:
        stat = Path(file).stat()
    except OSError as error:
        raise UserError(f"the features {file} cannot be read: {error.strerror}") from error
    return _digest(file, stat.st_size, stat.st_mtime_ns)


@cache
def _digest(file: str, size: int, changed: int) -> str:
    return sha256(Path(file))


def _open(file: str, part: str, count: int | None = None) -> np.ndarray:
    try:
        rows = open_memmap(file, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"model.{part} {file} cannot be read as .npy: {error}") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or count not in (None, len(rows)):
        raise UserError(
            f"model.{part} {file} must hold numbers of shape ({count or 'N'}, D), a row a {part} "
            f"image, not {rows.dtype} of shape {rows.shape}"
        )
    return rows
