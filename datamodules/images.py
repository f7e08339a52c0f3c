"""Decoded images: cached once, memory-mapped, shared by all processes; or streamed."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from datamodules.decoding import FileDecoder, decode_all
from datamodules.errors import UserError
from datamodules.files import locked, put_in_place, scratch_of
from datamodules.own import code_of
from datamodules.sources import Imbalanced, Opened, Raw, Source

CHUNK = 4096  # images copied into the cache at a time


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
    digest = hashlib.sha256(_cache_key(source).encode()).hexdigest()[:12]
    kind = "images" if keep_pixels else "files"
    folder = Path(artifacts_dir) / source.name / f"{kind}-{digest}"
    record = folder / "record.json"
    if not record.is_file():
        opened = source.open()
        if not write:
            return _unwritten(source, opened)
        for raw in filter(None, (opened.train, opened.test)):
            _check_part(source.name, raw, opened.classes)
        with locked(folder):
            if not record.is_file():  # another process was first: use its cache
                _write_cache(folder, source, opened, keep_pixels)
    return _read_cache(folder, source, in_memory)


def _cache_key(source: Source) -> str:
    """With the code, the settings and the files of a source of the user's own."""
    key, own = source.cache_key(), _own(source)
    if own is None:
        return key
    settings = {name: _stamp(value) for name, value in sorted(vars(own).items())}
    return repr((key, code_of(type(own)), settings))


def _stamp(value: Any) -> Any:
    """What tells whether a setting, or the files that it names, are others."""
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, list | tuple):
        return [_stamp(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _stamp(one) for key, one in value.items()}
    if not isinstance(value, str | Path):
        return value if isinstance(value, int | float | None) else None  # not an address
    path = Path(value) if str(value) else None
    below = sorted(path.rglob("*")) if path is not None and path.is_dir() else [path]
    stats = [(str(file), file.stat()) for file in below if file is not None and file.is_file()]
    return str(value), [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _own(source: Source) -> Source | None:
    """The source of the user's own that this is, or is made of."""
    inner = source.source if isinstance(source, Imbalanced) else source
    return inner if code_of(type(inner)) else None


def _unwritten(source: Source, opened: Opened) -> Images:
    def part(raw: Raw) -> Part:
        return Part(raw.ids, raw.labels, raw.decoder.shape, None, raw.decoder)

    test = part(opened.test) if opened.test is not None else None
    return Images(source.name, part(opened.train), test, opened.classes, source.fingerprint())


def _write_cache(folder: Path, source: Source, opened: Opened, keep_pixels: bool) -> None:
    """Written beside its place and renamed into it: a cache is never there by half."""
    scratch = scratch_of(folder)
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    scratch.mkdir()
    try:
        parts = {"train": opened.train, "test": opened.test}
        present = {name: raw for name, raw in parts.items() if raw is not None}
        own = _own(source) is not None
        content = [_write_part(scratch, *part, keep_pixels, own) for part in present.items()]
        record = {
            "fingerprint": "-".join([source.fingerprint(), *filter(None, content)]),
            "classes": opened.classes,
            "parts": list(present),
            "shape": opened.train.decoder.shape,
            "roots": {n: _files(raw) for n, raw in present.items()} if not keep_pixels else None,
        }
        (scratch / "record.json").write_text(json.dumps(record), encoding="utf-8")
        put_in_place(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_part(source: str, raw: Raw, classes: tuple[str, ...] | None) -> None:
    """Raises UserError where pixels would be cut off in silence, or labels fit no class."""
    if isinstance(raw.decoder, FileDecoder):
        return
    kind = raw.decoder(np.arange(min(1, len(raw.ids)))).dtype
    if kind != np.uint8:
        raise UserError(f"the images of {source} must be uint8, 0 to 255, not {kind}")
    if raw.labels is None:
        return
    if raw.labels.shape != (len(raw.ids),):
        shape = raw.labels.shape
        raise UserError(f"{source} has {len(raw.ids)} images and labels of shape {shape}")
    low, high = int(raw.labels.min(initial=0)), int(raw.labels.max(initial=0))
    if low < 0 or high >= len(classes or ()):
        count = len(classes or ())
        raise UserError(f"the labels of {source} are {low} to {high}, and of {count} classes")


def _write_part(folder: Path, name: str, raw: Raw, keep_pixels: bool, own: bool) -> str | None:
    """Writes one part; a digest of what it holds where that can change."""
    out, digest = None, None
    if keep_pixels:
        shape = (len(raw.ids), *raw.decoder.shape)
        out = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, shape)
    if isinstance(raw.decoder, FileDecoder):
        digest = decode_all(raw.decoder, out)
    elif out is not None:
        for start in range(0, len(raw.ids), CHUNK):
            stop = min(start + CHUNK, len(raw.ids))
            out[start:stop] = raw.decoder(np.arange(start, stop))
        if own:
            whole = hashlib.sha256(out.data)
            whole.update(f"{raw.ids}{np.asarray(raw.labels).tolist()}".encode())
            digest = whole.hexdigest()[:16]
    columns: dict[str, Any] = {"id": raw.ids}
    if raw.labels is not None:
        columns["label"] = raw.labels
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return digest


def _files(raw: Raw) -> list[str]:
    assert isinstance(raw.decoder, FileDecoder)
    return [str(raw.decoder.path(i).resolve()) for i in range(len(raw.decoder.paths))]


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
