"""One command of `pretext/train.py`: the stages of a model, or the scores of new images."""

from __future__ import annotations

from pathlib import Path

from conf.jobs import Job
from conf.schema import PretextConfig
from datamodules.errors import UserError
from pretext.announce import announce
from pretext.console import log_to_terminal
from pretext.devices import Devices
from pretext.request import Stage, check_model, stage_of
from pretext.score import score_folder
from pretext.setup import (
    check_numbers,
    check_values,
    context_of,
    images_of,
    inputs_of,
    pretext_devices,
)
from pretext.stages import ensure, survey


def check(job: Job) -> None:
    """All that can be known to be wrong before training."""
    config: PretextConfig = job.config
    if config.score is not None and not Path(config.score).is_dir():
        raise UserError(f"the image folder {config.score} does not exist; give it with --score")
    check_values(job.resolved)
    images = images_of(job.resolved["data"], config.artifacts_dir, not config.dry_run)
    check_numbers(config.data, images)
    check_model(job.resolved["model"], inputs_of(config.data, images))
    _seed(config)


def run(job: Job) -> None:
    """Trains what is missing of a model's stages; a second time it only finds them."""
    config: PretextConfig = job.config
    check_values(job.resolved)
    devices = pretext_devices(config.trainer, config.data)
    devices.start()
    devices.first(lambda: check(job))
    stage = _stage(job, devices)
    if devices.is_zero:
        log_to_terminal()
        announce(*survey(stage))
    if config.dry_run:
        return
    artifact = ensure(stage)
    file = score_folder(stage, artifact, Path(config.score)) if config.score else artifact.path
    if devices.is_zero:
        print(file)


def _stage(job: Job, devices: Devices) -> Stage:
    config: PretextConfig = job.config
    images = images_of(job.resolved["data"], config.artifacts_dir, not config.dry_run)
    context = context_of(config, images, devices, _seed(config))
    return stage_of(job.resolved["model"], context)


def _seed(config: PretextConfig) -> int:
    if not isinstance(config.pretext.seed, int):
        raise UserError(f"pretext.seed must be a whole number, not {config.pretext.seed!r}")
    return config.pretext.seed
