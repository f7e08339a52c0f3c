"""One run, from its config to its table: devices, folder, loggers, loop."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from active.arm import build_learner
from active.columns import ARTIFACTS
from active.cycle import Run
from active.cycle_zero import CycleZero
from active.display import Display, cycles_table
from active.dry_run import dry_run
from active.first_pool import choose_first
from active.folder import RunFolder
from active.learner import Seen
from active.needs import Read, artifact_of, read_all, stages_of
from active.origin import describe_origin
from active.prepare import Setup, prepare
from active.run_loggers import describe, make_loggers
from conf.compose import flatten
from conf.identity import is_volatile
from conf.jobs import Job
from conf.schema import ActiveConfig
from datamodules.augment import Augmenter, Normalizer
from datamodules.datamodule import PoolDataModule
from datamodules.errors import UserError
from datamodules.own import code_of
from pretext.artifacts import Artifact
from pretext.console import log_to_file, log_to_terminal
from pretext.devices import Devices, hardware
from pretext.loggers import Sink, opened
from pretext.request import Stage
from pretext.setup import devices_of
from pretext.wandb_log import knows

log = logging.getLogger("initial_pools")


def run(job: Job) -> None:
    """One run, from the start or from where it stopped."""
    gc.collect()
    gc.freeze()  # modules, which no collection in a cycle need look through
    config: ActiveConfig = job.config
    devices, path = classifier_devices(job), Path(config.runs_dir) / job.name.path
    if config.dry_run:
        ready = prepare(job)
        dry_run(ready, devices, stages_of(ready), path)
        return
    devices.start()
    ready = devices.first(lambda: prepare(job))
    _check_batches(ready, devices.world_size)
    folder = RunFolder(path)
    devices.decide(folder.lock)
    with _locked_and_logged(folder) if devices.is_zero else nullcontext():
        _run(job, ready, devices, folder)


def _check_batches(ready: Setup, devices: int) -> None:
    least = 2 * devices
    if ready.images.classes and min(ready.learner.batch_size, ready.init_budget) < least:
        raise UserError(
            f"batch_size and init_budget must be at least {least}, two samples for each of the "
            f"{devices} devices: batch normalization cannot train on one"
        )


@contextmanager
def _locked_and_logged(folder: RunFolder) -> Iterator[None]:
    """Writes log.txt, and gives the folder's lock back at the end."""
    log_to_terminal()
    handler = log_to_file(folder.path / "log.txt")
    try:
        yield
    finally:
        folder.unlock()
        logging.getLogger().removeHandler(handler)
        handler.close()


def _run(job: Job, ready: Setup, devices: Devices, folder: RunFolder) -> None:
    """What is left to do of a run; UserError where its folder holds another."""
    stages = stages_of(ready)
    identity = _identity(job, ready, stages)
    rows = devices.decide(folder.rows)
    unfinished = len(rows) <= ready.config.cycles
    environment = devices.environment() if unfinished else None
    devices.decide(
        lambda: folder.check_config(identity, environment, lambda: describe_origin(devices.kind))
    )
    if ready.images.classes is None:
        _list_to_label(ready, stages[0], devices, folder)
    elif unfinished:
        _cycles(job, ready, stages, devices, folder, rows)
    else:
        log.info("%s is finished (%d cycles); nothing to do", folder.path, len(rows) - 1)
        _tell_wandb(job, ready, devices, folder, rows)


def _identity(job: Job, ready: Setup, stages: list[Stage | None]) -> dict[str, Any]:
    """Settings, and digests of the data, of a file that decides the initial pool, of own code and
    of the models that stand on such."""
    identity = {**job.resolved, "data_fingerprint": ready.images.fingerprint}
    if fingerprint := ready.arm.init.fingerprint:
        identity["init_fingerprint"] = fingerprint
    own = {"query": ready.query, "learner": ready.learner}
    codes = {f"{name}_code": code_of(type(one)) for name, one in own.items()}
    codes["init_code"] = "".join(code_of(type(init)) for init in ready.arm.init.chain)
    for name, stage in zip(Read._fields, stages, strict=True):
        if stage is not None and stage.may_change:
            codes[f"{name}_model"] = stage.fingerprint
    return identity | {name: code for name, code in codes.items() if code}


def _cycles(
    job: Job,
    ready: Setup,
    stages: list[Stage | None],
    devices: Devices,
    folder: RunFolder,
    rows: list[dict[str, Any]],
) -> None:
    """The cycles after those whose `rows` are there."""
    read = read_all(stages)
    seen = ready.learner.see(ready.images, read.learner)
    validation = ready.pools.validation
    ids = [ready.images.train.ids[i] for i in validation]
    devices.decide(lambda: folder.write_validation(ids, validation))
    log.info(
        "%s: cycles %d to %d on %s, %s, %s",
        folder.path, len(rows), ready.config.cycles, devices.kind, hardware(devices.kind),
        devices.precision,
    )  # fmt: skip

    def make() -> Iterator[Sink]:
        info = describe(job, folder, len(rows), read.names, ready.query.curves)
        return make_loggers(ready.config.logger, info, read, rows, ready.images.classes or ())

    with (
        opened(make, devices) as loggers,
        Display(ready.plans, len(rows), devices.is_zero) as display,
    ):
        loop = Run(
            ready, read, devices, folder, loggers, display,
            datamodule=_datamodule(ready, devices, seen),
            make_classifier=lambda: ready.learner.make(seen, ready.dropout, read.learner),
            shared=_cycle_zero(job, ready, devices, read.learner),
        )  # fmt: skip
        loop.go(len(rows), ready.config.cycles)
    if devices.is_zero:
        print(folder.path)
        Console().print(cycles_table(folder.rows()))


def _tell_wandb(
    job: Job, ready: Setup, devices: Devices, folder: RunFolder, rows: list[dict[str, Any]]
) -> None:
    """A finished run's rows, where W&B has not all of them, and always for a sweep's own run."""
    node = ready.config.logger.get("wandb")
    if node is None or devices.decide(lambda: knows(folder.path, len(rows))):
        return

    def make() -> Iterator[Sink]:
        info = describe(job, folder, len(rows), {name: rows[-1].get(name) for name in ARTIFACTS})
        return make_loggers({"wandb": node}, info, Read(), rows, ready.images.classes or ())

    with opened(make, devices):
        pass


def classifier_devices(job: Job) -> Devices:
    """Those that the classifier is trained on."""
    config: ActiveConfig = job.config
    learner, _ = build_learner(job.resolved["learner"])
    precision = learner.fast_precision(config.data.recipe.fast_precision)
    return devices_of(config.trainer, precision, learner.width)


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
    if code := code_of(type(ready.learner)):
        common["code"] = code
    folder = Path(config.artifacts_dir) / config.data.name
    return CycleZero(folder, common, ready.learner.predictor, devices)


def _datamodule(ready: Setup, devices: Devices, seen: Seen) -> PoolDataModule:
    data = ready.config.data
    plain = seen.normalized
    mean, std = ready.inputs["mean"], ready.inputs["std"]
    return PoolDataModule(
        seen.images,
        ready.pools,
        ready.seeds,
        augmenter=Augmenter() if plain else Augmenter(data.crop, data.flip),
        normalizer=torch.nn.Identity() if plain else Normalizer(mean, std),
        batch_size=ready.learner.batch_size,
        eval_batch_size=seen.eval_batch_size or data.eval_batch_size,
        workers=data.workers,
        channels_last=devices.channels_last,
    )


def _list_to_label(
    ready: Setup, of_init: Stage | None, devices: Devices, folder: RunFolder
) -> None:
    """Without labels a run ends with its initial pool: the files to label first."""
    artifact = artifact_of(of_init)

    def write() -> None:
        selection, *_ = choose_first(ready, ready.candidates(artifact, devices.kind), folder)
        ids = [ready.images.train.ids[i] for i in selection.indices]
        folder.write_selected(0, ids, selection.indices, selection.scores, 0.0)
        file = folder.write_label_list(ids)
        log.info("no labels: the %d files to label first are listed in %s", len(ids), file)

    devices.decide(write)
