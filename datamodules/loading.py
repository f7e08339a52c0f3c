"""What both DataModules share: loaders of positions, gathering on the device, ranks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.cores import cores, sharing
from datamodules.images import Images, Part
from datamodules.samplers import EvalBatches

DEVICE_SHARE = 0.5  # of the device's free memory that images may take


class _Positions(Dataset):
    """Batches of positions; with `part`, also their pixels, read in a loader worker."""

    def __init__(self, part: Part | None):
        # What a worker needs. Copies on devices cannot be sent to another process; the pixels would
        # be copied into shared memory, which a decoder opens anew.
        if part is not None:
            pixels = None if part.decoder else part.pixels
            part = replace(part, ids=[], labels=None, pixels=pixels)
        self.part = part

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
        workers: loader processes when streaming; None: one for each core of a rank, at most 8.
    """

    def __init__(
        self, images: Images, eval_batch_size: int, workers: int | None, channels_last: bool
    ):
        super().__init__()
        self.images, self.eval_batch_size = images, eval_batch_size
        self.workers = workers
        self.channels_last = channels_last

    def loader_generator(self) -> torch.Generator:
        """The loader's own; otherwise it draws from the global one, which dropout uses."""
        raise NotImplementedError

    def eval_loader(self, part: Part, indices: np.ndarray, most: int | None = None) -> DataLoader:
        batches = EvalBatches(indices, self.eval_batch_size, *self.ranks())
        return self.loader(part, batches, most)

    def ranks(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    def loader(self, part: Part, sampler: Any, most: int | None = None) -> DataLoader:
        """Of a sampler's batches.

        Args:
            most: workers, for a loader that is seldom read: they end with each pass.
        """
        trainer = self.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        streamed = resident(part, device) is None
        workers = self._count_workers(most) if streamed else 0
        return DataLoader(
            _Positions(part if streamed else None),
            sampler=sampler,
            batch_size=None,  # the sampler yields whole batches
            num_workers=workers,
            persistent_workers=workers > 0 and most is None,
            pin_memory=streamed and torch.cuda.is_available(),
            generator=self.loader_generator(),
        )

    def _count_workers(self, most: int | None) -> int:
        count, trainer = self.workers, self.trainer
        if count is None:
            count = max(1, min(cores() // (sharing(trainer) if trainer is not None else 1), 8))
        return count if most is None else min(count, most)

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


def _free_memory(device: torch.device) -> float:
    """Bytes that a tensor could still take: what PyTorch keeps for later counts as free."""
    if device.type != "cuda":
        return float("inf")
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
