"""Making an artifact: fit, finish, save, score every image, and write."""

from __future__ import annotations

import gc
import logging
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.distances import exact_device
from datamodules.draws import random_order
from datamodules.errors import UserError
from datamodules.files import save_atomic
from datamodules.pretext_data import PretextDataModule
from datamodules.seeds import Seeds
from pretext.artifacts import CHECKPOINT, Artifact, Workshop
from pretext.checks import ValidationChecks
from pretext.collect import Collect
from pretext.devices import Devices, hardware
from pretext.loggers import Sink, opened
from pretext.module import PretextModule
from pretext.monitors import clustering_metrics, knn_accuracy, merged
from pretext.progress import Heartbeat, Progress
from pretext.request import Context, Stage

log = logging.getLogger("initial_pools")
RESUME = "last.ckpt"
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "lightly", "scikit-learn", "numpy")


def make(stage: Stage, parent: Artifact | None, workshop: Workshop) -> None:
    """Trains `stage` on the artifact of its parent and writes its own, under the caller's lock."""
    context, devices = stage.context, stage.context.devices
    gc.collect()  # the Trainers and models of stages before, which lie in circles
    devices.decide(lambda: workshop.scratch.mkdir(parents=True, exist_ok=True))
    started = time.perf_counter()
    checkpoint = workshop.scratch / CHECKPOINT
    progress = Progress(stage.name, workshop.scratch / RESUME, devices)
    first = devices.decide(lambda: _first_epoch(stage, checkpoint, progress))
    with opened(lambda: context.make_loggers(stage, first), devices) as loggers:
        if devices.decide(checkpoint.is_file):
            progress.load_state_dict(_progress_of(checkpoint))
        else:
            module = _new_module(stage, parent)
            _fit(stage, module, progress, loggers)
            devices.decide(lambda: _save(module, checkpoint, progress))
        module = load(checkpoint, stage.type)
        metrics, columns, features = _results(module, context)
        record = _record(stage, parent, metrics, progress, started)
        ids = context.images.train.ids
        devices.decide(lambda: workshop.write(ids, columns, features, record))
        for logger in loggers:
            logger.log_artifact(stage.artifact.path, made=True)
    shown = "  ".join(f"{k} {v:.4f}" for k, v in record["metrics"].items())
    log.info("%s: %s  %s", stage.name, stage.artifact.path, shown)


def _first_epoch(stage: Stage, checkpoint: Path, progress: Progress) -> int:
    """That is to be trained, from 1; what loggers hold of the epochs before is kept."""
    return stage.epochs + 1 if checkpoint.is_file() else progress.next_epoch()


def _new_module(stage: Stage, parent: Artifact | None) -> PretextModule:
    devices = stage.context.devices
    torch.manual_seed(Seeds(stage.context.seed).stream("weights"))
    module = stage.module()
    if parent is not None:
        assert stage.parent is not None
        found = devices.decide(lambda: module.search(_features_of(parent, devices)))
        module.adopt(load(parent.path / CHECKPOINT, stage.parent.type), found)
    return module


def _features_of(parent: Artifact, devices: Devices) -> Tensor:
    return torch.from_numpy(np.array(parent.features())).to(exact_device(devices.kind))


def load(checkpoint: Path, kind: type[PretextModule]) -> PretextModule:
    """The module of a checkpoint, in evaluation mode, on the CPU."""
    module = kind.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    return module.eval()


def data_of(module: PretextModule, context: Context) -> PretextDataModule:
    """The datamodule that a module trains on and scores."""
    seeds, total = Seeds(context.seed), len(context.images.train)
    held_out = random_order(seeds.stream("held_out"), np.arange(total))
    return PretextDataModule(
        context.images,
        seeds,
        views=module.views,
        batch_size=module.hparams.get("batch_size", context.eval_batch_size),
        drop_last=module.drop_last,
        held_out=np.sort(held_out[: int(module.held_out * total)]),
        neighbors=module.neighbors,
        monitor=bool(context.images.classes),
        superclasses=context.superclasses,
        eval_batch_size=context.eval_batch_size,
        workers=context.workers,
        channels_last=context.devices.channels_last,
    )


def _fit(
    stage: Stage,
    module: PretextModule,
    progress: Progress,
    loggers: list[Sink],
) -> None:
    devices, context, epochs = stage.context.devices, stage.context, stage.epochs
    datamodule = data_of(module, context)
    if epochs == 0:
        module.eval()
        with torch.no_grad():
            module.finish(datamodule)
        return
    resume = progress.file if devices.decide(progress.file.is_file) else None
    devices.arrange(module.network, module)
    trainer = devices.trainer(
        max_epochs=epochs,
        logger=loggers or False,
        enable_checkpointing=True,
        limit_val_batches=None if datamodule.val_names else 0,
        callbacks=[ValidationChecks(epochs, context.checks), progress, Heartbeat(stage.name)],
    )
    trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)


def _progress_of(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["progress"]


def _save(module: PretextModule, checkpoint: Path, progress: Progress) -> None:
    def save(scratch: Path) -> None:
        module.save(scratch, progress=progress.state_dict())
        load(scratch, type(module))  # read back before it counts

    save_atomic(checkpoint, save)


def score_all(
    module: PretextModule, datamodule: PretextDataModule, devices: Devices
) -> dict[str, Collect]:
    """What the module says of every train and every test image."""
    parts = ("train", "test") if datamodule.images.test is not None else ("train",)
    return {part: predict(module, datamodule, devices, part) for part in parts}


def predict(
    module: PretextModule, datamodule: PretextDataModule, devices: Devices, part: str
) -> Collect:
    """What the module says of every image of a part: `train`, `test` or `new`."""
    devices.arrange(module.network, module)
    table, datamodule.predicted = Collect(), part
    trainer = devices.trainer(callbacks=[table, Heartbeat(f"scores of the {part} images")])
    trainer.predict(module, datamodule=datamodule, return_predictions=False)
    return table


def measure(tables: dict[str, Collect], context: Context) -> dict[str, float]:
    """k-NN accuracy of the features; ACC, NMI and ARI of the clusters, on either part.

    On rank zero, which has the features.
    """
    images = context.images
    if not images.classes or images.test is None:
        return {}
    labels = {"train": images.train.labels, "test": images.test.labels}
    bank, probe = (
        (torch.from_numpy(tables[p].features).to(context.devices.kind), torch.as_tensor(labels[p]))
        for p in ("train", "test")
    )
    metrics = {"knn/acc": knn_accuracy(*bank, *probe, len(images.classes))}
    for part, suffix in (("train", ""), ("test", "_test")):
        clusters, known = tables[part].columns.get("cluster"), labels[part]
        if clusters is not None and known is not None:
            found = clustering_metrics(clusters, merged(known, context.superclasses))
            metrics |= {name + suffix: value for name, value in found.items()}
    return metrics


def _results(
    module: PretextModule, context: Context
) -> tuple[dict[str, float], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Metrics, the columns of the train images, and each part's features, on rank zero."""
    devices, ids = context.devices, context.images.train.ids
    tables = score_all(module, data_of(module, context), devices)
    columns = tables["train"].columns
    devices.decide(lambda: _check_finite(columns, ids))
    metrics = devices.decide(lambda: measure(tables, context))
    devices.decide(lambda: _warn(module.warning(columns)))
    return metrics, columns, {part: table.features for part, table in tables.items()}


def _warn(sentence: str) -> None:
    if sentence:
        log.warning("%s", sentence)


def _check_finite(columns: dict[str, np.ndarray], ids: list[str]) -> None:
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise UserError(
                f"{name} is not finite for {len(bad)} of {len(ids)} images, first {ids[bad[0]]}: "
                "the training diverged; a smaller --model.lr may help"
            )


def _record(
    stage: Stage,
    parent: Artifact | None,
    metrics: dict[str, float],
    progress: Progress,
    started: float,
) -> dict[str, Any]:
    context, devices = stage.context, stage.context.devices
    return {
        "model": stage.name,
        "config": stage.settings,
        "inputs": context.inputs,
        "data": context.images.fingerprint,
        "fingerprint": stage.fingerprint,
        "recipe": stage.type.recipe,
        "parents": [parent.name] if parent else [],
        "seed": context.seed,
        "packages": {name: version(name) for name in PACKAGES},
        "hardware": hardware(devices.kind),
        **devices.environment(),
        "wall_seconds": time.perf_counter() - started,
        "train_seconds": progress.seconds,
        "metrics": metrics,
        "history": progress.history,
    }
