"""What Lightning leaves undone where a run has several processes."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytorch_lightning as pl

LOOK_EVERY = 1.0  # seconds


def end_with_parent() -> None:
    """This process ends soon after the one that started it.

    Lightning ends the other ranks through the Trainer that launched them, which is not the one at
    work; they would wait for rank zero, on their devices, until the strategy's timeout.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def leave_sigterm(trainer: pl.Trainer) -> None:
    """SIGTERM ends a run at once and needs no agreement of ranks, see `conf.launch`.

    Lightning's would cost a broadcast and a wait in every training batch, and one in the handler
    itself, where the others are in the middle of a step.
    """
    nothing: Any = _nothing
    trainer._signal_connector._sigterm_notifier_fn = nothing  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = nothing  # type: ignore[method-assign]


def _nothing(*_: Any) -> None:
    return None
