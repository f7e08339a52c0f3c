"""Where curves go besides the run's own rows: a CSV file, Weights & Biases, TensorBoard."""

from __future__ import annotations

import csv
import io
import logging
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from datamodules.files import write_atomic

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
        text = io.StringIO(newline="")
        csv.writer(text).writerows(kept)
        write_atomic(self.file, text.getvalue().encode())

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
