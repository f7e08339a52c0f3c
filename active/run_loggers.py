"""The loggers of a run, and what they are told of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from active.columns import PARTS
from active.folder import RunFolder
from active.needs import Read
from conf.compose import build
from conf.jobs import Job
from pretext.loggers import RunInfo, Sink

CURVES = ("train/loss", "val/acc")
CYCLE_METRICS = (
    "test/acc", "test/acc_last", "test/nll", "test/ece", "test/balanced_acc", "test/acc_ensemble",
    "test/nll_ensemble", "pool/labeled", "pool/fraction", "pool/classes", "pool/entropy",
    "pool/validation_labels", "time/train_s", "time/query_s",
)  # fmt: skip


def describe(
    job: Job,
    folder: RunFolder,
    first_cycle: int,
    artifacts: dict[str, str | None],
    own_curves: tuple[str, ...] = (),
) -> RunInfo:
    """What loggers are told of the run, which reads these `artifacts`.

    Names of options stand beside the settings and not above them: a sweep writes its own parameters
    `data`, `init` and `query` over those of its run.
    """
    arm, options = job.name.arm, (part.split("-")[0] for part in job.name.arm)
    names = dict(zip(PARTS, options, strict=False)) | {"seed": job.config.seed}
    return RunInfo(
        folder=folder.path,
        group=job.name.experiment,
        name="/".join((*arm, job.name.seed)),
        config={**names, "arm": "/".join(arm), **artifacts, "settings": folder.config()},
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
