"""Smallest margin (Scheffer et al., 2001)."""

from __future__ import annotations

from torch import Tensor

from active.acquisition import margin
from active.predictor import Outputs
from active.query import ScoreQuery


class Margin(ScoreQuery):
    """Queries where the two most probable classes are closest; score 1 - (p_first - p_second)."""

    def score(self, outputs: Outputs) -> Tensor:
        return margin(outputs.logits)
