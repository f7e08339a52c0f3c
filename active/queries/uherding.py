"""UHerding (Bae et al., ICLR 2025, https://arxiv.org/abs/2412.20644)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from active import acquisition
from active.calibration import fit_temperature
from active.covering import ArtifactQuery
from active.predictor import Outputs, Predictor
from active.query import Gathered, Request, Selection
from datamodules.coverage import check_positive, max_herding
from datamodules.distances import smallest_distance


class UHerding(ArtifactQuery):
    """MaxHerding whose coverage counts a sample of U by the classifier's margin uncertainty.

    Weight 1 - (p_first - p_second), of probabilities at the temperature with the least calibration
    error on V (without V: 1); L weighs nothing.

    Args:
        sigma: of the kernel exp(-(distance / sigma)^2); None: the smallest distance above 0 of two
            labeled samples (the paper's is the smallest, which two equal images make 0).
    """

    covers: ClassVar[tuple[str, ...]] = ("unlabeled", "validation")

    def __init__(self, sigma: float | None = None):
        super().__init__()
        if sigma is not None:
            check_positive("sigma", sigma)
        self.sigma = sigma

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, Tensor]:
        return {"logits": outputs.logits}

    def select(self, gathered: Gathered, request: Request) -> Selection:
        temperature = 1.0
        if gathered.validation_labels is not None and len(gathered.validation_labels):
            temperature = fit_temperature(gathered.validation["logits"], gathered.validation_labels)
        uncertainty = acquisition.margin(gathered.unlabeled["logits"] / temperature)
        field = self.field(gathered, request)
        weights = torch.zeros_like(field.features[:, 0])  # those of L
        order = np.searchsorted(gathered.indices, field.names[: len(gathered.indices)])
        weights[: len(order)] = uncertainty[torch.from_numpy(order).to(uncertainty.device)]
        sigma = self.sigma or smallest_distance(field.features[field.labeled])
        picks = max_herding(
            field.features, request.budget, sigma=sigma, labeled=field.labeled, weights=weights
        )
        return field.selection(picks)
