"""Decoded images: cached once, memory-mapped, shared by all processes; or streamed."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from datamodules.caching import cache_key, check_part, write_cache
from datamodules.decoding import FileDecoder
from datamodules.errors import UserError
from datamodules.files import locked
from datamodules.sources import Opened, Raw, Source


@dataclass(frozen=True)
class Part:
    """The train or the test part: names, labels, and pixels in memory or a decoder.

    `pixels` is an (N, C, H, W) uint8 tensor over the memory-mapped cache; it is None when images
    are streamed. `decoder` reads them then, and for all that a loader's workers take.
    `copies` on devices, and what was measured, are shared by all who use the part, and go with it.
    """

    ids: list[str]
    labels: np.ndarray | None
    shape: tuple[int, int, int]
    pixels: Tensor | None
    decoder: Callable[[np.ndarray], np.ndarray] | None
    copies: dict[Any, Tensor | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: np.ndarray) -> Tensor:
        """(n, C, H, W) uint8 images at `positions`, wherever they are kept."""
        if self.pixels is not None:
            chosen = torch.from_numpy(np.asarray(positions, dtype=np.int64))
            return self.pixels.index_select(0, chosen)  # several times faster than pixels[chosen]
        assert self.decoder is not None
        return torch.from_numpy(self.decoder(np.asarray(positions)))


@dataclass(frozen=True)
class Images:
    """A data set, ready for use. `test` and `classes` are None where there are no labels."""

    name: str
    train: Part
    test: Part | None
    classes: tuple[str, ...] | None
    fingerprint: str


class MemmapReader:
    """Reads batches from a cached array, which a process that it is sent to opens anew."""

    def __init__(self, path: Path):
        self.path, self.array = path, np.load(path, mmap_mode="r")

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        return self.array[positions]

    def __reduce__(self) -> tuple[Any, ...]:
        return MemmapReader, (self.path,)


def load_images(
    source: Source, artifacts_dir: Path, in_memory: bool = True, write: bool = True
) -> Images:
    """Images of `source`, from its cache under `artifacts_dir`, which is made where missing.

    Args:
        in_memory: False streams: files are decoded, or cached arrays read, in loader workers.
        write: False makes no cache (a dry run); pixels may then be missing.

    Raises:
        UserError: the data are absent or broken, with every unreadable file named.
    """
    keep_pixels = in_memory or not source.from_files
    digest = hashlib.sha256(cache_key(source).encode()).hexdigest()[:12]
    kind = "images" if keep_pixels else "files"
    folder = Path(artifacts_dir) / source.name / f"{kind}-{digest}"
    record = folder / "record.json"
    if not record.is_file():
        opened = source.open()
        if not write:
            return _unwritten(source, opened)
        for raw in filter(None, (opened.train, opened.test)):
            check_part(source.name, raw, opened.classes)
        with locked(folder):
            if not record.is_file():  # another process was first: use its cache
                write_cache(folder, source, opened, keep_pixels)
    return _read_cache(folder, source, in_memory)


def _unwritten(source: Source, opened: Opened) -> Images:
    def part(raw: Raw) -> Part:
        return Part(raw.ids, raw.labels, raw.decoder.shape, None, raw.decoder)

    test = part(opened.test) if opened.test is not None else None
    return Images(source.name, part(opened.train), test, opened.classes, source.fingerprint())


def _read_cache(folder: Path, source: Source, in_memory: bool) -> Images:
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        parts = {name: _read_part(folder, name, record, in_memory) for name in record["parts"]}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"the image cache {folder} is damaged ({error}); delete it") from error
    classes = tuple(record["classes"]) if record["classes"] else None
    return Images(source.name, parts["train"], parts.get("test"), classes, record["fingerprint"])


def _read_part(folder: Path, name: str, record: dict[str, Any], in_memory: bool) -> Part:
    table = pq.read_table(folder / f"{name}.parquet")
    ids = table["id"].to_pylist()
    labels = table["label"].to_numpy().copy() if "label" in table.column_names else None
    channels, height, width = record["shape"]
    shape, file = (channels, height, width), folder / f"{name}.npy"
    if record["roots"] is not None:
        return Part(ids, labels, shape, None, FileDecoder(record["roots"][name], channels, height))
    return Part(ids, labels, shape, _mapped(file) if in_memory else None, MemmapReader(file))


def _mapped(file: Path) -> Tensor | None:
    """The cached pixels; None where the system promises no memory for a copy of so many.

    Copy-on-write mode: torch wants writable memory, and the pages stay shared while none writes.
    """
    try:
        return torch.from_numpy(np.load(file, mmap_mode="c"))
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        return None
