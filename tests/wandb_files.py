"""Weights & Biases's own file of an offline run, read without its server."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def chunks(data: bytes) -> Iterator[bytes]:
    """Records of a .wandb file: LevelDB's log format behind seven bytes of header."""
    position, parts = 7, b""
    while position + 7 <= len(data):
        room = 32_768 - position % 32_768
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def read_back(run: Path) -> dict[str, Any]:
    """History, axes, config and names from all parts of a run."""
    import wandb
    from wandb.proto import wandb_internal_pb2 as pb

    wandb.teardown()  # its service writes on for a moment after the end of a run
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    found: dict[str, Any] = {
        "history": [], "axis": {}, "config": {}, "runs": [], "artifacts": [], "exits": [],
        "files": files,
    }  # fmt: skip
    for file in files:
        for chunk in chunks(file.read_bytes()):
            record = pb.Record()
            record.ParseFromString(chunk)
            kind = record.WhichOneof("record_type")
            if kind == "history":
                row: dict[str, Any] = {}
                for item in record.history.item:
                    *path, last = list(item.nested_key) or [item.key]
                    place = row
                    for key in path:
                        place = place.setdefault(key, {})
                    place[last] = json.loads(item.value_json)
                found["history"].append(row)
            elif kind == "metric" and record.metric.step_metric:
                name = record.metric.name or record.metric.glob_name
                found["axis"][name] = record.metric.step_metric
            elif kind == "exit":
                found["exits"].append(record.exit.exit_code)
            elif kind == "artifact":
                found["artifacts"].append(record.artifact.manifest.contents)
            elif kind == "run":
                found["runs"].append(record.run)
                for item in record.run.config.update:
                    found["config"][item.key] = json.loads(item.value_json)
    return found
