"""A pretext training as it goes on: lines, its history, and a checkpoint to resume from."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from datamodules.files import put_in_place, scratch_of
from pretext.devices import Devices
from pretext.timing import duration

log = logging.getLogger("initial_pools")
SAVE_EVERY = 60.0  # seconds: a checkpoint is 100 MB, an epoch on a GPU takes a few seconds
SAY_EVERY = 10.0
BEAT = 60.0  # seconds


class Progress(Checkpoint):  # such callbacks come after the module's own hooks
    """Logs epochs, keeps their metrics and the seconds spent, and writes `file` to resume from."""

    def __init__(self, name: str, file: Path, devices: Devices):
        self.name, self.file, self.devices = name, file, devices
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0  # of earlier attempts as well
        self._last = self._saved = self._said = time.monotonic()

    def next_epoch(self) -> int:
        """The epoch, from 1, that training goes on with."""
        if not self.file.is_file():
            return 1
        return torch.load(self.file, map_location="cpu", mmap=True, weights_only=True)["epoch"] + 2

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds, self.history = state["seconds"], list(state["history"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = self._saved = time.monotonic()
        if trainer.current_epoch:
            log.info("%s: goes on after epoch %d", self.name, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now = time.monotonic()
        self.seconds += now - self._last
        self._last = now
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k != "step"}
        self.history.append(metrics)
        self._say(trainer, metrics, now)
        last = trainer.current_epoch + 1 == trainer.max_epochs
        # Not after the last: a fit that goes on from there never calls `finish`.
        if self.devices.decide(lambda: not last and now - self._saved >= SAVE_EVERY):
            scratch = scratch_of(self.file)
            trainer.save_checkpoint(scratch)
            self.devices.decide(lambda: put_in_place(scratch, self.file))
            self._saved = time.monotonic()

    def _say(self, trainer: pl.Trainer, metrics: dict[str, float], now: float) -> None:
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 1
        if (now - self._said < SAY_EVERY and epoch < epochs) or not trainer.is_global_zero:
            return
        self._said = now
        shown = [f"{k} {v:.4g}" for k, v in metrics.items() if k != "epoch"]
        if epoch < epochs:
            shown.append(f"{duration(self.seconds / epoch * (epochs - epoch))} left")
        log.info("%s: epoch %d/%d  %s", self.name, epoch, epochs, "  ".join(shown))


class Heartbeat(pl.Callback):
    """Says once a minute how far an epoch or a pass over the images has come; of `what`."""

    def __init__(self, what: str):
        self.what = what
        self._started = self._said = 0.0
        self._batches = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = self._said = time.monotonic()
        self._batches = 0

    on_predict_epoch_start = on_train_epoch_start

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        epoch = f"{self.what}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._beat(trainer, epoch, trainer.num_training_batches)

    def on_predict_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._beat(trainer, self.what, trainer.num_predict_batches[0])

    def _beat(self, trainer: pl.Trainer, what: str, batches: float) -> None:
        self._batches += 1
        now, share = time.monotonic(), self._batches / batches
        if now - self._said < BEAT or share >= 1 or not trainer.is_global_zero:
            return
        self._said = now
        left = duration((now - self._started) / share * (1 - share))
        log.info("%s  %.0f %%  %s left", what, 100 * share, left)
