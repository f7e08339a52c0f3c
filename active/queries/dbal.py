"""DBAL (Gal et al., ICML 2017, https://arxiv.org/abs/1703.02910), by maximum entropy."""

from __future__ import annotations

from torch import Tensor

from active.bayesian import mean_entropy
from active.montecarlo import MonteCarloScore


class DBAL(MonteCarloScore):
    """Queries where the mean of the MC-dropout distributions has the largest entropy, in nats."""

    def score(self, logits: Tensor) -> Tensor:
        return mean_entropy(logits)
