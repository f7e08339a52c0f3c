"""BatchBALD (Kirsch et al., NeurIPS 2019, https://arxiv.org/abs/1906.08158)."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from active.acquisition import top
from active.bayesian import bald, batch_bald
from active.montecarlo import MonteCarloQuery
from active.predictor import Outputs, Predictor
from active.query import Gathered, Request, Selection
from pretext.collect import gather_rows

ROOM = 4  # times the candidates, of which logits are kept until the best are looked for
Rows = tuple[Tensor, Tensor, Tensor]  # indices (n,), BALD (n,), logits (n, S, C)


class BatchBALD(MonteCarloQuery):
    """Queries the batch whose labels together say most about the weights.

    Of a sample that is no candidate only its BALD is kept.

    Args:
        samples: dropout masks. A batch's information is at most ln `samples` nats, so that 25, the
            study's number for BALD, are used up within a few dozen images.
        candidates: of highest BALD, among which the batch is built; the rest of the budget, once
            the joint entropy has stopped growing, is taken in BALD order.
    """

    def __init__(self, samples: int = 100, candidates: int = 1000):
        super().__init__(samples)
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, not {candidates}")
        self.candidates = candidates
        self._best: list[Rows] = []

    def on_predict_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_predict_epoch_start(trainer, pl_module)
        self._best = []

    def reduce(self, outputs: Outputs, classifier: Predictor) -> dict[str, Tensor]:
        scores: list[Tensor] = []
        for logits in self.mc_logits(outputs, classifier):
            done = sum(map(len, scores))
            scores.append(bald(logits))
            indices = outputs.indices[done : done + len(scores[-1])].to(logits.device)
            self._best.append((indices, scores[-1], logits.transpose(0, 1)))
            if sum(len(rows[0]) for rows in self._best) > ROOM * self.candidates:
                self._best = [best(self._best, self.candidates)]
        return {"bald": torch.cat(scores)}

    @torch.inference_mode(False)
    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_predict_epoch_end(trainer, pl_module)
        mine = best(self._best, self.candidates)
        indices, scores, logits = (gather_rows(pl_module, column) for column in mine)
        self._best = [(indices, scores, logits)]

    def select(self, gathered: Gathered, request: Request) -> Selection:
        scores = gathered.unlabeled["bald"].double().cpu().numpy()
        order = top(scores, len(scores), request.generator)
        first = order[: self.candidates]
        logits = self._logits(gathered.indices[first]).transpose(0, 1)
        seed = request.seeds.stream("query", request.cycle, 2)
        picks, _ = batch_bald(logits, min(request.budget, len(first)), seed=seed)
        joint = first[picks.cpu().numpy()]
        rest = order[~np.isin(order, joint)]
        chosen = np.concatenate([joint, rest])[: request.budget]
        return Selection(gathered.indices[chosen], scores[chosen])

    def _logits(self, indices: np.ndarray) -> Tensor:
        """(n, S, C) of these samples."""
        ((seen, _, logits),), self._best = self._best, []
        order = seen.argsort()
        wanted = torch.from_numpy(indices).to(seen.device)
        return logits[order[torch.searchsorted(seen[order], wanted)]]


def best(parts: list[Rows], count: int) -> Rows:
    """The `count` rows of highest BALD, and all that equal the last of them."""
    indices, scores, logits = (torch.cat(column) for column in zip(*parts, strict=True))
    if len(scores) <= count:
        return indices, scores, logits
    kept = scores >= scores.topk(count).values[-1]
    return indices[kept], scores[kept], logits[kept]
