"""The report as a Weights & Biases run of job type `report`."""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import Any

from active.reporting.blocks import Block, Chart, Picture, Section, Table
from conf.compose import build
from conf.jobs import Job
from datamodules.errors import unknown
from pretext.loggers import RunInfo


def log_report(job: Job, sections: list[Section], out: Path) -> None:
    """Logs tables as written, figures as drawn, and the page itself."""
    import wandb

    (name, *others), (node, *_) = job.config.logger, job.config.logger.values()
    if others or name != "wandb":
        raise unknown("logger of a report", ",".join(job.config.logger), ("wandb", "none"))
    logged: dict[str, Any] = {}
    for section in sections:
        for block in section.blocks:
            logged |= _logged(block, out)
    logged["report"] = wandb.Html(str(out / "report.html"), inject=False)
    sink = build(node, info=run_info(job, out))
    sink.experiment.log(logged)
    sink.close()


def run_info(job: Job, out: Path) -> RunInfo:
    """What the W&B run is called; a later report in the same folder continues it."""
    name = job.config.name
    return RunInfo(
        folder=out,
        group=name,
        name=f"report {name}",
        config=job.resolved,
        job_type="report",
        axes=("epoch",),
        curves=(),
        first=0,
    )


@singledispatch
def _logged(block: Block, out: Path) -> dict[str, Any]:
    """What of a block W&B can show by itself; text is in the page."""
    return {}


@_logged.register
def _(block: Table, out: Path) -> dict[str, Any]:
    import wandb

    heads: list[str | int] = [column.title for column in block.shown]
    return {f"tables/{block.name}": wandb.Table(columns=heads, data=block.written())}


@_logged.register
def _(block: Picture, out: Path) -> dict[str, Any]:
    import wandb

    file = out / "figures" / f"{block.name}.png"
    return {f"figures/{block.name}": wandb.Image(str(file), caption=block.title)}


@_logged.register
def _(block: Chart, out: Path) -> dict[str, Any]:
    return _logged(block.picture, out)
