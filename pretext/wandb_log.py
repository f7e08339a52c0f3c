"""Weights & Biases: one run for a run, online or kept for later, never a prompt or a crash."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import WandbLogger

from datamodules.errors import UserError
from datamodules.files import write_atomic
from pretext.loggers import PER_CLASS, Chosen, RunInfo, Sink
from pretext.wandb_server import in_sweep, logged_in, reachable

UPLOAD = 4  # times the timeout, for what is left to upload when a run ends
UNSENT = "unsent"  # beside what an online run could not upload before it ended
TOLD = "told"  # how many cycles W&B has been told of, once it was told all

log = logging.getLogger("initial_pools")


class WandbSink(WandbLogger, Sink):
    """One W&B run for a run; cycle metrics against labeled samples, curves against epochs."""

    cycle_metrics: tuple[str, ...] = ()
    folder: Path
    told = 0

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass  # the config has them

    def log_cycle(self, row: dict[str, Any], classes: tuple[str, ...]) -> None:
        values = {name: row[name] for name in self.cycle_metrics if name in row}
        values[PER_CLASS] = dict(zip(classes, row[PER_CLASS], strict=True))
        self.experiment.log(values | {"cycle": row["cycle"]})
        self.told = row["cycle"] + 1

    def log_chosen(self, chosen: Chosen) -> None:
        """As images: for a table W&B asks its server, and waits long where that is gone."""
        import wandb

        told = zip(chosen.ids, chosen.labels, chosen.scores, strict=False)
        captions = [f"{i}: {name}, {label}, {s:.4g}" for i, (name, label, s) in enumerate(told)]
        pictures = [
            wandb.Image(np.squeeze(image.transpose(1, 2, 0)), caption=caption)
            for image, caption in zip(chosen.images, captions, strict=True)
        ]
        self.experiment.log({"chosen": pictures, "cycle": chosen.cycle})

    def log_pool(self, described: dict[str, Any], sheet: np.ndarray) -> None:
        import wandb

        self.experiment.log({"initial_pool": wandb.Image(sheet), "cycle": 0})
        self.experiment.summary.update({f"initial_pool/{k}": v for k, v in described.items()})

    def log_artifact(self, path: Path, made: bool) -> None:
        """Its record alone: the checkpoint and the features stay where they are."""
        import wandb

        artifact = wandb.Artifact(path.name, type="pretext")
        artifact.add_file(str(path / "record.json"))
        try:
            if made:
                self.experiment.log_artifact(artifact)
            elif not self.experiment.settings._offline:  # W&B notes a use only where it is online
                self.experiment.use_artifact(artifact)
        except (wandb.errors.Error, ValueError) as error:
            log.warning("W&B did not take the artifact %s (%s)", path.name, _line(error))

    def close(self, failed: bool = False) -> None:
        run = self.experiment
        offline, part, run_id = run.settings._offline, Path(run.dir).parent, run.id
        run.finish(exit_code=int(failed))
        if self.told and not failed and not run.disabled:
            write_atomic(self.folder / "wandb" / TOLD, str(self.told).encode())
        if getattr(run, "_finish_timed_out", False):
            (part / UNSENT).touch()
        elif not offline:
            return
        parts = [str(part) for part in unsent(part.parent, run_id)]
        online = "--include-online " if any("offline-run" not in part for part in parts) else ""
        log.info("to upload to W&B: wandb sync %s--id %s %s", online, run_id, shlex.join(parts))


def unsent(folder: Path, run_id: str) -> list[Path]:
    """The parts of a run that W&B's server does not have, as far as is known here, oldest first."""
    parts = [
        part
        for part in folder.iterdir()
        if part.name.endswith(f"-{run_id}")
        and (part.name.startswith("offline-run-") or (part / UNSENT).exists())
        and not any(part.glob("*.synced"))
    ]
    return sorted(parts, key=lambda part: part.name.removeprefix("offline-"))


def open_wandb(
    info: RunInfo,
    project: str,
    entity: str | None = None,
    group: str | None = None,
    offline: bool = False,
    timeout: float = 15,
) -> WandbSink:
    """A W&B run: online if logged in and the server answers within `timeout` s, else offline.

    A folder has one W&B run: what is restarted there continues it, what is done again in another
    folder is another one. What is not uploaded `UPLOAD * timeout` s after the run's end stays in
    its folder.
    """
    import wandb

    arguments: dict[str, Any] = {
        "project": project,
        "entity": entity,
        "group": group or info.group,
        "name": info.name,
        "id": _run_id(info.folder),
        "dir": str(info.folder.resolve()),
        "config": info.config,
        "job_type": info.job_type,
    }
    settings = wandb.Settings(
        silent=True, console="off", init_timeout=timeout / 2, finish_timeout=UPLOAD * timeout
    )
    run = _begin(arguments, settings, offline, timeout)
    if not run.settings._offline and run.url:
        log.info("W&B: %s", run.url)
    _define_axes(run, info)
    sink = WandbSink(experiment=run, project=project)
    sink.cycle_metrics, sink.folder = info.cycle_metrics, info.folder
    return sink


def knows(folder: Path, cycles: int) -> bool:
    """Whether a run's W&B run has so many cycles; in a sweep, whose agent brings one, never."""
    file = folder / "wandb" / TOLD
    return not in_sweep() and file.exists() and int(file.read_text(encoding="utf-8")) >= cycles


def _run_id(folder: Path) -> str:
    file = folder / "wandb" / "id"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, secrets.token_hex(8).encode())
    return file.read_text(encoding="utf-8")


def _begin(arguments: dict[str, Any], settings: Any, offline: bool, timeout: float) -> Any:
    import wandb

    mode = os.environ.get("WANDB_MODE", "online")
    if not offline and mode == "online" and logged_in():
        if reachable(timeout / 3):
            try:
                return wandb.init(**arguments, resume="allow", settings=settings)
            except wandb.errors.Error as error:
                log.warning("W&B refused the run (%s); it is kept offline", _line(error))
                wandb.teardown()
        else:
            log.warning("W&B does not answer; the run is kept offline")
    arguments["mode"] = "disabled" if mode == "disabled" else "offline"
    try:
        return wandb.init(**arguments, settings=settings)
    except wandb.errors.Error as error:
        raise UserError(f"W&B refused the run: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _define_axes(run: Any, info: RunInfo) -> None:
    if info.cycle_metrics:
        for name in (*info.cycle_metrics, PER_CLASS, f"{PER_CLASS}.*"):
            if name != "pool/labeled":
                run.define_metric(name, step_metric="pool/labeled")
        for name in ("chosen", "initial_pool"):
            run.define_metric(name, step_metric="cycle")
    for name in info.curves:
        run.define_metric(name, step_metric="epoch")
    for name in info.own_curves[1:]:
        run.define_metric(name, step_metric=info.own_curves[0])
