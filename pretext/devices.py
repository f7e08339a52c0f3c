"""Trainers of one run, on one device or on many, and what only rank zero decides."""

from __future__ import annotations

import datetime
import inspect
import logging
import platform
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from datamodules.cores import sharing
from datamodules.ending import end_with_parent
from datamodules.errors import UserError
from pretext.ranks import check_srun, launched_by_lightning, leave_signals

Result = TypeVar("Result")
FULL = "32-true"
PRECISIONS = ("auto", FULL, "bf16-mixed", "16-mixed")  # the head is float32 in all of them
DEFAULT_THREADS = torch.get_num_threads()  # before any run of this process sets its own
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}

# The loaders here do no work: batches are made on the device, so Lightning's advice is beside it.
warnings.filterwarnings("ignore", ".*does not have many workers.*")
warnings.filterwarnings("ignore", ".*is smaller than the logging interval.*")
warnings.filterwarnings("ignore", ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*")
warnings.filterwarnings("ignore", ".*`IterableDataset` has `__len__` defined.*")
warnings.filterwarnings("ignore", ".*Total length of `.*` across ranks is zero.*")
warnings.filterwarnings("ignore", ".*`srun` command is available.*")  # grids submit jobs
# Values are averaged over ranks before they are logged.
warnings.filterwarnings("ignore", ".*It is recommended to use `self.log.*sync_dist=True.*")
warnings.filterwarnings("ignore", ".*predict returned None if it was on purpose.*")
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


class Devices:
    """Makes the Trainers of a run, all with the same devices, strategy and precision.

    Args:
        precision: `auto` takes `fast_precision` where the hardware has bf16 arithmetic.
        width: channels of the network's first stage, which the layout depends on.
        threads: CPU threads; None leaves PyTorch's choice, of which the ranks of a host take
            equal shares.
        deterministic: if not, cuDNN's kernels are those that prove fastest.
        compile: torch.compile the module before training.
    """

    def __init__(
        self,
        *,
        accelerator: str = "auto",
        devices: int = 1,
        num_nodes: int = 1,
        strategy: str = "auto",
        precision: str = "auto",
        fast_precision: str = FULL,
        width: int = 64,
        threads: int | None = None,
        deterministic: bool = True,
        compile: bool = False,
        sync_batchnorm: bool = True,
        timeout_hours: float = 12,
    ):
        if threads is not None and threads < 1:
            raise UserError(f"trainer.threads must be at least 1, not {threads}")
        if precision not in PRECISIONS:
            allowed = ", ".join(PRECISIONS)
            raise UserError(f"trainer.precision must be one of {allowed}, not {precision!r}")
        torch.backends.cudnn.allow_tf32 = False  # float32 is float32, as for matrix products
        if deterministic:
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.deterministic, self.compile, self.width = deterministic, compile, width
        timeout = datetime.timedelta(hours=timeout_hours)
        self._arguments: dict[str, Any] = {
            "accelerator": accelerator,
            "devices": devices,
            "num_nodes": num_nodes,
            "strategy": lambda: strategy,
            "deterministic": deterministic,
            "benchmark": not deterministic,
        }
        probe = self._probe("trainer")
        self.kind: str = probe.strategy.root_device.type
        self.world_size: int = probe.world_size
        self._threads = threads or max(1, DEFAULT_THREADS // sharing(probe))
        torch.set_num_threads(self._threads)
        self.precision = fast_precision if precision == "auto" else precision
        if precision == "auto" and fast_precision != FULL and not has_bf16(self.kind):
            self.precision = FULL
        self._arguments["precision"] = self.precision
        synced = sync_batchnorm and self.world_size > 1 and self.kind == "cuda"
        if synced:
            self._arguments["sync_batchnorm"] = True
        if self.world_size > 1 and strategy in ("auto", "ddp"):
            settings = ddp_settings(synced)
            self._arguments["strategy"] = lambda: DDPStrategy(timeout=timeout, **settings)
        self._strategy: Strategy = self._probe("trainer.precision").strategy

    def _probe(self, setting: str) -> pl.Trainer:
        """A Trainer of what is known so far, which Lightning may refuse for this setting."""
        try:
            return self.trainer()
        except (pl.utilities.exceptions.MisconfigurationException, ValueError, RuntimeError) as e:
            raise UserError(f"{setting}: {str(e).splitlines()[0]}") from e

    @property
    def channels_last(self) -> bool:
        """The layout that convolutions in half precision want, and a CPU's in any: measured, a
        forward pass in float32 takes 1.7 times less, a training step the same.

        Not for networks whose channels are no multiple of 16: there, in this layout, oneDNN's bf16
        backward pass ended the process on a CPU (torch 2.15, width 8 and 12, odd batches).
        """
        return self.width % 16 == 0 and (self.kind == "cpu" or self.precision != FULL)

    @property
    def speedup(self) -> int:
        """How many times as fast as one all devices are, at best: ranks on a CPU share cores."""
        return 1 if self.kind == "cpu" else self.world_size

    def autocast(self) -> torch.autocast:
        """The precision of a Trainer's steps, for steps without one."""
        half = torch.float16 if self.precision.startswith("16") else torch.bfloat16
        return torch.autocast(self.kind, half, enabled=self.precision.endswith("mixed"))

    def arrange(self, network: nn.Module, module: nn.Module) -> None:
        """Layout of a module and, where asked for, compilation of its `network`; changes it."""
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        if self.compile:
            network.compile()

    def trainer(self, **arguments: Any) -> pl.Trainer:
        """A Trainer for one stage; nothing is logged, saved or shown unless asked for."""
        settings: dict[str, Any] = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,  # ours know the run's seed
        }
        shared = {**self._arguments, "strategy": self._arguments["strategy"]()}
        trainer = pl.Trainer(**(settings | shared | arguments))
        leave_signals(trainer)
        return trainer

    def start(self) -> None:
        """Brings all ranks up, before anything is decided or written; nothing on one device."""
        if self.world_size > 1:
            trainer = self.trainer()
            check_srun(trainer)
            if launched_by_lightning(trainer):
                end_with_parent()
            loader: DataLoader = DataLoader(TensorDataset(torch.zeros(1)))
            trainer.predict(_Hello(), loader, return_predictions=False)
            self._strategy = trainer.strategy
            torch.set_num_threads(self._threads)  # the launch has set its own
            # Ranks whose hardware differs would take other precisions and other artifacts.
            self.precision = self.decide(lambda: self.precision)
            self._arguments["precision"] = self.precision

    @property
    def is_zero(self) -> bool:
        return self._strategy.is_global_zero

    def decide(self, function: Callable[[], Result]) -> Result:
        """The result of `function`, run on rank zero alone; its error is everyone's error."""
        if self.world_size == 1:
            return function()
        answer: Any = None
        if self.is_zero:
            try:
                answer = (function(), None)
            except Exception as error:
                answer = (None, error)
        result, failure = self._strategy.broadcast(answer)
        if failure is not None:
            raise failure
        return result

    def first(self, function: Callable[[], Result]) -> Result:
        """`function` on all ranks, rank zero first: the others find what it has written."""
        mine: list[Result] = []
        self.decide(lambda: mine.append(function()))
        return mine[0] if mine else function()

    def environment(self) -> dict[str, Any]:
        """What besides the settings can change a number."""
        return {
            "device": self.kind if self.kind == "cpu" else f"{self.kind}, {hardware(self.kind)}",
            "world_size": self.world_size,
            "precision": self.precision,
            "threads": torch.get_num_threads() if self.kind == "cpu" else None,
            "torch": str(torch.__version__),
        }


class _Hello(pl.LightningModule):
    def predict_step(self, batch: Any, _: int) -> None:
        return None


def ddp_settings(synced: bool) -> dict[str, Any]:
    """How DDP copies: gradients once, and no buffers before each step where they are `synced`.

    Batch norm's statistics, then those of the whole batch, are the only buffers that change while
    training and are not the same on all ranks by themselves.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return {"gradient_as_bucket_view": True, **({name: False} if synced else {})}


def has_bf16(kind: str) -> bool:
    """Whether bf16 is fast here: on most GPUs, and on CPUs with instructions for it."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and not BF16_FLAGS.isdisjoint(_cpuinfo("flags").split())


def hardware(kind: str) -> str:
    """The name of the device, for records."""
    if kind == "cuda":
        return torch.cuda.get_device_name()
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """What Linux says of the first core; empty where it does not."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return next((x.partition(":")[2].strip() for x in lines if x.startswith(key)), "")
