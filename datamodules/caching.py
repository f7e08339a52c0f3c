"""The cache of decoded images on the disk: its key, and how it is written."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.decoding import FileDecoder, decode_all
from datamodules.errors import UserError
from datamodules.files import put_in_place
from datamodules.own import code_of
from datamodules.sources import Imbalanced, Opened, Raw, Source

CHUNK = 4096  # images copied into the cache at a time
LEFT = 24 * 3600  # seconds, in which a cache is written or never


def cache_key(source: Source) -> str:
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


def write_cache(folder: Path, source: Source, opened: Opened, keep_pixels: bool) -> None:
    """Written beside its place and renamed into it: a cache is never there by half."""
    _sweep(folder)
    # Locks may be a host's own, and processes of two hosts, or containers, have the same number.
    scratch = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
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
        try:
            put_in_place(scratch, folder)
        except OSError:
            if not (folder / "record.json").is_file():  # another host was first: use its cache
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Takes away what processes wrote for this place that were killed, a day after they began."""
    for scratch in folder.parent.glob(f".{folder.name}.*"):
        if scratch.is_dir() and time.time() - scratch.stat().st_mtime > LEFT:
            shutil.rmtree(scratch, ignore_errors=True)


def check_part(source: str, raw: Raw, classes: tuple[str, ...] | None) -> None:
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
