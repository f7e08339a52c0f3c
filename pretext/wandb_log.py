"""Weights & Biases: one run for a run, online or kept for later, never a prompt or a crash."""

from __future__ import annotations

import contextlib
import glob
import logging
import netrc
import os
import shlex
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from pytorch_lightning.loggers import WandbLogger

from datamodules.errors import UserError
from pretext.loggers import PER_CLASS, Chosen, RunInfo, Sink

UPLOAD = 4  # times the timeout, for what is left to upload when a run ends

log = logging.getLogger("initial_pools")


class WandbSink(WandbLogger, Sink):
    """One W&B run for a run; cycle metrics against labeled samples, curves against epochs."""

    cycle_metrics: tuple[str, ...] = ()

    def log_cycle(self, row: dict[str, Any], classes: tuple[str, ...]) -> None:
        values = {name: row[name] for name in self.cycle_metrics}
        values[PER_CLASS] = dict(zip(classes, row[PER_CLASS], strict=True))
        self.experiment.log(values | {"cycle": row["cycle"]})

    def log_chosen(self, chosen: Chosen) -> None:
        import wandb

        table = wandb.Table(columns=["cycle", "rank", "id", "image", "label", "score"])
        for rank, image in enumerate(chosen.images):
            picture = wandb.Image(np.squeeze(image.transpose(1, 2, 0)))
            table.add_data(
                chosen.cycle, rank, chosen.ids[rank], picture, chosen.labels[rank],
                float(chosen.scores[rank]),
            )  # fmt: skip
        self.experiment.log({"chosen": table, "cycle": chosen.cycle})

    def log_pool(self, described: dict[str, Any], sheet: np.ndarray) -> None:
        import wandb

        self.experiment.log({"initial_pool": wandb.Image(sheet), "cycle": 0})
        self.experiment.summary.update({f"initial_pool/{k}": v for k, v in described.items()})

    def log_artifact(self, path: Path, made: bool) -> None:
        """Its record alone: the checkpoint and the features stay where they are."""
        import wandb

        artifact = wandb.Artifact(path.name, type="pretext")
        artifact.add_file(str(path / "record.json"))
        if made:
            self.experiment.log_artifact(artifact)
        elif not self.experiment.settings._offline:  # W&B can note a use only where it is online
            self.experiment.use_artifact(artifact)

    def close(self, failed: bool = False) -> None:
        run = self.experiment
        offline, folder, run_id = run.settings._offline, Path(run.dir).parent.parent, run.id
        run.finish(exit_code=int(failed))
        if offline or getattr(run, "_finish_timed_out", False):
            parts = sorted(glob.glob(str(folder / f"*run-*-{run_id}")))
            log.info("to upload to W&B: wandb sync --id %s %s", run_id, shlex.join(parts))


def open_wandb(
    info: RunInfo,
    project: str,
    entity: str | None = None,
    group: str | None = None,
    offline: bool = False,
    timeout: float = 15,
) -> WandbSink:
    """A W&B run: online if logged in and the server answers within `timeout` s, else offline.

    What is not uploaded `UPLOAD * timeout` s after the run's end stays in its folder.
    """
    import wandb

    arguments: dict[str, Any] = {
        "project": project,
        "entity": entity,
        "group": group or info.group,
        "name": info.name,
        "id": info.id,
        "dir": str(info.folder.resolve()),
        "config": info.config,
        "job_type": info.job_type,
    }
    settings = wandb.Settings(
        silent=True, console="off", init_timeout=timeout / 2, finish_timeout=UPLOAD * timeout
    )
    run = _begin(arguments, settings, offline, timeout)
    _define_axes(run, info)
    sink = WandbSink(experiment=run, project=project)
    sink.cycle_metrics = info.cycle_metrics
    return sink


def _begin(arguments: dict[str, Any], settings: Any, offline: bool, timeout: float) -> Any:
    import wandb

    mode = os.environ.get("WANDB_MODE", "online")
    if not offline and mode == "online" and _logged_in():
        if _reachable(timeout / 3):
            try:
                return wandb.init(**arguments, resume="allow", settings=settings)
            except wandb.errors.Error as error:
                log.warning("W&B refused the run (%s); it is kept offline", str(error).strip())
                wandb.teardown()
        else:
            log.warning("W&B does not answer; the run is kept offline")
    arguments["mode"] = "disabled" if mode == "disabled" else "offline"
    try:
        return wandb.init(**arguments, settings=settings)
    except wandb.errors.Error as error:
        raise UserError(f"W&B refused the run: {' '.join(str(error).split())}") from error


def _define_axes(run: Any, info: RunInfo) -> None:
    if info.cycle_metrics:
        for name in (*info.cycle_metrics, PER_CLASS, f"{PER_CLASS}.*"):
            if name != "pool/labeled":
                run.define_metric(name, step_metric="pool/labeled")
    for name in info.curves:
        run.define_metric(name, step_metric="epoch")
    for name in info.own_curves[1:]:
        run.define_metric(name, step_metric=info.own_curves[0])


def _server() -> Any:
    return urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        file = os.environ.get("NETRC") or str(Path.home() / ".netrc")
        return netrc.netrc(file).authenticators(_server().hostname) is not None
    return False


def _reachable(seconds: float) -> bool:
    """Whether the server takes a connection; a proxy, where one is set, is left to W&B."""
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    port = _server().port or (80 if _server().scheme == "http" else 443)
    try:
        with socket.create_connection((_server().hostname, port), timeout=seconds):
            return True
    except OSError:
        return False
