"""What a pass over the images leaves, from all ranks."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor


def gather_rows(module: pl.LightningModule, rows: Tensor) -> Tensor:
    """Rows of all ranks, one after another; ranks may hold different numbers of them."""
    if module.trainer.world_size == 1:
        return rows
    sizes = module.all_gather(torch.tensor(len(rows), device=rows.device))
    assert isinstance(sizes, Tensor)
    padded = rows.new_zeros((int(sizes.max()), *rows.shape[1:]))
    padded[: len(rows)] = rows
    gathered = module.all_gather(padded)
    assert isinstance(gathered, Tensor)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes.tolist(), strict=True)])
