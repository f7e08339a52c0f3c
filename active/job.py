"""One run, from its config to its table: devices, folder, loggers, loop."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from rich.console import Console

from active.arm import build_learner
from active.cycle import Run, write_label_list
from active.cycle_zero import CycleZero
from active.display import Display, cycles_table
from active.dry_run import dry_run
from active.folder import RunFolder
from active.learner import Seen
from active.origin import made
from active.prepare import Setup, prepare
from conf.cli import Job
from conf.compose import build, flatten
from conf.identity import is_volatile
from conf.schema import ActiveConfig
from datamodules.augment import Augmenter
from datamodules.datamodule import PoolDataModule
from datamodules.errors import UserError
from pretext.artifacts import Artifact
from pretext.console import log_to_file, log_to_terminal
from pretext.devices import Devices, hardware
from pretext.loggers import RunInfo, Sink
from pretext.request import Stage, stage_of
from pretext.setup import context_of, devices_of, pretext_devices

log = logging.getLogger("initial_pools")
CURVES = ("train/loss", "val/acc")
CYCLE_METRICS = (
    "test/acc", "test/acc_last", "test/nll", "test/ece", "test/balanced_acc", "pool/labeled",
    "pool/fraction", "pool/classes", "pool/entropy", "pool/validation_labels", "time/train_s",
    "time/query_s",
)  # fmt: skip


def check(job: Job) -> None:
    """All that can be known to be wrong before training."""
    prepare(job)


def run(job: Job) -> None:
    """One run, from the start or from where it stopped."""
    gc.collect()
    gc.freeze()  # modules, which no collection in a cycle need look through
    config: ActiveConfig = job.config
    devices = classifier_devices(job)
    if config.dry_run:
        ready = prepare(job)
        stages = stages_of(ready)
        dry_run(ready, devices, stages, Path(config.runs_dir) / job.name.path)
        return
    devices.start()
    ready = devices.first(lambda: prepare(job))
    least = 2 * devices.world_size
    if ready.images.classes and min(ready.learner.batch_size, ready.init_budget) < least:
        raise UserError(
            f"batch_size and init_budget must be at least {least}, two samples for each of the "
            f"{devices.world_size} devices: batch normalization cannot train on one"
        )
    path = Path(config.runs_dir) / job.name.path
    folder = RunFolder(path)
    devices.decide(folder.lock)
    if devices.is_zero:
        log_to_terminal()
    handler = log_to_file(path / "log.txt") if devices.is_zero else None
    try:
        _run(job, ready, devices, folder)
    finally:
        if handler is not None:
            folder.unlock()
            logging.getLogger().removeHandler(handler)
            handler.close()


def _run(job: Job, ready: Setup, devices: Devices, folder: RunFolder) -> None:
    config = ready.config
    identity = {**job.resolved, "data_fingerprint": ready.images.fingerprint}
    if fingerprint := ready.arm.init.fingerprint:
        identity["init_fingerprint"] = fingerprint
    rows = devices.decide(folder.rows)
    unfinished = len(rows) <= config.cycles
    environment = devices.environment() if unfinished else None
    devices.decide(lambda: folder.check_config(identity, environment, lambda: made(devices.kind)))
    if not unfinished and ready.images.classes is not None:
        log.info("%s is finished (%d cycles); nothing to do", folder.path, len(rows) - 1)
        return
    of_init, of_query, of_learner = stages_of(ready)
    artifact = artifact_of(of_init)
    if ready.images.classes is None:
        devices.decide(lambda: _list_to_label(ready, folder, artifact, devices.kind))
        return
    read = artifact_of(of_query)
    base = artifact_of(of_learner)
    seen = ready.learner.see(ready.images, base)
    kind = ready.learner.kind(ready.dropout, ready.members)
    train = ready.images.train
    devices.decide(
        lambda: folder.write_validation(
            [train.ids[i] for i in ready.pools.validation], ready.pools.validation
        )
    )
    log.info(
        "%s: cycles %d to %d on %s, %s, %s",
        folder.path, len(rows), config.cycles, devices.kind, hardware(devices.kind),
        devices.precision,
    )  # fmt: skip
    loggers: list[Sink] = []

    def open_loggers() -> None:
        loggers.extend(_loggers(job, folder, len(rows), identity, ready.query.curves))
        for logger in loggers:
            for used in (artifact, read, base):
                if used is not None:
                    logger.log_artifact(used.path, made=False)
            for row in rows:  # what a killed process had not yet sent or flushed
                logger.log_cycle(row, ready.images.classes or ())

    devices.decide(open_loggers)
    with Display(ready.plans, done=len(rows)) as display:
        loop = Run(
            images=ready.images,
            pools=ready.pools,
            datamodule=_datamodule(ready, devices, seen),
            seeds=ready.seeds,
            init=ready.arm.init,
            candidates=ready.candidates(artifact, devices.kind),
            query=ready.query,
            make_classifier=lambda: ready.learner.make(seen, ready.dropout, base),
            predictor=ready.learner.predictor,
            training=ready.training,
            devices=devices,
            folder=folder,
            loggers=loggers,
            display=display,
            init_budget=ready.init_budget,
            budget=ready.budget,
            validation_labels=ready.validation_labels,
            members=ready.members,
            described={
                "classifier": kind,
                "init_artifact": artifact.name if artifact is not None else None,
            },
            shared=_cycle_zero(job, ready, devices, base),
            features=read.features if read is not None else None,
            warm_start=ready.learner.warm_start,
            keep_all_checkpoints=config.trainer.keep_checkpoints == "all",
        )
        try:
            loop.go(len(rows), config.cycles)
        finally:
            for logger in loggers:
                logger.close()
    if devices.is_zero:
        print(folder.path)
        Console().print(cycles_table(folder.rows()))


def classifier_devices(job: Job) -> Devices:
    """Those that the classifier is trained on."""
    config: ActiveConfig = job.config
    learner, _ = build_learner(job.resolved["learner"])
    return devices_of(
        config.trainer,
        config.data,
        learner.fast_precision(config.data.recipe.fast_precision),
        learner.width,
    )


def stages_of(ready: Setup) -> list[Stage | None]:
    """The pretext stages that the init, the query and the learner read; None: it reads none."""
    config = ready.config

    def stage(model: dict[str, Any] | None, seed: int) -> Stage | None:
        if model is None:
            return None
        devices = pretext_devices(config.trainer, config.data)
        return stage_of(model, context_of(config, ready.images, devices, seed))

    return [
        stage(ready.arm.model, ready.pretext_seed),
        stage(ready.query_model if config.cycles else None, ready.pretext_seed),
        stage(ready.learner_model, ready.learner_seed),
    ]


def artifact_of(stage: Stage | None) -> Artifact | None:
    """A stage's artifact, trained first where it is missing."""
    if stage is None:
        return None
    from pretext.announce import announce  # their libraries only where a model is needed
    from pretext.stages import ensure, survey

    devices = stage.context.devices
    devices.start()
    if devices.is_zero and stage.context.if_missing == "train":
        announce(*survey(stage))
    return ensure(stage)


def _cycle_zero(
    job: Job, ready: Setup, devices: Devices, base: Artifact | None
) -> CycleZero | None:
    """Where cycle 0 is shared; not of a learner that is solved sooner than it is read."""
    config = ready.config
    if not config.share_cycle_0 or not ready.learner.steps:
        return None
    settings = flatten({k: job.resolved[k] for k in ("data", "learner", "trainer")})
    by_query = ("learner.dropout", "learner.members", "learner.warm_start")
    common = {
        **{k: v for k, v in settings.items() if k not in by_query and not is_volatile(k)},
        "dropout": ready.dropout,
        "data": ready.images.fingerprint,
        "base": base.name if base is not None else None,
        "environment": devices.environment(),
    }
    folder = Path(config.artifacts_dir) / config.data.name
    return CycleZero(folder, common, ready.learner.predictor, devices)


def _datamodule(ready: Setup, devices: Devices, seen: Seen) -> PoolDataModule:
    data = ready.config.data
    augmenter = Augmenter() if seen.normalized else Augmenter(data.crop, data.flip)
    return PoolDataModule(
        seen.images,
        ready.pools,
        ready.seeds,
        augmenter=augmenter,
        batch_size=ready.learner.batch_size,
        eval_batch_size=seen.eval_batch_size or data.eval_batch_size,
        mean=data.mean,
        std=data.std,
        workers=data.workers,
        channels_last=devices.channels_last,
        normalized=seen.normalized,
    )


def _loggers(
    job: Job,
    folder: RunFolder,
    first_cycle: int,
    identity: dict[str, Any],
    own_curves: tuple[str, ...],
) -> list[Sink]:
    same = {k: v for k, v in flatten(identity).items() if not is_volatile(k)}
    text = json.dumps([job.name.path, same], sort_keys=True, default=str)
    info = RunInfo(
        folder=folder.path,
        id=hashlib.sha256(text.encode()).hexdigest()[:16],
        group=job.name.experiment,
        name="/".join((*job.name.arm, job.name.seed)),
        config=identity,
        job_type="active",
        axes=("cycle", "epoch"),
        curves=CURVES,
        first=first_cycle,
        cycle_metrics=CYCLE_METRICS,
        own_curves=own_curves,
    )
    return [build(node, info=info) for node in job.config.logger.values()]


def _list_to_label(ready: Setup, folder: RunFolder, artifact: Artifact | None, device: str) -> None:
    """Without labels a run ends with its initial pool: the files to label first."""
    selection = ready.choose_initial(artifact, device)
    ids = [ready.images.train.ids[i] for i in selection.indices]
    folder.write_selected(0, ids, selection.indices, selection.scores, 0.0)
    file = write_label_list(folder.path, ids)
    log.info("no labels: the %d files to label first are listed in %s", len(ids), file)
