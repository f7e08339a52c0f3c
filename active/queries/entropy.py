"""Maximum entropy (Settles, 2009)."""

from __future__ import annotations

from torch import Tensor

from active.acquisition import entropy
from active.predictor import Outputs
from active.query import ScoreQuery


class Entropy(ScoreQuery):
    """Queries where the predicted class distribution has the largest entropy, in nats."""

    def score(self, outputs: Outputs) -> Tensor:
        return entropy(outputs.logits)
