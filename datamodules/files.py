"""Files and folders that are complete or absent, and their checksums."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def put_in_place(scratch: Path, place: Path) -> None:
    """Renames a file, or a folder of files, that lies beside its place, once it is on the disk.

    Raises:
        OSError: a folder that is not empty has its place.
    """
    for file in scratch.iterdir() if scratch.is_dir() else [scratch]:
        with open(file, "rb+") as stream:
            os.fsync(stream.fileno())
    os.replace(scratch, place)


@contextmanager
def locked(place: Path) -> Iterator[bool]:
    """Holds the lock of what is made at `place`, which lies beside it and dies with its process;
    waits for who has it, and is True if it had to."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_name(f".{place.name}.lock"), "w", encoding="utf-8") as stream:
        waited = False
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield waited


def scratch_of(file: Path) -> Path:
    """Where a file is written before it is put in its place."""
    return file.with_name(f".{file.name}")


def save_atomic(file: Path, save: Callable[[Path], object]) -> None:
    """What `save` writes to the path that it is given, complete or absent."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save(scratch_of(file))
    put_in_place(scratch_of(file), file)


def write_atomic(file: Path, data: bytes) -> None:
    """These bytes, complete or absent."""
    save_atomic(file, lambda scratch: scratch.write_bytes(data))


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
