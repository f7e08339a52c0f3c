"""Passive learning."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from active.query import Gathered, Query, Request, Selection
from datamodules.draws import random_order


class Random(Query):
    """Ranks by one random priority for each (seed, sample), shared by all cycles and inits.

    Passive arms of a seed so share most of their picks, which makes their differences smaller. The
    study's code drew anew, from the same seed, at every cycle.
    """

    covers: ClassVar[tuple[str, ...]] = ()

    def select(self, gathered: Gathered, request: Request) -> Selection:
        order = random_order(request.seeds.stream("query"), gathered.indices)
        chosen = order[: request.budget]
        return Selection(chosen, np.full(len(chosen), np.nan))
