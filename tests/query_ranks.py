"""A script for `test_ddp_queries`: every query once, on as many CPU processes as it is told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pretext.devices import Devices
from tests.test_queries import QUERIES, ask, make, make_pool


def main(processes: int, file: str) -> None:
    strategy = "ddp" if processes > 1 else "auto"
    devices = Devices(accelerator="cpu", devices=processes, strategy=strategy, threads=1)
    devices.start()
    found: dict[str, np.ndarray] = {}
    for size, budget in ((61, 20), (11, 1)):  # 51 samples in U, and fewer than processes
        for name in QUERIES:
            classifier, images = make_pool("random", size)
            selection, _ = ask(make(name), classifier, images, budget, devices=devices)
            found[f"{name}/{size}/indices"] = selection.indices
            found[f"{name}/{size}/scores"] = selection.scores
    if devices.is_zero:
        np.savez(file, **found)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
