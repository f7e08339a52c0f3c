"""BALD (Houlsby et al., 2011; Gal et al., ICML 2017, https://arxiv.org/abs/1703.02910)."""

from __future__ import annotations

from torch import Tensor

from active.bayesian import bald
from active.montecarlo import MonteCarloScore


class BALD(MonteCarloScore):
    """Queries where the label says most about the weights: mutual information, in nats."""

    def score(self, logits: Tensor) -> Tensor:
        return bald(logits)
