"""What Lightning leaves undone, or does beside us, where a process is told to stop."""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment

LOOK_EVERY = 0.5  # seconds
GRACE = 60.0  # seconds that the parent has for its last words


def launched_by_lightning(trainer: pl.Trainer) -> bool:
    """Whether another of our processes started this one, not torchrun, srun or a user."""
    environment = trainer._accelerator_connector.cluster_environment
    return isinstance(environment, LightningEnvironment) and trainer.local_rank > 0


def end_with_parent() -> None:
    """This process ends soon after the one that started it, and not before.

    Lightning ends the ranks that it launched through the Trainer that did so, which is not the one
    at work; they would wait for rank zero, on their devices, until the strategy's timeout. And
    where an error is everyone's, it kills the parent as soon as a child has ended with it, while
    the parent may be sending what its loggers hold.
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


def leave_signals(trainer: pl.Trainer) -> None:
    """SIGTERM ends a run at once, see `conf.launch`, and a run goes on from its own files.

    Lightning's answer to SIGTERM would cost several ranks a broadcast and a wait in every training
    batch, and one in the handler itself, where the others are in the middle of a step. On Slurm it
    would save a checkpoint before a requeue, and every later Trainer would load that.
    """
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment):
        environment.auto_requeue = False
    if trainer.world_size > 1:
        nothing: Any = _nothing
        trainer._signal_connector._sigterm_notifier_fn = nothing  # type: ignore[method-assign]
        epoch_loop = trainer.fit_loop.epoch_loop
        epoch_loop._broadcast_sigterm_tensor = nothing  # type: ignore[method-assign]


def _nothing(*_: Any) -> None:
    return None
