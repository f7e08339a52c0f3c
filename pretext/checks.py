"""When a training is evaluated."""

from __future__ import annotations

import pytorch_lightning as pl


def check_epochs(max_epochs: int, checks: int) -> set[int]:
    """Epochs (from 0) after which V is evaluated: evenly spaced, the last among them.

    >>> sorted(check_epochs(100, 10))
    [9, 19, 29, 39, 49, 59, 69, 79, 89, 99]
    >>> sorted(check_epochs(3, 10))
    [0, 1, 2]
    """
    checks = min(checks, max_epochs)
    return {-(-max_epochs * i // checks) - 1 for i in range(1, checks + 1)}


class ValidationChecks(pl.Callback):
    """Evaluates V at `check_epochs`; Lightning alone knows only every n-th epoch."""

    def __init__(self, max_epochs: int, checks: int):
        self.epochs, self.never = check_epochs(max_epochs, checks), max_epochs + 1

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        due = trainer.current_epoch in self.epochs
        trainer.check_val_every_n_epoch = 1 if due else self.never
