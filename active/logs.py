"""Where curves go besides the run's own rows: a CSV file, Weights & Biases, TensorBoard."""

from __future__ import annotations

import contextlib
import csv
import glob
import logging
import netrc
import os
import shlex
import socket
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

log = logging.getLogger("initial_pools")
CURVES = ("train/loss", "val/acc")
CYCLE_METRICS = (
    "test/acc", "test/acc_last", "test/nll", "test/ece", "test/balanced_acc", "pool/labeled",
    "pool/fraction", "pool/classes", "pool/entropy", "pool/validation_labels", "time/train_s",
    "time/query_s",
)  # fmt: skip
PER_CLASS = "test/acc_per_class"


@dataclass(frozen=True)
class RunInfo:
    """What a logger may want to know of its run."""

    folder: Path
    id: str  # from what the run computes: a restarted run continues
    experiment: str
    arm: tuple[str, ...]
    seed: str
    config: dict[str, Any]
    first_cycle: int  # earlier ones are complete, and logged


@dataclass(frozen=True)
class Chosen:
    """Images added for a cycle: (n, C, H, W) uint8, in order of preference."""

    cycle: int
    ids: list[str]
    images: np.ndarray
    scores: np.ndarray
    labels: list[str]


class Sink(Logger):
    """A Lightning logger that may also keep a cycle's row and its chosen images."""

    def log_cycle(self, row: dict[str, Any], classes: tuple[str, ...]) -> None:
        pass

    def log_chosen(self, chosen: Chosen) -> None:
        pass

    def close(self) -> None:
        pass


class CSVCurves(Sink):
    """`curves.csv` in the run folder: cycle, running epoch, train/loss, val/acc.

    Not Lightning's CSVLogger, which deletes the file of the run that it is asked to continue.
    """

    def __init__(self, info: RunInfo):
        super().__init__()
        self.file = info.folder / "curves.csv"
        self._row: dict[str, Any] = {}
        kept = [self.columns]
        if self.file.exists():
            with open(self.file, newline="") as stream:
                rows = list(csv.reader(stream))[1:]
            whole = [row for row in rows if len(row) == len(self.columns) and row[0].isdigit()]
            kept += [row for row in whole if int(row[0]) < info.first_cycle]
        with open(self.file, "w", newline="") as stream:
            csv.writer(stream).writerows(kept)

    @property
    def columns(self) -> list[str]:
        return ["cycle", "epoch", *CURVES]

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        pass  # config.yaml has them

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """V is evaluated before the epoch's end, and logged first: one line holds both."""
        self._row |= metrics
        if "train/loss" in metrics:
            row = self._row | {name: int(self._row[name]) for name in ("cycle", "epoch")}
            with open(self.file, "a", newline="") as stream:
                csv.writer(stream).writerow([row.get(name, "") for name in self.columns])
            self._row = {}


class TensorBoardSink(TensorBoardLogger, Sink):
    """Event files in the run folder; cycle metrics against the number of labeled samples."""

    def log_cycle(self, row: dict[str, Any], classes: tuple[str, ...]) -> None:
        values = {name: row[name] for name in CYCLE_METRICS}
        values |= {f"{PER_CLASS}/{c}": v for c, v in zip(classes, row[PER_CLASS], strict=True)}
        self.log_metrics(values, step=row["pool/labeled"])

    def log_chosen(self, chosen: Chosen) -> None:
        self.experiment.add_images(
            f"chosen/cycle_{chosen.cycle}", chosen.images, dataformats="NCHW"
        )

    def close(self) -> None:
        self.experiment.close()


def open_tensorboard(info: RunInfo) -> TensorBoardSink:
    return TensorBoardSink(save_dir=str(info.folder), name="tensorboard", version="")


class WandbSink(WandbLogger, Sink):
    """One W&B run for a run; cycle metrics against labeled samples, curves against epochs."""

    def log_cycle(self, row: dict[str, Any], classes: tuple[str, ...]) -> None:
        values = {name: row[name] for name in CYCLE_METRICS}
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

    def close(self) -> None:
        run = self.experiment
        offline, folder, run_id = run.settings._offline, Path(run.dir).parent.parent, run.id
        run.finish()
        if offline:
            parts = sorted(glob.glob(str(folder / f"offline-run-*-{run_id}")))
            log.info("to upload to W&B: wandb sync --id %s %s", run_id, shlex.join(parts))


def open_wandb(
    info: RunInfo,
    project: str,
    entity: str | None = None,
    group: str | None = None,
    offline: bool = False,
    timeout: float = 15,
) -> WandbSink:
    """A W&B run: online if logged in and the server answers within `timeout` s, else offline."""
    import wandb

    arguments: dict[str, Any] = {
        "project": project,
        "entity": entity,
        "group": group or info.experiment,
        "name": "/".join((*info.arm, info.seed)),
        "id": info.id,
        "dir": str(info.folder),
        "config": info.config,
        "job_type": "active",
    }
    settings = wandb.Settings(silent=True, console="off", init_timeout=timeout / 2)
    run = None
    mode = os.environ.get("WANDB_MODE", "online")
    if not offline and mode == "online" and _logged_in():
        if _reachable(timeout / 3):
            try:
                run = wandb.init(**arguments, resume="allow", settings=settings)
            except wandb.errors.Error as error:
                log.warning("W&B refused the run (%s); it is kept offline", str(error).strip())
                wandb.teardown()
        else:
            log.warning("W&B does not answer; the run is kept offline")
    if run is None:
        arguments["mode"] = "disabled" if mode == "disabled" else "offline"
        run = wandb.init(**arguments, settings=settings)
    for name in (*CYCLE_METRICS, PER_CLASS, f"{PER_CLASS}.*"):
        if name != "pool/labeled":
            run.define_metric(name, step_metric="pool/labeled")
    for name in CURVES:
        run.define_metric(name, step_metric="epoch")
    return WandbSink(experiment=run, project=project)


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
