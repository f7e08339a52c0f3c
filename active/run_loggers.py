"""The loggers of a run, and what they are told of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from active.folder import RunFolder
from active.needs import Read
from conf.compose import build, flatten
from conf.identity import is_volatile
from conf.jobs import Job
from pretext.loggers import RunInfo, Sink

CURVES = ("train/loss", "val/acc")
CYCLE_METRICS = (
    "test/acc", "test/acc_last", "test/nll", "test/ece", "test/balanced_acc", "pool/labeled",
    "pool/fraction", "pool/classes", "pool/entropy", "pool/validation_labels", "time/train_s",
    "time/query_s",
)  # fmt: skip


def describe(
    job: Job,
    folder: RunFolder,
    first_cycle: int,
    identity: dict[str, Any],
    own_curves: tuple[str, ...],
) -> RunInfo:
    """What loggers are told of the run; W&B goes on with the run of the same id."""
    same = {k: v for k, v in flatten(identity).items() if not is_volatile(k)}
    text = json.dumps([job.name.path, same], sort_keys=True, default=str)
    return RunInfo(
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


def make_loggers(
    nodes: dict[str, Any],
    info: RunInfo,
    read: Read,
    rows: list[dict[str, Any]],
    classes: tuple[str, ...],
) -> Iterator[Sink]:
    """The loggers of so many configs, each told what is read and of the rows so far."""
    for node in nodes.values():
        logger: Sink = build(node, info=info)
        yield logger
        for artifact in filter(None, read):
            logger.log_artifact(artifact.path, made=False)
        for row in rows:  # what a killed process had not yet sent or flushed
            logger.log_cycle(row, classes)
