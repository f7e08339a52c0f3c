"""Artifacts: what a finished pretext stage leaves, complete and verified, or not there at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.files import locked, put_in_place, sha256, sha256_once, write_table

CHECKPOINT, SAMPLES, RECORD = "model.ckpt", "samples.parquet", "record.json"
FEATURES = {"train": "features.npy", "test": "features_test.npy"}


class DamagedArtifact(Exception):
    """A file of an artifact is missing or is not what its record says."""


def fingerprint(content: dict[str, Any]) -> str:
    """Twelve hex digits of everything that can change a number."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Artifact:
    """The folder of a finished stage.

    `model.ckpt` scores images never seen; `samples.parquet` has one row a train sample: id, index,
    then numbers; `features.npy` and `features_test.npy` are (N, D) float32 of unit length;
    `record.json` says how it was made and holds the checksum of every file.
    """

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def exists(self) -> bool:
        return (self.path / RECORD).is_file()

    @cached_property
    def record(self) -> dict[str, Any]:
        try:
            record = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
            if not set(record["sha256"]) >= {CHECKPOINT, SAMPLES, FEATURES["train"]}:
                raise ValueError("not all files are listed")
            return record
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedArtifact(f"{self.path / RECORD} cannot be read") from error

    def verify(self) -> None:
        """Compares every file with its checksum; DamagedArtifact names the first that differs."""
        for name, digest in self.record["sha256"].items():
            file = self.path / name
            if not file.is_file():
                raise DamagedArtifact(f"{file} is missing")
            if sha256_once(file) != digest:
                raise DamagedArtifact(f"{file} is damaged (its checksum differs)")

    @cached_property
    def samples(self) -> pa.Table:
        return pq.read_table(self.path / SAMPLES)

    def column(self, name: str) -> np.ndarray | None:
        """(N,) numbers of all train samples in the order of their indices, None if not there."""
        return self.samples[name].to_numpy() if name in self.samples.column_names else None

    def features(self, part: str = "train") -> np.ndarray:
        """(N, D) float32 of unit length, memory-mapped."""
        return np.load(self.path / FEATURES[part], mmap_mode="r")


@dataclass(frozen=True)
class Workshop:
    """Where an artifact is made: beside its place, under a lock that dies with its process."""

    artifact: Artifact

    @property
    def scratch(self) -> Path:
        """What an interrupted stage has done so far; the next attempt goes on from it."""
        return self.artifact.path.with_name(f".{self.artifact.name}.partial")

    def lock(self) -> AbstractContextManager[bool]:
        """Holds the lock, waiting for who has it; True if it had to wait."""
        return locked(self.artifact.path)

    def write(
        self,
        ids: list[str],
        columns: dict[str, np.ndarray],
        features: dict[str, np.ndarray],
        record: dict[str, Any],
    ) -> None:
        """Fills the scratch folder beside its checkpoint and renames it into place."""
        table = {"id": ids, "index": np.arange(len(ids)), **columns}
        write_table(self.scratch / SAMPLES, pa.table(table))
        for part, rows in features.items():
            np.save(self.scratch / FEATURES[part], rows)
        kept = {CHECKPOINT, SAMPLES, *(FEATURES[part] for part in features)}
        for file in self.scratch.iterdir():
            if file.name not in kept:
                file.unlink()
        digests = {name: sha256(self.scratch / name) for name in sorted(kept)}
        text = json.dumps({**record, "sha256": digests}, indent=1)
        (self.scratch / RECORD).write_text(text, encoding="utf-8")
        self.discard()
        put_in_place(self.scratch, self.artifact.path)

    def discard(self) -> None:
        """Takes a damaged artifact away; the record first, so that it is never taken for whole."""
        (self.artifact.path / RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.artifact.path, ignore_errors=True)
