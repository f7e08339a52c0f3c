"""PowerBALD (Kirsch et al., 2021, https://arxiv.org/abs/2106.12059)."""

from __future__ import annotations

import numpy as np

from active.acquisition import top
from active.bayesian import power
from active.queries.bald import BALD
from active.query import Gathered, Request, Selection


class PowerBALD(BALD):
    """Draws without replacement, in proportion to BALD ** beta, so that a batch is less redundant.

    Args:
        beta: 0 draws uniformly, infinity takes the highest (paper: 1).
    """

    def __init__(self, samples: int = 25, beta: float = 1.0):
        super().__init__(samples)
        if beta < 0:
            raise ValueError(f"beta must be at least 0, not {beta}")
        self.beta = beta

    def select(self, gathered: Gathered, request: Request) -> Selection:
        scores = gathered.unlabeled["score"].double().cpu().numpy()
        keys = power(scores, self.beta, request.generator)
        chosen = top(keys, request.budget, request.generator)
        return Selection(gathered.indices[chosen], scores[chosen].astype(np.float64))
