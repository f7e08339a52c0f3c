"""Scores of images never seen, by a finished model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datamodules.decoding import FileDecoder, decode_all, list_images
from datamodules.errors import UserError
from datamodules.files import write_table
from datamodules.images import Images, Part
from datamodules.pretext_data import PretextDataModule
from datamodules.seeds import Seeds
from datamodules.sources import BORDERS
from pretext.artifacts import CHECKPOINT, Artifact
from pretext.making import load, predict
from pretext.request import Context, Stage


def open_folder(folder: Path, shape: tuple[int, int, int], border: int = 0) -> Part:
    """All images below `folder`, at the size and with the channels that a model was trained on.

    The short side is resized, then the center square is cut out, and `border` pixels of zeros are
    put on each of its sides.

    Raises:
        UserError: there are none.
    """
    paths = list_images(folder)
    if not paths:
        raise UserError(f"there are no images in {folder.resolve()}")
    channels, size, _ = shape
    decoder = FileDecoder(paths, channels, size, border)
    return Part([str(p.relative_to(folder)) for p in paths], None, shape, None, decoder)


def score_new(stage: Stage, artifact: Artifact, part: Part) -> dict[str, np.ndarray]:
    """The columns of `samples.parquet` for images that are not of the train part."""
    context: Context = stage.context
    module = load(artifact.path / CHECKPOINT, stage.type)
    datamodule = PretextDataModule(
        Images("new", part, None, None, ""),
        Seeds(context.seed),
        monitor=False,
        eval_batch_size=context.eval_batch_size,
        workers=context.workers,
        channels_last=context.devices.channels_last,
    )
    return predict(module, datamodule, context.devices, "new").columns


def score_folder(stage: Stage, artifact: Artifact, folder: Path) -> Path:
    """Writes `scores/<model>-<fingerprint>/<folder>-<digest>.parquet` beside the artifact.

    Raises:
        UserError: there are no images, or some cannot be read; they are named.
    """
    devices = stage.context.devices
    channels, height, width = stage.context.inputs["shape"]
    border = BORDERS.get(stage.context.images.name, 0)
    part = open_folder(folder, (channels, height, width), border)
    decoder = part.decoder
    assert isinstance(decoder, FileDecoder)
    devices.decide(lambda: decode_all(decoder, None))
    columns = score_new(stage, artifact, part)
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]
    place = artifact.path.parent / "scores" / artifact.name
    file = place / f"{folder.resolve().name}-{digest}.parquet"
    table: dict[str, Any] = {"id": part.ids, "index": np.arange(len(part)), **columns}
    devices.decide(lambda: write_table(file, pa.table(table)))
    return file
