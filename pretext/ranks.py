"""What Lightning leaves undone, or does beside us, where ranks start or are told to stop."""

from __future__ import annotations

import os
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment

from datamodules.errors import UserError


def launched_by_lightning(trainer: pl.Trainer) -> bool:
    """Whether another of our processes started this one, not torchrun, srun or a user."""
    environment = trainer._accelerator_connector.cluster_environment
    return isinstance(environment, LightningEnvironment) and trainer.local_rank > 0


def leave_signals(trainer: pl.Trainer) -> None:
    """SIGTERM is left to who started the process: ours ends a run at once (see `conf.launch`),
    submitit's waits for what follows, and a run goes on from its own files.

    Lightning's answer to SIGTERM would cost several ranks a broadcast and a wait in every training
    batch, and one in the handler itself, where the others are in the middle of a step. On Slurm it
    would save a checkpoint before a requeue, and every later Trainer would load that.
    """
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment):
        environment.auto_requeue = False
    nothing: Any = _nothing
    trainer._signal_connector._sigterm_notifier_fn = nothing  # type: ignore[method-assign]
    epoch_loop = trainer.fit_loop.epoch_loop
    epoch_loop._broadcast_sigterm_tensor = nothing  # type: ignore[method-assign]


def check_srun(trainer: pl.Trainer) -> None:
    """Raises UserError where the other ranks, which srun would start, would be waited for."""
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and "SLURM_STEP_ID" not in os.environ:
        raise UserError("on Slurm a run on several devices is started by srun: srun python ...")


def _nothing(*_: Any) -> None:
    return None
