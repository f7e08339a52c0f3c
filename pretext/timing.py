"""Seconds of a step, measured here, and how durations are written."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def best_seconds(step: Callable[[], None], device: torch.device, steps: int = 5) -> float:
    """The shortest of `steps` calls, the device waited for."""
    best = float("inf")
    for _ in range(steps):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best


def duration(seconds: float) -> str:
    """`0.3 s`, `42 s`, `17 min`, `3.5 h` or `12 d`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
