"""What a pass over the images leaves, from all ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

PART = 2**26  # bytes of each rank, of rows that are gathered


class Collect(pl.Callback):
    """Keeps what `predict_step` returned of every sample, in the order of the indices.

    `columns` are those of all ranks, each sample once; so are `features`, on rank zero alone.
    """

    def __init__(self) -> None:
        self._rows: list[Any] = []
        self.columns: dict[str, np.ndarray] = {}
        self.features = np.zeros((0, 0), np.float32)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._rows.append(outputs)

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        def gathered(parts: list[Tensor]) -> np.ndarray:
            return gather_rows(pl_module, torch.cat(parts)).cpu().numpy()

        rows, self._rows = self._rows, []
        indices = gathered([row.indices for row in rows])
        order = np.argsort(indices)
        names = list(rows[0].columns)
        self.columns = {n: gathered([row.columns[n] for row in rows])[order] for n in names}
        batches = [(row.indices, row.features) for row in rows]
        self.features = features_on_zero(pl_module, batches, indices[order])


def features_on_zero(
    module: pl.LightningModule, batches: list[tuple[Tensor, Tensor]], samples: np.ndarray
) -> np.ndarray:
    """(N, D) float32 features of the sorted `samples`, on rank zero's host; (0, D) on others.

    Gathered batch by batch, so that no device holds more than its own share and one batch of each.

    Args:
        batches: indices and features of this rank's samples; all ranks have equally many batches.
    """
    zero = module.global_rank == 0
    kept = np.empty((len(samples) if zero else 0, batches[0][1].shape[1]), np.float32)
    for batch in batches:
        indices, features = (gather_rows(module, rows) for rows in batch)
        if zero:
            kept[np.searchsorted(samples, indices.cpu().numpy())] = features.cpu().numpy()
    return kept


def rows_on_zero(module: pl.LightningModule, rows: Tensor, places: Tensor | None = None) -> Tensor:
    """Rows of all ranks on rank zero, one rank's after another's or each in its place; else none.

    Gathered in parts, so that no other rank ever holds more than its own and `PART` of each.

    Args:
        places: on rank zero, where each of the rows goes.
    """
    if module._trainer is None or module.trainer.world_size == 1:
        return rows if places is None else rows[places.argsort()]
    sizes = module.all_gather(torch.tensor(len(rows), device=rows.device))
    assert isinstance(sizes, Tensor)
    counts, zero = sizes.tolist(), module.global_rank == 0
    kept = rows.new_empty((sum(counts) if zero else 0, *rows.shape[1:]))
    step = max(1, PART // (rows.element_size() * math.prod(rows.shape[1:])))
    for start in range(0, max(counts), step):
        mine = rows[start : start + step]
        padded = rows.new_zeros((min(step, max(counts) - start), *rows.shape[1:]))
        padded[: len(mine)] = mine
        parts = module.all_gather(padded)
        assert isinstance(parts, Tensor)
        for rank, count in enumerate(counts if zero else []):
            first, size = sum(counts[:rank]) + start, min(step, count - start)
            if size > 0:
                target = slice(first, first + size)
                kept[target if places is None else places[target]] = parts[rank, :size]
    return kept


def gather_rows(module: pl.LightningModule, rows: Tensor) -> Tensor:
    """Rows of all ranks, one after another; ranks may hold different numbers of them."""
    if module._trainer is None or module.trainer.world_size == 1:
        return rows
    sizes = module.all_gather(torch.tensor(len(rows), device=rows.device))
    assert isinstance(sizes, Tensor)
    padded = rows.new_zeros((int(sizes.max()), *rows.shape[1:]))
    padded[: len(rows)] = rows
    gathered = module.all_gather(padded)
    assert isinstance(gathered, Tensor)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes.tolist(), strict=True)])
