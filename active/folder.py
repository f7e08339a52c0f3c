"""A run's folder: everything in it is complete or absent, whenever the process dies."""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from conf.compose import flatten
from conf.identity import ERROR, ROWS, is_volatile
from datamodules.errors import UserError
from datamodules.files import save_atomic, sha256, write_atomic, write_table

CONFIG, CHECKPOINT = "config.yaml", "model.ckpt"


def damaged(file: Path) -> UserError:
    return UserError(f"{file} is damaged; restore it, or delete the run's folder")


class RunFolder:
    """`config.yaml`, `validation.parquet`, `cycles.jsonl`, `cycle_<c>/...` of one run.

    `cycle_<c>/selected.parquet` holds what was added for cycle c, cycle 0 being the initial pool.
    Row c of `cycles.jsonl` is appended last: a cycle with a row has its selection and, for the last
    one, its checkpoint. Whatever else a killed process left is written again.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock: Any = None

    def lock(self) -> None:
        """Holds the folder for this process; the lock dies with it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.path / ".lock", "w", encoding="utf-8")  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is at work in {self.path}") from error
        (self.path / ERROR).unlink(missing_ok=True)  # of an earlier attempt

    def unlock(self) -> None:
        self._lock.close()

    def check_config(
        self,
        config: dict[str, Any],
        environment: dict[str, Any] | None,
        made: Callable[[], dict[str, Any]],
    ) -> None:
        """Writes the config of a new run; refuses to mix in one that computes something else.

        `environment` is None where nothing is left to compute, so that it may differ; `made` tells
        where a run was begun and is not compared.
        """
        file = self.path / CONFIG
        if not file.exists():
            whole = {**config, "environment": environment, "made": made()}
            text = yaml.safe_dump(whole, sort_keys=False)
            write_atomic(file, text.encode())
            return
        try:
            known = yaml.safe_load(file.read_text(encoding="utf-8"))
            stored = known.pop("environment")
            known.pop("made", None)
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise damaged(file) from error
        self._compare(known, config)
        self._compare(stored, stored if environment is None else environment)

    def config(self) -> dict[str, Any]:
        """The settings that the run was begun with, and where."""
        return yaml.safe_load((self.path / CONFIG).read_text(encoding="utf-8"))

    def _compare(self, known: dict[str, Any], config: dict[str, Any]) -> None:
        old, new = flatten(known), flatten(config)
        differ = [
            f"{key} ({old.get(key)} there, {new.get(key)} here)"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key) and not is_volatile(key)
        ]
        if differ:
            raise UserError(
                f"{self.path} holds a run with other settings: {', '.join(differ)}; "
                "choose another --runs_dir, or delete that folder"
            )

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the complete cycles; a last line that was cut off in writing is dropped."""
        file = self.path / ROWS
        if not file.exists():
            return []
        data = file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with open(file, "r+b") as stream:
                stream.truncate(len(whole))
        rows = []
        for number, line in enumerate(whole.splitlines()):
            try:
                row = json.loads(line)
                if row["cycle"] != number:
                    raise ValueError("out of order")
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{file} is damaged at line {number + 1}; delete the lines from there on and "
                    "the same command goes on after those before it"
                ) from error
            rows.append(row)
        return rows

    def append(self, row: dict[str, Any]) -> None:
        """Appends and syncs a row; after a failure the file is what it was."""
        file = self.path / ROWS
        line = json.dumps(row).encode() + b"\n"
        with open(file, "ab", buffering=0) as stream:
            size = stream.tell()
            try:
                if stream.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(size)
                raise

    def cycle(self, cycle: int) -> Path:
        return self.path / f"cycle_{cycle}"

    def write_selected(
        self, cycle: int, ids: list[str], indices: np.ndarray, scores: np.ndarray, seconds: float
    ) -> None:
        """What is added for `cycle`, in order of preference; `seconds` is what choosing took."""
        table = pa.table(
            {
                "id": ids,
                "index": pa.array(indices, pa.int64()),
                "rank": pa.array(np.arange(len(indices)), pa.int64()),
                "score": pa.array(scores, pa.float64()),
            }
        ).replace_schema_metadata({"seconds": repr(seconds)})
        write_table(self.cycle(cycle) / "selected.parquet", table)

    def write_pool(self, described: dict[str, Any], sheet: bytes) -> None:
        """What the initial pool looks like: `pool.json` and `contact_sheet.png`."""
        write_atomic(self.cycle(0) / "pool.json", json.dumps(described, indent=1).encode())
        write_atomic(self.cycle(0) / "contact_sheet.png", sheet)

    def read_selected(self, cycle: int) -> tuple[np.ndarray, float] | None:
        """Indices added for `cycle` and the seconds it took, None where they are not there."""
        file = self.cycle(cycle) / "selected.parquet"
        if not file.exists():
            return None
        try:
            table = pq.read_table(file)
            return table["index"].to_numpy(), float(table.schema.metadata[b"seconds"])
        except (OSError, pa.ArrowException, KeyError, TypeError) as error:
            raise damaged(file) from error

    def write_label_list(self, ids: list[str]) -> Path:
        """`label_first.csv`: the files to label first, in order."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("rank", "id"), *enumerate(ids)])
        file = self.path / "label_first.csv"
        write_atomic(file, text.getvalue().encode())
        return file

    def write_validation(self, ids: list[str], indices: np.ndarray) -> None:
        file = self.path / "validation.parquet"
        if not file.exists():
            write_table(file, pa.table({"id": ids, "index": pa.array(indices, pa.int64())}))

    def checkpoint(self, cycle: int) -> Path:
        return self.cycle(cycle) / CHECKPOINT

    def write_checkpoint(self, cycle: int, save: Callable[[Path], None]) -> None:
        """Calls `save` with a scratch path, then puts the file and its checksum in place."""
        file = self.checkpoint(cycle)
        save_atomic(file, save)
        write_atomic(file.with_suffix(".sha256"), f"{sha256(file)}  {file.name}\n".encode())

    def missing(self, file: Path) -> UserError:
        return UserError(f"{file} is missing; delete {self.path} to run it again")

    def verify_checkpoint(self, cycle: int) -> Path:
        """The path of a cycle's checkpoint, checked against its checksum."""
        file = self.checkpoint(cycle)
        recorded = file.with_suffix(".sha256")
        if not file.exists() or not recorded.exists():
            raise self.missing(file)
        if not recorded.read_text(encoding="utf-8").startswith(sha256(file)):
            raise UserError(
                f"{file} is damaged (its checksum differs); "
                f"restore it, or delete {self.path} to run it again"
            )
        return file

    def drop_checkpoint(self, cycle: int) -> None:
        self.checkpoint(cycle).unlink(missing_ok=True)
        self.checkpoint(cycle).with_suffix(".sha256").unlink(missing_ok=True)
