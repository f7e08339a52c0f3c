"""BatchBALD (Kirsch et al., NeurIPS 2019, https://arxiv.org/abs/1906.08158)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from active.acquisition import top
from active.bayesian import bald, batch_bald
from active.montecarlo import MonteCarloQuery
from active.predictor import Outputs, Predictor
from active.query import Gathered, Request, Selection


class BatchBALD(MonteCarloQuery):
    """Queries the batch whose labels together say most about the weights.

    Args:
        candidates: of highest BALD, among which the batch is built; the rest of the budget, once
            the joint entropy has stopped growing, is taken in BALD order.
    """

    def __init__(self, samples: int = 25, candidates: int = 1000):
        super().__init__(samples)
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, not {candidates}")
        self.candidates = candidates

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, Tensor]:
        logits = self.mc_logits(outputs, classifier)
        return {"logits": logits.transpose(0, 1), "bald": bald(logits)}

    def select(self, gathered: Gathered, request: Request) -> Selection:
        scores = gathered.unlabeled["bald"].double().cpu().numpy()
        order = top(scores, len(scores), request.generator)
        first = order[: self.candidates]
        logits = gathered.unlabeled["logits"][torch.from_numpy(first)].transpose(0, 1)
        seed = request.seeds.stream("query", request.cycle, 2)
        picks, _ = batch_bald(logits, min(request.budget, len(first)), seed=seed)
        joint = first[picks.cpu().numpy()]
        rest = order[~np.isin(order, joint)]
        chosen = np.concatenate([joint, rest])[: request.budget]
        return Selection(gathered.indices[chosen], scores[chosen])
