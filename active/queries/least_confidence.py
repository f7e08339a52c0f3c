"""Least confidence (Lewis and Gale, 1994)."""

from __future__ import annotations

from torch import Tensor

from active.acquisition import least_confidence
from active.predictor import Outputs
from active.query import ScoreQuery


class LeastConfidence(ScoreQuery):
    """Queries where the predicted class has the smallest probability; score 1 - max p."""

    def score(self, outputs: Outputs) -> Tensor:
        return least_confidence(outputs.logits)
