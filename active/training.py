"""One cycle's training: when V is looked at, which weights are kept, what the test says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch import Tensor

from active.predictor import Predictor
from datamodules.datamodule import PoolDataModule
from datamodules.samplers import split_batches
from pretext.checks import ValidationChecks
from pretext.devices import Devices


class BestWeights(pl.Callback):
    """Copies the weights at the highest `val/acc`, the first of equally good epochs.

    A copy into tensors of its own, on the device: the study's code kept a reference to the live
    weights, which later epochs overwrote, so that its "best" checkpoint held the last ones.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.accuracy = -1.0
        self._live: list[Tensor] = []
        self._kept: list[Tensor] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        accuracy = float(trainer.callback_metrics["val/acc"])
        if not accuracy > self.accuracy:
            return
        if not self._kept:
            self._live = list(pl_module.state_dict().values())
            self._kept = [torch.empty_like(tensor) for tensor in self._live]
        with torch.no_grad():
            torch._foreach_copy_(self._kept, self._live)
        self.accuracy, self.epoch = accuracy, trainer.current_epoch

    def restore(self, module: pl.LightningModule) -> None:
        """Puts the kept weights back, wherever Lightning has moved the module since."""
        with torch.no_grad():
            for live, kept in zip(module.state_dict().values(), self._kept, strict=True):
                live.copy_(kept)


class RunningEpoch(pl.Callback):
    """Logs curves against the running epoch over all cycles, with the cycle beside it.

    Args:
        before: epochs of the cycles before.
        name: of the running epoch.
    """

    def __init__(self, cycle: int, before: int, name: str = "epoch"):
        self.cycle, self.before, self.name = cycle, before, name

    def _log(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        running = float(self.before + trainer.current_epoch + 1)
        values = {"cycle": float(self.cycle), self.name: running, "step": running}
        module.log_dict(values, on_step=False, on_epoch=True, rank_zero_only=True, batch_size=1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._log(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._log(trainer, pl_module)


@dataclass(frozen=True)
class Training:
    """How a classifier is trained in each cycle.

    Args:
        min_steps: optimizer steps that a cycle has at least: a small pool makes so few in
            `max_epochs` that undertraining could be mistaken for a bad pool.
    """

    max_epochs: int
    val_checks: int
    min_steps: int = 0

    def __post_init__(self) -> None:
        if self.max_epochs < 1:
            raise ValueError(f"max_epochs must be at least 1, not {self.max_epochs}")
        if self.val_checks < 1:
            raise ValueError(f"val_checks must be at least 1, not {self.val_checks}")
        if self.min_steps < 0:
            raise ValueError(f"min_steps must be at least 0, not {self.min_steps}")

    def epochs(self, labeled: int, batch_size: int, world_size: int = 1) -> int:
        """Epochs on `labeled` samples: `max_epochs`, or more until `min_steps` steps are made."""
        steps = len(split_batches(np.arange(labeled), batch_size, world_size))
        return max(self.max_epochs, -(-self.min_steps // steps))

    def fit(
        self,
        classifier: Predictor,
        datamodule: PoolDataModule,
        devices: Devices,
        loggers: Sequence[Logger],
        callbacks: list[pl.Callback],
    ) -> dict[str, Any]:
        """Trains on L, restores the best-validation weights and tests; the row's numbers.

        `test/acc` belongs to the restored weights, `test/acc_last` to those of the last epoch;
        without V both are the last.
        """
        validated = len(datamodule.pools.validation) > 0
        best, size = BestWeights(), datamodule.batch_size
        pools = np.cumsum([len(batch) for batch in datamodule.pools.batches])
        each = [self.epochs(labeled, size, devices.world_size) for labeled in pools]
        max_epochs, before = each[-1], sum(each[:-1])
        devices.arrange(classifier.network, classifier)
        trainer = devices.trainer(
            max_epochs=max_epochs,
            logger=list(loggers) or False,
            limit_val_batches=None if validated else 0,
            callbacks=[
                *callbacks,
                ValidationChecks(max_epochs, self.val_checks),
                *([RunningEpoch(datamodule.cycle, before)] if loggers else []),
                *([best] if validated else []),
            ],
        )
        started = time.perf_counter()
        trainer.fit(classifier, datamodule=datamodule)
        seconds = time.perf_counter() - started
        loss = float(trainer.callback_metrics["train/loss"])
        last = self.test(classifier, datamodule, trainer)
        metrics = last
        if best.epoch is not None and best.epoch != max_epochs - 1:
            best.restore(classifier)
            metrics = self.test(classifier, datamodule, trainer)
        return {
            **metrics,
            "test/acc_last": last["test/acc"],
            "val/acc": best.accuracy if validated else None,
            "epoch_best": best.epoch if validated else max_epochs - 1,
            "train/loss": loss,
            "time/train_s": seconds,
        }

    def test(
        self, classifier: Predictor, datamodule: PoolDataModule, trainer: pl.Trainer
    ) -> dict[str, Any]:
        """The numbers of the test part."""
        trainer.test(classifier, datamodule=datamodule, verbose=False)
        return dict(classifier.test_metrics)
