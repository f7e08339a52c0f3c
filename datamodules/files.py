"""Files that are complete or absent, and their checksums."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_atomic(file: Path, data: bytes) -> None:
    """Written beside its place, synced, and renamed into it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}")
    with open(scratch, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(scratch, file)


def write_table(file: Path, table: pa.Table) -> None:
    """A parquet file, complete or absent."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_atomic(file, sink.getvalue().to_pybytes())


def sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_once(file: Path) -> str:
    """As `sha256`; a file that has not changed since is not read again by this process."""
    now = file.stat()
    return _sha256(file.absolute(), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


@lru_cache(maxsize=256)
def _sha256(file: Path, *_: int) -> str:
    return sha256(file)


def sync(file: Path) -> None:
    """Waits until the file is on the disk."""
    with open(file, "rb+") as stream:
        os.fsync(stream.fileno())
