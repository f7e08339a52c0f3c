"""MaxHerding (Bae et al., ECCV 2024, https://arxiv.org/abs/2407.12212)."""

from __future__ import annotations

from functools import partial

from active.covering import ArtifactQuery
from active.query import Gathered, Request, Selection
from datamodules.coverage import check_positive, max_herding


class MaxHerding(ArtifactQuery):
    """The largest gain in coverage under exp(-(distance / sigma)^2), as the init of that name."""

    def __init__(self, sigma: float = 1.0):
        super().__init__()
        check_positive("sigma", sigma)
        self.sigma = sigma

    def select(self, gathered: Gathered, request: Request) -> Selection:
        field = self.field(gathered, request)
        choose = partial(max_herding, budget=request.budget, sigma=self.sigma)
        return self.memory.select(field, choose)
