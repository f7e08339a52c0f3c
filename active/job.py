"""From a job's config to a run: builds the objects, checks them, and starts the loop."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from active.classifier import Classifier
from active.cycle import Run, choose_initial, write_label_list
from active.devices import Devices, hardware
from active.display import Display, cycles_table
from active.folder import RunFolder
from active.logs import RunInfo, Sink
from active.plan import CyclePlan, duration, measure, plan_cycles
from active.query import Query
from active.training import Training
from conf.cli import Job
from conf.compose import build, flatten
from conf.identity import is_volatile
from conf.schema import ActiveConfig
from datamodules.augment import Augmenter
from datamodules.datamodule import PoolDataModule
from datamodules.errors import UserError
from datamodules.images import Images, load_images
from datamodules.initial import Init
from datamodules.pools import Pools, check_budgets, draw_validation, resolve_count
from datamodules.seeds import Seeds
from datamodules.sources import Imbalanced, Source

log = logging.getLogger("initial_pools")
CHOICES = {
    "learner.dropout": ("auto", "on", "off"),
    "trainer.keep_checkpoints": ("last", "all"),
}


@dataclass
class Setup:
    """What a run needs before anything is trained or written."""

    config: ActiveConfig
    images: Images
    seeds: Seeds
    pools: Pools
    init: Init
    query: Query
    training: Training
    init_budget: int
    budget: int

    @property
    def dropout(self) -> bool:
        setting = self.config.learner.dropout
        return self.query.wants_dropout if setting == "auto" else setting == "on"

    @property
    def plans(self) -> list[CyclePlan]:
        return plan_cycles(
            train_size=len(self.images.train),
            test_size=len(self.images.test or ()),
            validation=len(self.pools.validation),
            init_budget=self.init_budget,
            budget=self.budget,
            cycles=self.config.cycles,
            max_epochs=self.training.max_epochs,
            val_checks=self.training.val_checks,
            query_needs_pass=self.query.needs_pass,
        )

    def make_classifier(self) -> Classifier:
        learner = self.config.learner
        return Classifier(
            num_classes=len(self.images.classes or ()),
            channels=self.images.train.shape[0],
            width=learner.width,
            stem=learner.stem,
            max_pool=learner.max_pool,
            projection=learner.projection,
            dropout=self.dropout,
            optimizer=learner.optimizer,
            lr=learner.lr,
            weight_decay=learner.weight_decay,
            schedule=learner.schedule,
        )


def check(job: Job) -> None:
    """All that can be known to be wrong before training: names, values, data, budgets."""
    setup(job)


def setup(job: Job) -> Setup:
    """Builds what a run needs; every mistake in its settings is told here."""
    config: ActiveConfig = job.config
    flat = flatten(job.resolved)
    for key, allowed in CHOICES.items():
        if flat[key] not in allowed:
            raise UserError(f"{key} must be one of {', '.join(allowed)}, not {flat[key]!r}")
    init, query = build(config.init), build(config.query)
    images = _images(
        json.dumps(job.resolved["data"], sort_keys=True), config.artifacts_dir, not config.dry_run
    )
    seeds = Seeds(config.seed, **vars(config.seeds))
    total = len(images.train)
    val = config.data.val if images.classes else 0
    pools = Pools(total, draw_validation(total, val, seeds))
    init_budget = resolve_count("init_budget", config.init_budget, total)
    cycles = config.cycles if images.classes else 0
    budget = resolve_count("budget", config.budget, total) if cycles else 0
    check_budgets(total, len(pools.validation), init_budget, budget, cycles)
    try:
        training = Training(config.trainer.max_epochs, config.trainer.val_checks)
        Augmenter(config.data.crop, config.data.flip)
    except ValueError as error:
        raise UserError(str(error)) from error
    ready = Setup(config, images, seeds, pools, init, query, training, init_budget, budget)
    if images.classes:
        _check_learner(ready)
    return ready


def _check_learner(ready: Setup) -> None:
    if ready.config.learner.batch_size < 2:
        raise UserError(f"batch_size must be at least 2, not {ready.config.learner.batch_size}")
    try:
        with torch.device("meta"):  # arguments are checked, no weight is drawn
            ready.make_classifier()
    except ValueError as error:
        raise UserError(f"learner: {error}") from error


@functools.lru_cache(maxsize=2)
def _images(data: str, artifacts_dir: str, write: bool) -> Images:
    """Images of a data config (as JSON, so that a grid loads them once)."""
    config = json.loads(data)
    source: Source = build(config["source"])
    if config["imbalance"] is not None:
        source = Imbalanced(source, config["imbalance"])
    return load_images(source, Path(artifacts_dir), config["in_memory"], write)


def run(job: Job) -> None:
    """One run, from the start or from where it stopped."""
    config: ActiveConfig = job.config
    if config.dry_run:
        ready = setup(job)
        dry_run(job, ready, _devices(config))
        return
    devices = _devices(config)
    devices.start()
    ready = devices.first(lambda: setup(job))
    path = Path(config.runs_dir) / job.name.path
    folder = RunFolder(path)
    devices.decide(folder.lock)
    handler = _log_to(path / "log.txt") if devices.is_zero else None
    try:
        _run(job, ready, devices, folder)
    finally:
        devices.decide(folder.unlock)
        if handler is not None:
            logging.getLogger().removeHandler(handler)
            handler.close()


def _run(job: Job, ready: Setup, devices: Devices, folder: RunFolder) -> None:
    config = ready.config
    identity = {**job.resolved, "data_fingerprint": ready.images.fingerprint}
    rows = devices.decide(folder.rows)
    unfinished = len(rows) <= config.cycles
    environment = devices.environment() if unfinished else None
    devices.decide(lambda: folder.check_config(identity, environment))
    if ready.images.classes is None:
        devices.decide(lambda: _list_to_label(ready, folder))
        return
    if not unfinished:
        log.info("%s is finished (%d cycles); nothing to do", folder.path, len(rows) - 1)
        return
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
    loggers = _loggers(job, devices, folder, len(rows), identity)
    with Display(ready.plans, ready.training.max_epochs, done=len(rows)) as display:
        loop = Run(
            images=ready.images,
            pools=ready.pools,
            datamodule=_datamodule(ready, devices),
            seeds=ready.seeds,
            init=ready.init,
            query=ready.query,
            make_classifier=ready.make_classifier,
            training=ready.training,
            devices=devices,
            folder=folder,
            loggers=loggers,
            display=display,
            init_budget=ready.init_budget,
            budget=ready.budget,
            warm_start=config.learner.warm_start,
            keep_all_checkpoints=config.trainer.keep_checkpoints == "all",
        )
        try:
            loop.go(len(rows), config.cycles)
        finally:
            for logger in loggers:
                logger.close()
    if devices.is_zero:
        Console().print(cycles_table(str(folder.path), folder.rows()))


def _devices(config: ActiveConfig) -> Devices:
    settings = dict(vars(config.trainer))
    for name in ("max_epochs", "val_checks", "keep_checkpoints"):
        del settings[name]
    return Devices(fast_precision=config.data.recipe.fast_precision, **settings)


def _datamodule(ready: Setup, devices: Devices) -> PoolDataModule:
    data = ready.config.data
    return PoolDataModule(
        ready.images,
        ready.pools,
        ready.seeds,
        augmenter=Augmenter(data.crop, data.flip),
        batch_size=ready.config.learner.batch_size,
        eval_batch_size=data.eval_batch_size,
        mean=data.mean,
        std=data.std,
        workers=data.workers,
        channels_last=devices.channels_last,
    )


def _loggers(
    job: Job, devices: Devices, folder: RunFolder, first_cycle: int, identity: dict[str, Any]
) -> list[Sink]:
    if not devices.is_zero:
        return []
    same = {k: v for k, v in flatten(identity).items() if not is_volatile(k)}
    text = json.dumps([job.name.path, same], sort_keys=True, default=str)
    info = RunInfo(
        folder=folder.path,
        id=hashlib.sha256(text.encode()).hexdigest()[:16],
        experiment=job.name.experiment,
        arm=job.name.arm,
        seed=job.name.seed,
        config=identity,
        first_cycle=first_cycle,
    )
    return [build(node, info=info) for node in job.config.logger.values()]


def _list_to_label(ready: Setup, folder: RunFolder) -> None:
    """Without labels a run ends with its initial pool: the files to label first."""
    selection = choose_initial(
        ready.images, ready.pools, ready.init, ready.init_budget, ready.seeds
    )
    ids = [ready.images.train.ids[i] for i in selection.indices]
    folder.write_selected(0, ids, selection.indices, selection.scores, 0.0)
    file = write_label_list(folder.path, ids)
    log.info("no labels: the %d files to label first are listed in %s", len(ids), file)


def dry_run(job: Job, ready: Setup, devices: Devices) -> None:
    """Says what would be done and how long it would take; trains and writes nothing."""
    print(f"{Path(ready.config.runs_dir) / job.name.path}")
    selection = choose_initial(
        ready.images, ready.pools, ready.init, ready.init_budget, ready.seeds
    )
    shown = ", ".join(ready.images.train.ids[i] for i in selection.indices[:8])
    print(f"  initial pool: {len(selection.indices)} samples, first {shown}")
    if ready.images.classes is None:
        print("  no labels: the list of files to label first would be written, nothing trained")
        return
    labels = ready.images.train.labels
    assert labels is not None
    counts = [int((labels[selection.indices] == c).sum()) for c in range(len(ready.images.classes))]
    if len(counts) <= 20:
        print(f"  its classes: {' '.join(map(str, counts))}")
    train_s, forward_s = measure(
        ready.make_classifier(), devices, ready.images.train.shape, ready.config.learner.batch_size
    )
    plans = ready.plans
    train, evaluate, query = (
        sum(getattr(p, n) for p in plans) for n in ("train", "evaluate", "query")
    )
    print(f"  cycles: {len(plans)}, labels {plans[0].labeled} to {plans[-1].labeled}")
    print(f"  image passes: {train:,} training, {evaluate:,} validation and test, {query:,} query")
    seconds = train * train_s + (evaluate + query) * forward_s
    print(
        f"  about {duration(seconds)} on this {devices.kind} ({hardware(devices.kind)}, "
        f"{devices.precision}), from a few batches measured now"
    )


def _log_to(file: Path) -> logging.Handler:
    """Everything said goes to the terminal and to the run's log.txt."""
    root = logging.getLogger()
    if not any(isinstance(h, _Terminal) for h in root.handlers):
        root.addHandler(_Terminal())
        log.setLevel(logging.INFO)
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root.addHandler(handler)
    return handler


class _Terminal(logging.Handler):
    """Prints to whatever standard output is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)
