"""One command of `pretext/train.py`: the stages of a model, or the scores of new images."""

from __future__ import annotations

import logging
from typing import Any

from pytorch_lightning.loggers import Logger

from conf.cli import Job
from conf.compose import build
from conf.schema import PretextConfig
from pretext.console import log_to_terminal
from pretext.loggers import RunInfo
from pretext.making import announce
from pretext.setup import context_of, devices_of, images_of
from pretext.stages import Stage, ensure, stage_of, survey

log = logging.getLogger("initial_pools")
CURVES = ("train/loss", "val/loss", "knn/acc", "cluster/acc", "cluster/nmi", "cluster/ari")


def check(job: Job) -> None:
    """All that can be known to be wrong before training."""
    stage: Stage | None = _stage(job)
    while stage is not None:
        stage.module()
        stage = stage.parent


def run(job: Job) -> None:
    """Trains what is missing of a model's stages; a second time it only finds them."""
    config: PretextConfig = job.config
    stage = _stage(job)
    devices = stage.context.devices
    devices.start()
    if devices.is_zero:
        log_to_terminal()
        announce(*survey(stage))
    if config.dry_run:
        return
    artifact = ensure(stage)
    if devices.is_zero:
        print(artifact.path)


def _stage(job: Job) -> Stage:
    config: PretextConfig = job.config
    images = images_of(job.resolved["data"], config.artifacts_dir, not config.dry_run)
    devices = devices_of(config.trainer, config.data, pretext=True)
    context = context_of(
        config, images, devices, config.seed, config.if_missing,
        lambda stage: stage_loggers(stage, config.logger),
    )  # fmt: skip
    return stage_of(job.resolved["model"], context)


def stage_loggers(stage: Stage, nodes: dict[str, Any]) -> list[Logger]:
    """The configured loggers, with a folder beside the artifact: `logs/<model>-<fingerprint>/`."""
    artifact = stage.artifact
    folder = artifact.path.parent / "logs" / artifact.name
    folder.mkdir(parents=True, exist_ok=True)
    info = RunInfo(
        folder=folder,
        id=stage.fingerprint,
        group=stage.context.name,
        name=f"{stage.context.name}/{artifact.name}",
        config={"data": stage.context.name, "model": stage.settings, "seed": stage.context.seed},
        job_type="pretext",
        axes=("epoch",),
        curves=CURVES,
        first=0,
    )
    return [build(node, info=info) for node in nodes.values()]
