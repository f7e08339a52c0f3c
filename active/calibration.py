"""Temperature scaling by the expected calibration error (ECE)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from datamodules.distances import where_exact

TEMPERATURES = np.arange(10, 200) / 10  # [1, 20) in steps of 0.1
CELLS = 2**20  # logits at once, 8 MiB in float64


def fit_temperature(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """The softmax temperature of least ECE on held-out logits (N, C) with labels (N,).

    The grid, [1, 20) in steps of 0.1, is that of UHerding (Bae et al., ICLR 2025); the smallest of
    equally good ones, and 1 without samples. ECE: `bins` bins of equal width of the top
    probability (Guo et al., 2017). Binned on the host, where sums have one order.
    """
    if not len(logits):
        return 1.0
    right = (logits.argmax(dim=1) == labels).long().cpu()
    errors = [
        binary_calibration_error(top, right, n_bins=bins, validate_args=False)
        for top in top_probabilities(where_exact(logits)).cpu()
    ]
    return float(TEMPERATURES[int(torch.stack(errors).argmin())])


def top_probabilities(logits: Tensor) -> Tensor:
    """(T, N) float32 largest probabilities of (N, C) logits at each temperature, on their device.

    One over the sum of exponentials below the largest logit: no softmax is formed.
    """
    found = []
    for rows in logits.split(max(1, CELLS // logits.shape[1])):
        below = rows.double() - rows.amax(dim=1, keepdim=True)
        sums = [(below / float(t)).exp_().sum(dim=1) for t in TEMPERATURES]
        found.append(torch.stack(sums).reciprocal_().float())
    return torch.cat(found, dim=1)
