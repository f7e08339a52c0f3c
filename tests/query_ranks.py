"""A script for `test_ddp_queries`: every query once, on as many CPU processes as it is told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from active.queries.vaal import VAALQuery, score
from active.vaal import VAAL
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
    found["vaal/untrained"], found["vaal/spread"] = vaal(devices)
    if devices.is_zero:
        np.savez(file, **found)


def vaal(devices: Devices) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the same weights, and how far the ranks' weights are apart after training."""
    classifier, images = make_pool("random", 61)
    query, kept = make("vaal"), []

    def keep(datamodule, trainer, request):  # type: ignore[no-untyped-def]
        torch.manual_seed(0)
        untrained = score(VAAL((1, 8, 8), 1, width=16), datamodule, trainer)
        module = VAALQuery.train(query, datamodule, trainer, request)
        weights = torch.cat([tensor.flatten().float() for tensor in module.state_dict().values()])
        kept.extend([untrained, spread(weights).numpy()])
        return module

    query.train = keep  # type: ignore[attr-defined]
    ask(query, classifier, images, 5, devices=devices)
    return kept[0], kept[1]


def spread(weights: torch.Tensor) -> torch.Tensor:
    """The largest difference between ranks."""
    if not dist.is_initialized():
        return torch.zeros(())
    low, high = weights.clone(), weights.clone()
    dist.all_reduce(low, dist.ReduceOp.MIN)
    dist.all_reduce(high, dist.ReduceOp.MAX)
    return (high - low).abs().max()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
