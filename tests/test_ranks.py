"""Signals and ends of processes; what is set aside in Lightning must be there under that name."""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

from datamodules.errors import UserError
from pretext.devices import Devices
from pretext.ranks import check_srun, launched_by_lightning, leave_signals
from tests.conftest import ROOT

CHILD = """
import os, sys, time
from datamodules import ending
ending.LOOK_EVERY, ending.GRACE = 0.05, float(sys.argv[2])
ending.end_with_parent()
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(float(sys.argv[3]))
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
time.sleep(60)
"""


def start_family(tmp_path: Path, grace: float, work: float) -> tuple[subprocess.Popen, int]:
    """A process, and the process id of a child of it that has called `end_with_parent`."""
    told = tmp_path / "pid"
    command = [sys.executable, "-c", PARENT, CHILD, str(told), str(grace), str(work)]
    parent = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait(lambda: told.exists() and told.read_text(), 60)
    return parent, int(told.read_text())


def wait(there: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended but was not waited for does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def test_a_rank_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    parent, child = start_family(tmp_path, grace=0, work=60)
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait(lambda: not alive(child), 10)


@pytest.mark.parametrize(("grace", "outlived"), [(0.0, False), (60.0, True)])
def test_a_rank_that_is_done_outlives_its_parent_for_a_while(
    grace: float, outlived: bool, tmp_path: Path
) -> None:
    parent, child = start_family(tmp_path, grace, work=0)
    try:
        if not outlived:
            wait(lambda: not alive(child), 20)
        else:
            time.sleep(2)
            assert alive(child)
    finally:
        parent.kill()
        parent.wait()
    wait(lambda: not alive(child), 10)


def trainer_in(environment: Any, local_rank: int = 0) -> Any:
    connector = SimpleNamespace(cluster_environment=environment)
    return SimpleNamespace(_accelerator_connector=connector, local_rank=local_rank, world_size=1)


def test_only_what_lightning_launched_waits_for_its_parent() -> None:
    """torchrun and srun wait for all ranks, and would wait for those that wait."""
    assert launched_by_lightning(trainer_in(LightningEnvironment(), 1))
    assert not launched_by_lightning(trainer_in(LightningEnvironment(), 0))
    assert not launched_by_lightning(trainer_in(object.__new__(TorchElasticEnvironment), 1))
    assert not launched_by_lightning(trainer_in(SLURMEnvironment(), 1))


def test_slurm_is_not_asked_to_requeue() -> None:
    environment = SLURMEnvironment()
    assert environment.auto_requeue
    trainer = pl.Trainer(accelerator="cpu", logger=False)
    trainer._accelerator_connector.cluster_environment = environment
    leave_signals(trainer)
    assert not environment.auto_requeue


@pytest.mark.parametrize("step", [None, "0"])
def test_ranks_that_srun_did_not_start_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, step: str | None
) -> None:
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    if step is not None:
        monkeypatch.setenv("SLURM_STEP_ID", step)
    told = contextlib.nullcontext() if step else pytest.raises(UserError, match="srun python")
    with told:
        check_srun(trainer_in(SLURMEnvironment()))
    check_srun(trainer_in(LightningEnvironment()))


def test_a_signal_is_left_to_who_started_the_process() -> None:
    """Lightning's own answer would end the run as if it had failed, at its next batch."""
    trainer = pl.Trainer(accelerator="cpu", logger=False)
    leave_signals(trainer)
    before, told = signal.getsignal(signal.SIGTERM), []
    signal.signal(signal.SIGTERM, lambda *_: told.append("ours"))
    try:
        trainer._signal_connector.register_signal_handlers()
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        trainer._signal_connector.teardown()
        signal.signal(signal.SIGTERM, before)
    assert told == ["ours"]
    assert not trainer.received_sigterm


def test_torchrun_inside_slurm_stays_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_NTASKS", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(TorchElasticEnvironment, "detect", staticmethod(lambda: True))
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    trainer = Devices(accelerator="cpu").trainer()
    found = trainer._accelerator_connector.cluster_environment
    assert isinstance(found, TorchElasticEnvironment)


def test_ranks_do_not_agree_on_a_signal_in_every_batch() -> None:
    assert "self._broadcast_sigterm_tensor()" in inspect.getsource(_TrainingEpochLoop.advance)
    asked = inspect.getsource(_SignalConnector.register_signal_handlers)
    assert "self._sigterm_notifier_fn" in asked
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False)
    leave_signals(trainer)
    assert trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor() is None
    assert trainer._signal_connector._sigterm_notifier_fn(signal.SIGTERM, None) is None
    assert not trainer.received_sigterm
