"""What will be trained, and how long it is expected to take."""

from __future__ import annotations

import logging

import numpy as np
import torch

from pretext.artifacts import Artifact
from pretext.making import data_of
from pretext.request import Stage
from pretext.timing import best_seconds, duration

log = logging.getLogger("initial_pools")
SAMPLE = 128  # images of the step that an estimate measures


def expected_seconds(stage: Stage) -> float:
    """What training will take, from one small step measured here, without the passes after it."""
    if stage.epochs == 0:
        return 0.0
    devices, module = stage.context.devices, stage.module()
    datamodule = data_of(module, stage.context)
    device, images = torch.device(devices.kind), stage.context.images.train
    rows = np.arange(min(SAMPLE, len(images)))
    rows = np.concatenate([rows, rows]) if module.pairs else rows
    pixels, indices = images.take(rows).to(device), torch.from_numpy(rows).to(device)
    module.to(device)
    devices.arrange(module.network, module)

    def step() -> None:
        with devices.autocast():
            loss = module.loss(datamodule.view(pixels, indices, 0))
        loss.backward()

    seconds = best_seconds(step, device, steps=2) / min(SAMPLE, len(images)) / devices.speedup
    return seconds * datamodule.num_steps * datamodule.batch_size * stage.epochs


def announce(found: Artifact | None, missing: list[Stage]) -> None:
    """Says which stage was found and which are trained, with the time each is expected to take."""
    if found is not None:
        log.info("found %s", found.path)
    for stage in missing:
        if stage.epochs == 0:
            log.info("to be made: %s", stage.artifact.path)
        else:
            log.info(
                "to be trained: %s, %d epochs, about %s",
                stage.artifact.path, stage.epochs, duration(expected_seconds(stage)),
            )  # fmt: skip
