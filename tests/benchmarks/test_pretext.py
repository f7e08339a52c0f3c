"""SimCLR's training beside a bare loop on ready-made views; run with `pytest -m benchmark -s`."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from conf.cli import expand, parse
from conf.compose import build
from datamodules.images import Images, Part
from pretext.making import data_of
from pretext.setup import context_of, pretext_devices
from tests.benchmarks.test_speed import Clock, compare

pytestmark = pytest.mark.benchmark
STEPS = {"cifar10": 2, "mnist": 4}  # a round


@pytest.mark.parametrize("name", STEPS)
def test_simclr_throughput(name: str) -> None:
    """The recipe's batch, two views of 512 images; ours makes them, the bare loop has them."""
    job = expand("pretext", parse(["--data", name, "--model", "simclr"]))[0]
    channels = {"cifar10": 3, "mnist": 1}[name]
    size, steps = job.config.model["batch_size"], STEPS[name]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (size * steps, channels, 32, 32), dtype=np.uint8)
    part = Part([str(i) for i in range(len(pixels))], None, (channels, 32, 32),
                torch.from_numpy(pixels), None)  # fmt: skip
    devices = pretext_devices(job.config.trainer, job.config.data)
    context = context_of(job.config, Images(name, part, None, None, ""), devices, 0)
    module = build(job.resolved["model"], inputs=context.inputs, seed=0)
    datamodule = data_of(module, context)
    devices.arrange(module.network, module)

    def ours() -> float:
        clock = Clock()
        trainer = devices.trainer(max_epochs=2, limit_val_batches=0, callbacks=[clock])
        trainer.fit(module, datamodule=datamodule)
        module.train()
        return clock.seconds

    indices = [torch.arange(i, i + size) for i in range(0, len(pixels), size)]
    started = time.perf_counter()
    batches = [datamodule.view(part.pixels[i], i, 0) for i in indices]
    views = (time.perf_counter() - started) / steps
    optimizer = torch.optim.SGD(module.parameters(), 0.01, 0.9, weight_decay=1e-4, fused=True)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=devices.precision == "bf16-mixed")

    def bare() -> float:
        for warm in (True, False):
            started = time.perf_counter()
            for batch in batches[: 1 if warm else None]:
                with autocast:
                    loss = module.loss(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return time.perf_counter() - started

    a, b, ratio = compare(ours, bare)
    share = 100 * views * steps / a
    what = f"SimCLR {name}, batch {size}, {devices.precision}"
    row = [what, f"{1e3 * a / steps:.0f}", f"{1e3 * b / steps:.0f}", f"{ratio:.3f}"]
    print("\n|", " | ".join([*row, f"{share:.1f} % views"]), "|")
