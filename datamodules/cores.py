"""The CPU cores of a process, beside the other ranks of its host."""

from __future__ import annotations

import os

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import SLURMEnvironment


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sharing(trainer: pl.Trainer) -> int:
    """How many ranks share these cores: all of a host, but srun gives each its own."""
    environment = trainer._accelerator_connector.cluster_environment
    return 1 if isinstance(environment, SLURMEnvironment) else trainer.num_devices
