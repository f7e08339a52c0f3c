"""What Lightning leaves undone where a run has several processes."""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
from typing import Any

import pytorch_lightning as pl

LOOK_EVERY = 0.5  # seconds
GRACE = 60.0  # seconds that rank zero has for its last words


def end_with_parent() -> None:
    """This process, another rank than zero, ends soon after the one that started it, not before.

    Lightning ends the other ranks through the Trainer that launched them, which is not the one at
    work; they would wait for rank zero, on their devices, until the strategy's timeout. And where
    an error is everyone's, it kills rank zero as soon as another rank has ended with it, while
    rank zero may be sending what its loggers hold.
    """
    parent = os.getppid()

    def outlive(seconds: float) -> None:
        end = time.monotonic() + seconds
        while os.getppid() == parent and time.monotonic() < end:
            time.sleep(LOOK_EVERY)

    def watch() -> None:
        outlive(math.inf)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    atexit.register(outlive, GRACE)


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
