"""Where curves go besides the run's own rows: a CSV file, Weights & Biases, TensorBoard."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from datamodules.files import write_atomic
from pretext.devices import Devices

log = logging.getLogger("initial_pools")
PER_CLASS = "test/acc_per_class"


@dataclass(frozen=True)
class RunInfo:
    """What a logger may want to know of what it logs."""

    folder: Path  # what is restarted there continues
    group: str
    name: str
    config: dict[str, Any]
    job_type: str  # active or pretext
    axes: tuple[str, ...]  # of the curves, `epoch` the last; the first tells old lines from new
    curves: tuple[str, ...]
    first: int  # on the first axis: what lies before is complete, and logged
    cycle_metrics: tuple[str, ...] = ()
    own_curves: tuple[str, ...] = ()  # of a query's own model; the first is their axis


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

    def log_pool(self, described: dict[str, Any], sheet: np.ndarray) -> None:
        """The initial pool's numbers, and its contact sheet (height, width, 3) uint8."""

    def log_artifact(self, path: Path, made: bool) -> None:
        """A pretext artifact that was `made`, or is used."""

    def close(self, failed: bool = False) -> None:
        """Nothing follows; `failed` if what it logged did not come to its end."""


class OwnSink(Sink):
    """A logger of curves alone: it has no name or version, and settings are in other files."""

    name = version = ""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass


@contextmanager
def opened(make: Callable[[], Iterable[Sink]], devices: Devices) -> Iterator[list[Sink]]:
    """The loggers that `make` gives one by one on rank zero, closed whatever happens.

    W&B takes a run that was left open for that of the next logger in the process.
    """
    loggers: list[Sink] = []
    failed = True

    def begin() -> None:
        for logger in make():
            loggers.append(logger)

    try:
        devices.decide(begin)
        yield loggers
        failed = False
    finally:
        for logger in loggers:
            logger.close(failed)


class CSVCurves(OwnSink):
    """`curves.csv` in the folder: the axes (a run's are cycle and running epoch), then the curves.

    Not Lightning's CSVLogger, which deletes the file of the run that it is asked to continue.
    """

    def __init__(self, info: RunInfo):
        super().__init__()
        self.file = info.folder / "curves.csv"
        self._row: dict[str, Any] = {}
        self.axes, self.curves, self.own_curves = info.axes, info.curves, info.own_curves
        kept = [self.columns]
        if self.file.exists():
            with open(self.file, encoding="utf-8", newline="") as stream:
                rows = list(csv.reader(stream))[1:]
            whole = [row for row in rows if len(row) == len(self.columns) and row[0].isdigit()]
            kept += [row for row in whole if int(row[0]) < info.first]
        text = io.StringIO(newline="")
        csv.writer(text).writerows(kept)
        write_atomic(self.file, text.getvalue().encode())

    @property
    def columns(self) -> list[str]:
        return [*self.axes, *self.curves, *self.own_curves]

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """V is evaluated before the epoch's end, and logged first: one line holds both."""
        self._row |= metrics
        if metrics.keys() & {"train/loss", *self.own_curves[:1]}:
            whole = (*self.axes, *self.own_curves[:1])
            row = self._row | {name: int(self._row[name]) for name in whole if name in self._row}
            with open(self.file, "a", encoding="utf-8", newline="") as stream:
                csv.writer(stream).writerow([row.get(name, "") for name in self.columns])
            self._row = {}


class TensorBoardSink(TensorBoardLogger, Sink):
    """Event files in the folder; cycle metrics against the number of labeled samples."""

    cycle_metrics: tuple[str, ...] = ()

    def log_cycle(self, row: dict[str, Any], classes: tuple[str, ...]) -> None:
        values = {name: row[name] for name in self.cycle_metrics if name in row}
        values |= {f"{PER_CLASS}/{c}": v for c, v in zip(classes, row[PER_CLASS], strict=True)}
        self.log_metrics(values, step=row["pool/labeled"])

    def log_chosen(self, chosen: Chosen) -> None:
        self.experiment.add_images(
            f"chosen/cycle_{chosen.cycle}", chosen.images, dataformats="NCHW"
        )

    def log_pool(self, described: dict[str, Any], sheet: np.ndarray) -> None:
        self.experiment.add_image("initial_pool", sheet, dataformats="HWC")

    def close(self, failed: bool = False) -> None:
        self.experiment.close()


def open_tensorboard(info: RunInfo) -> TensorBoardSink:
    sink = TensorBoardSink(save_dir=str(info.folder), name="tensorboard", version="")
    sink.cycle_metrics = info.cycle_metrics
    return sink
