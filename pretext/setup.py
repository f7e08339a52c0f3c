"""What both programs build from their config: images, devices, the context of pretext stages."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conf.compose import build, flatten
from conf.schema import DataConfig, TrainerConfig
from datamodules.datamodule import channel_statistics
from datamodules.errors import UserError
from datamodules.images import Images, load_images
from datamodules.initial import DEFAULT_CLUSTERS
from datamodules.sources import Imbalanced, Source
from pretext.devices import PRECISIONS, Devices
from pretext.loggers import RunInfo, Sink
from pretext.request import Context, Stage
from pretext.wandb_server import in_sweep

CURVES = ("train/loss", "val/loss", "knn/acc", "cluster/acc", "cluster/nmi", "cluster/ari")
CHOICES = {
    "trainer.keep_checkpoints": ("last", "all"),
    "trainer.precision": PRECISIONS,
    "pretext.if_missing": ("train", "error"),
}
MINIMUM = {
    "data.eval_batch_size": 1,
    "data.workers": 0,
    "data.crop": 0,
    "data.recipe.width": 1,
    "trainer.num_nodes": 1,
    "trainer.val_checks": 1,
    "trainer.timeout_hours": 0.01,
}


def images_of(data: dict[str, Any], artifacts_dir: str, write: bool) -> Images:
    """The images of a resolved data config; a grid loads them once."""
    return _images(json.dumps(data, sort_keys=True), artifacts_dir, write)


@functools.lru_cache(maxsize=2)
def _images(data: str, artifacts_dir: str, write: bool) -> Images:
    config = json.loads(data)
    source: Source = build(config["source"])
    if config["imbalance"] is not None:
        source = Imbalanced(source, config["imbalance"])
    return load_images(source, Path(artifacts_dir), config["in_memory"], write)


def check_values(resolved: dict[str, Any]) -> None:
    """Of the settings that both programs have."""
    values = flatten(resolved)
    for key, allowed in CHOICES.items():
        if values[key] not in allowed:
            raise UserError(f"{key} must be one of {', '.join(allowed)}, not {values[key]!r}")
    for key, least in MINIMUM.items():
        if values[key] is not None and values[key] < least:
            raise UserError(f"{key} must be at least {least}, not {values[key]}")


def check_numbers(data: DataConfig, images: Images) -> None:
    """Mean and std, one a channel."""
    channels = images.train.shape[0]
    for name, numbers in (("mean", data.mean), ("std", data.std)):
        if numbers is not None and len(numbers) != channels:
            raise UserError(f"data.{name} must have {channels} numbers, one a channel: {numbers}")
    if data.std is not None and not 0 < min(data.std) <= max(data.std) <= 1:
        raise UserError(f"data.std must be positive and at most 1, of pixels in 0..1: {data.std}")
    if data.mean is not None and not 0 <= min(data.mean) <= max(data.mean) <= 1:
        raise UserError(f"data.mean must be in 0 to 1, of pixels in 0..1: {data.mean}")


def pretext_devices(trainer: TrainerConfig, data: DataConfig) -> Devices:
    """The devices that a pretext model is trained on.

    What is fast for a classifier's small batches need not be for a pretext model's large ones.
    """
    return devices_of(trainer, data.recipe.pretext_precision, data.recipe.width)


def devices_of(trainer: TrainerConfig, fast_precision: str, width: int) -> Devices:
    """The devices that a trainer's config asks for, for a network of this width."""
    settings = dict(vars(trainer))
    for name in ("max_epochs", "val_checks", "keep_checkpoints"):
        del settings[name]
    return Devices(fast_precision=fast_precision, width=width, **settings)


def inputs_of(data: DataConfig, images: Images) -> dict[str, Any]:
    """What a pretext module is told of the data, as plain Python."""
    mean, std = data.mean, data.std
    if mean is None or std is None:
        measured = channel_statistics(images.train)
        mean, std = mean or measured[0], std or measured[1]
    recipe = data.recipe
    return {
        "shape": list(images.train.shape),
        "mean": list(mean),
        "std": list(std),
        "num_train": len(images.train),
        "clusters": len(images.classes or ()) or DEFAULT_CLUSTERS,
        "width": recipe.width,
        "stem": recipe.stem,
        "max_pool": recipe.max_pool,
    }


def context_of(config: Any, images: Images, devices: Devices, seed: int) -> Context:
    """The context of the stages of either program's config."""
    settings, data = config.pretext, config.data
    return Context(
        name=data.name,
        images=images,
        inputs=inputs_of(data, images),
        seed=seed,
        artifacts_dir=Path(config.artifacts_dir),
        devices=devices,
        if_missing=settings.if_missing,
        superclasses=data.superclasses,
        checks=config.trainer.val_checks,
        eval_batch_size=data.eval_batch_size,
        workers=data.workers,
        make_loggers=lambda stage, first: stage_loggers(stage, config.logger, first),
    )


def stage_loggers(stage: Stage, nodes: dict[str, Any], first: int) -> Iterator[Sink]:
    """The configured loggers, with a folder beside the artifact: `logs/<model>-<fingerprint>/`."""
    if in_sweep():  # W&B would take it for the agent's run itself
        nodes = {name: node for name, node in nodes.items() if name != "wandb"}
    artifact = stage.artifact
    folder = artifact.path.parent / "logs" / artifact.name
    folder.mkdir(parents=True, exist_ok=True)
    info = RunInfo(
        folder=folder,
        group=stage.context.name,
        name=f"{stage.context.name}/{artifact.name}",
        config={"data": stage.context.name, "model": stage.settings, "seed": stage.context.seed},
        job_type="pretext",
        axes=("epoch",),
        curves=(*CURVES, *stage.type.curves),
        first=first,
    )
    return (build(node, info=info) for node in nodes.values())
