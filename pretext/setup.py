"""What both programs build from their config: images, devices, the context of pretext stages."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

from conf.compose import build
from conf.schema import DataConfig, TrainerConfig
from datamodules.datamodule import channel_statistics
from datamodules.errors import UserError
from datamodules.images import Images, load_images
from datamodules.sources import Imbalanced, Source
from pretext.devices import Devices
from pretext.loggers import RunInfo, Sink
from pretext.request import IF_MISSING, Context, Stage

CURVES = ("train/loss", "val/loss", "knn/acc", "cluster/acc", "cluster/nmi", "cluster/ari")
DEFAULT_CLUSTERS = 10  # where there are no classes to take the number from


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


def pretext_devices(trainer: TrainerConfig, data: DataConfig) -> Devices:
    """The devices that a pretext model is trained on.

    What is fast for a classifier's small batches need not be for a pretext model's large ones.
    """
    return devices_of(trainer, data, data.recipe.pretext_precision, data.recipe.width)


def devices_of(
    trainer: TrainerConfig, data: DataConfig, fast_precision: str, width: int
) -> Devices:
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
        "clusters": data.clusters or len(images.classes or ()) or DEFAULT_CLUSTERS,
        "width": recipe.width,
        "stem": recipe.stem,
        "max_pool": recipe.max_pool,
    }


def context_of(config: Any, images: Images, devices: Devices, seed: int) -> Context:
    """The context of the stages of either program's config."""
    settings = config.pretext
    if settings.if_missing not in IF_MISSING:
        allowed = " or ".join(IF_MISSING)
        raise UserError(f"pretext.if_missing must be {allowed}, not {settings.if_missing!r}")
    data = config.data
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


def stage_loggers(stage: Stage, nodes: dict[str, Any], first: int) -> list[Sink]:
    """The configured loggers, with a folder beside the artifact: `logs/<model>-<fingerprint>/`."""
    if "WANDB_SWEEP_ID" in os.environ:  # W&B would take it for the agent's run itself
        nodes = {name: node for name, node in nodes.items() if name != "wandb"}
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
        first=first,
    )
    return [build(node, info=info) for node in nodes.values()]
