"""What every LightningModule here shares: sums over an epoch, optimizer, and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
SCHEDULES = ("cosine", "none")


class Trainable(pl.LightningModule):
    """A module whose hyperparameters name its `optimizer`, `lr`, `weight_decay` and `schedule`."""

    makers: ClassVar[dict[str, Callable[..., torch.optim.Optimizer]]] = OPTIMIZERS

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[str, Tensor] = {}  # by name: (sum of a value, number of samples)

    def _add(self, name: str, value: Tensor, count: int) -> None:
        """Adds to a quantity's sums, which stay on the device until the epoch ends."""
        if name not in self._sums:
            self._sums[name] = torch.zeros(2, device=self.device)
        self._sums[name] += torch.stack([value, value.new_full((), count)])

    def _evenly(self, loss: Tensor, count: int, batch_idx: int) -> Tensor:
        """The mean over this rank's `count` samples, so weighted that DDP's mean over ranks, whose
        shares may differ by a sample, is the mean over the global batch."""
        trainer = self.trainer
        if trainer.world_size == 1:
            return loss
        assert trainer.train_dataloader is not None
        whole = trainer.train_dataloader.sampler.sizes[batch_idx]
        return loss * (trainer.world_size * count / whole)

    def _mean(self, name: str) -> Tensor:
        """The mean over all samples of all ranks; starts the quantity anew."""
        total = self.all_gather(self._sums.pop(name))
        assert isinstance(total, Tensor)
        value, count = total.reshape(-1, 2).sum(dim=0)
        return value / count

    def _reduce(self, tensors: Sequence[Tensor], operation: str) -> None:
        """The `mean` or the `sum` over ranks, in place, in one message."""
        if self.trainer.world_size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        flat = self.trainer.strategy.reduce(flat, reduce_op=operation)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def on_train_end(self) -> None:
        """Rank zero's batch statistics on all ranks, as it saves them: each has its own of the last
        step, where they are not synchronized."""
        with torch.no_grad():
            statistics = [b for b in self.buffers() if b.is_floating_point()]
            for tensor in statistics if self.trainer.global_rank else ():
                tensor.zero_()
            self._reduce(statistics, "sum")

    def make_optimizer(self, epochs: int, floor: float = 0.0) -> Any:
        """For `configure_optimizers`.

        Args:
            epochs: after which the cosine, stepped each epoch, has ended.
            floor: the rate it ends at, as a share of `lr`.
        """
        settings = self.hparams
        optimizer = self.makers[settings["optimizer"]](
            self.parameters(),
            lr=settings["lr"],
            weight_decay=settings["weight_decay"],
            fused=self.device.type in ("cpu", "cuda"),
        )
        if settings["schedule"] == "none":
            return optimizer
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=epochs, eta_min=settings["lr"] * floor
        )
        return [optimizer], [schedule]

    def save(self, path: Path, **more: Any) -> None:
        """A checkpoint that `load_from_checkpoint(path, weights_only=True)` reads.

        Not `Trainer.save_checkpoint`, at which all ranks wait for rank zero, even where it failed.
        """
        checkpoint = {
            "pytorch-lightning_version": pl.__version__,
            "hyper_parameters": dict(self.hparams),
            "state_dict": self.state_dict(),
            **more,
        }
        torch.save(checkpoint, path)


def check_optimization(settings: Any) -> None:
    """Raises ValueError, with the allowed values, for an optimizer that cannot be made."""
    for name, allowed in (("optimizer", tuple(OPTIMIZERS)), ("schedule", SCHEDULES)):
        if settings[name] not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {settings[name]!r}")
    if settings["lr"] <= 0:
        raise ValueError(f"lr must be positive, not {settings['lr']}")
    if settings["weight_decay"] < 0:
        raise ValueError(f"weight_decay must be at least 0, not {settings['weight_decay']}")
