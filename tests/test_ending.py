"""Two ranks whose end of the connection waits for both, as NCCL's does, come to their end; they
agree on the precision where one of them is of other hardware."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_cli

RANKS = """
import atexit, os, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
import torch.distributed as dist
import lightning_fabric.utilities.distributed as utilities
import pytorch_lightning.strategies.ddp as ddp
from datamodules import ending
import pretext.devices as hardware

case, ending.GRACE = sys.argv[1], float(sys.argv[2])
connect, destroy = ddp._init_dist_connection, dist.destroy_process_group

def disconnect():
    store = dist.distributed_c10d._get_default_store()
    store.add("left", 1)
    while store.add("left", 0) < dist.get_world_size():
        time.sleep(0.05)
    store.add("gone", 1)
    while dist.get_rank() == 0 and store.add("gone", 0) < dist.get_world_size():
        time.sleep(0.05)  # the store ends with this rank
    destroy()

def connected(*given, **named):
    if not dist.is_initialized():
        connect(*given, **named)
        atexit.register(utilities._destroy_dist_connection)  # as Lightning does for NCCL

dist.destroy_process_group = disconnect
ddp._init_dist_connection = connected
hardware.has_bf16 = lambda kind: os.environ.get("LOCAL_RANK", "0") == "0"
with ending.leaving():
    for _ in range(3):  # as where a run reads pretext models
        devices = hardware.Devices(
            accelerator="cpu", devices=2, strategy="ddp", threads=1, fast_precision="bf16-mixed"
        )
        devices.start()
    if str(dist.get_rank()) == case:
        raise RuntimeError("this rank alone")
    if case in "01":
        dist.barrier()
    rank = dist.get_rank()
threads = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
left = sum("gloo_runloop" in name for name in threads)
print(f"rank {{rank}} is done in {{devices.precision}}, {{left}} threads left", flush=True)
"""


@pytest.mark.parametrize(
    ("case", "grace", "told"),
    [("none", 100, "is done in bf16-mixed, 0 threads left"), ("0", 1, "alone"), ("1", 1, "alone")],
)
def test_ranks_end(case: str, grace: float, told: str, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS.format(root=str(ROOT)))
    command = [sys.executable, str(script), case, str(grace)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=tmp_path)
    assert (done.returncode == 0) == (case == "none")
    assert told in done.stdout + done.stderr
    assert done.stdout.count("is done in bf16-mixed") == (2 if case == "none" else 0)


def test_every_command_leaves_so(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []

    @contextmanager
    def seen() -> Iterator[None]:
        entered.append(True)
        yield

    monkeypatch.setattr("conf.launch.leaving", seen)
    assert [run_cli(name, "--help").status for name in ("active", "pretext", "report")] == [0] * 3
    assert len(entered) == 3
