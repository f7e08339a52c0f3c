"""What both DataModules share: loaders of positions, gathering on the device, ranks."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.images import Images, Part
from datamodules.samplers import EvalBatches

DEVICE_SHARE = 0.5  # of the device's free memory that images may take


class _Positions(Dataset):
    """Batches of positions; with `part`, also their pixels, taken in a loader worker."""

    def __init__(self, part: Part | None):
        # What a worker needs, without copies on devices, which cannot be sent to another process.
        self.part = None if part is None else replace(part, ids=[], labels=None)

    def __getitem__(self, batch: np.ndarray) -> tuple[Tensor, ...]:
        indices = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.int64))
        if self.part is None:
            return (indices,)
        return indices, self.part.take(batch)


class ImageDataModule(pl.LightningDataModule):
    """Serves batches of a data set's images by position.

    Where the images fit on the device, they are copied there once and the loader yields indices;
    gather, augmentation and normalization happen after the transfer, on the batch, on the device.
    Where they do not, or stay in their files, the loader's workers take or decode them, and the
    rest is the same: both give the same batches.

    Args:
        eval_batch_size: for passes without training, on each device.
        workers: loader processes when streaming; None: one for each core, at most 8.
    """

    def __init__(
        self, images: Images, eval_batch_size: int, workers: int | None, channels_last: bool
    ):
        super().__init__()
        self.images, self.eval_batch_size = images, eval_batch_size
        self.workers = min(_cores(), 8) if workers is None else workers
        self.channels_last = channels_last

    def loader_generator(self) -> torch.Generator:
        """The loader's own; otherwise it draws from the global one, which dropout uses."""
        raise NotImplementedError

    def eval_loader(self, part: Part, indices: np.ndarray) -> DataLoader:
        return self.loader(part, EvalBatches(indices, self.eval_batch_size, *self.ranks()))

    def ranks(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    def loader(self, part: Part, sampler: Any) -> DataLoader:
        trainer = self.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        streamed = resident(part, device) is None
        workers = self.workers if streamed else 0
        return DataLoader(
            _Positions(part if streamed else None),
            sampler=sampler,
            batch_size=None,  # the sampler yields whole batches
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=streamed and torch.cuda.is_available(),
            generator=self.loader_generator(),
        )

    def raw(self, part: Part, batch: Any) -> tuple[Tensor, Tensor]:
        """(indices[, pixels]) on the device -> uint8 images (N, C, H, W) and indices (N,)."""
        indices = batch[0]
        return (batch[1] if len(batch) > 1 else _gather(part, indices)), indices

    def lay_out(self, images: Tensor) -> Tensor:
        """Images in the memory layout that the network wants."""
        if self.channels_last:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def labels(self, part: Part, indices: Tensor) -> Tensor:
        assert part.labels is not None
        key = ("labels", indices.device)
        if key not in part.copies:
            part.copies[key] = torch.from_numpy(part.labels).to(indices.device)
        labels = part.copies[key]
        assert labels is not None
        return labels[indices]


def resident(part: Part, device: torch.device) -> Tensor | None:
    """The pixels of `part` on `device`, copied there once; None where they are not to be there."""
    if part.pixels is None or device.type == "cpu":
        return part.pixels
    key = ("pixels", device)
    if key not in part.copies:
        fits = part.pixels.nbytes <= DEVICE_SHARE * _free_memory(device)
        part.copies[key] = part.pixels.to(device) if fits else None
    return part.copies[key]


def _gather(part: Part, indices: Tensor) -> Tensor:
    pixels = resident(part, indices.device)
    if pixels is None:  # asked for without a loader, whose workers would have taken them
        return part.take(indices.cpu().numpy()).to(indices.device)
    return pixels.index_select(0, indices)


def _cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _free_memory(device: torch.device) -> float:
    """Bytes that a tensor could still take: what PyTorch keeps for later counts as free."""
    if device.type != "cuda":
        return float("inf")
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
