"""With which code, on what and when a run was begun."""

from __future__ import annotations

import datetime
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from pretext.devices import hardware


def describe_origin(kind: str) -> dict[str, Any]:
    """`commit`, `hardware` (of this kind of device) and `started` (UTC), for config.yaml."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"commit": commit(), "hardware": hardware(kind), "started": now}


@cache
def commit() -> str | None:
    """The commit of the code, with `-dirty` where files differ from it; None where git is not."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    root = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
