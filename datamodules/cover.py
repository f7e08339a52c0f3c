"""What chosen samples cover under a kernel of the distance, and what each other one would add."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.distances import squared_distances, squared_norms
from datamodules.fronts import Front, Known

Kernel = Callable[[Tensor], Tensor]  # squared distances, which it may overwrite -> [0, 1]
ROWS, COLUMNS = 512, 2048  # of a block of distances
SIDE = 1024  # of a square one
AHEAD = 16  # candidates whose kernels are computed together


@dataclass
class Cover:
    """A cover of N samples that rises with each choice, and the gains of all candidates.

    `gains` are exact for the cover `base`; `bounds` are upper bounds of the gains under the present
    cover, tighter for candidates that a front has held. Both are -inf where a sample is chosen.
    """

    x: Tensor  # (N, D) exact
    kernel: Kernel
    weights: Tensor
    cover: Tensor
    base: Tensor
    gains: Tensor
    bounds: Tensor

    def __post_init__(self) -> None:
        self.norms = torch.cat([squared_norms(part) for part in self.x.split(ROWS)])

    @classmethod
    def of(
        cls, x: Tensor, kernel: Kernel, labeled: Tensor, weights: Tensor | None, known: Known
    ) -> Cover:
        """By the labeled samples; only by those that are new, if something is known."""
        w = torch.ones_like(x[:, 0]) if weights is None else weights.to(x)
        zeros = (torch.zeros_like(w) for _ in range(4))
        state = cls(x, kernel, w, *(known.columns or zeros))
        state._choose(labeled[known.chosen :])
        if not known.columns:
            state.base = state.cover.clone()
            rows = (state.base < 1).nonzero()[:, 0]
            state.gains += state._gain_of_all(rows, state.base[rows], torch.ones_like(w)[rows])
            state.bounds = state.gains.clone()
        return state

    @property
    def columns(self) -> tuple[Tensor, ...]:
        return self.cover, self.base, self.gains, self.bounds

    def risen(self) -> Tensor:
        """Positions of the samples that are covered better than when gains were up to date."""
        return (self.cover > self.base).nonzero()[:, 0]

    def update(self, risen: Tensor) -> None:
        """Brings all gains up to date."""
        self.gains -= self._gain_of_all(risen, self.base[risen], self.cover[risen])
        self.bounds, self.base = self.gains.clone(), self.cover.clone()

    def pick(self, front: Front, risen: Tensor, budget: int, stop: float) -> Tensor:
        """Picks from the front, until a candidate outside may gain more or none above `stop`."""
        pool = front.positions
        now = self.gains[pool] - self._gain(pool, risen, self.base[risen], self.cover[risen])
        ahead: dict[int, Tensor] = {}  # kernel rows of those that will probably be next
        new: list[int] = []
        while len(new) < min(budget, len(now)):
            best = int(now.argmax())
            value, position = float(now[best]), int(pool[best])
            if value <= stop or not front.leads(value, position):
                break
            if best not in ahead:
                likely = [best, *now.topk(min(AHEAD - 1, len(now))).indices.tolist()]
                squared = squared_distances(self.x[pool[likely]], self.x, self.norms)
                ahead = dict(zip(likely, self.kernel(squared), strict=True))
            new.append(position)
            rows = (ahead[best] > self.cover).nonzero()[:, 0]
            higher = ahead[best][rows]
            now -= self._gain(pool, rows, self.cover[rows], higher)
            self.cover[rows], now[best] = higher, -math.inf
        self.bounds[pool], picks = now, pool.new_tensor(new)
        self.gains[picks] = -math.inf
        return picks

    def _choose(self, new: Tensor) -> None:
        if len(new):
            y, norms = self.x[new], self.norms[new]
            held = [self.kernel(squared_distances(x, y, norms)).amax(1) for x in self.x.split(ROWS)]
            self.cover = torch.maximum(self.cover, torch.cat(held))
            self.gains[new] = self.bounds[new] = -math.inf

    def _gain(self, columns: Tensor, rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(C,) what each column adds to the weighted cover of rows that may rise from low to high.

        Columns and rows are positions; a row's cover is `low` now.
        """
        total, weights = self.x.new_zeros(len(columns)), self.weights[rows]
        parts = list(zip(*(t.split(ROWS) for t in (rows, low, high, weights)), strict=True))
        for into, names in zip(total.split(COLUMNS), columns.split(COLUMNS), strict=True):
            y, norms = self.x[names], self.norms[names]
            for row, a, b, w in parts:
                values = self.kernel(squared_distances(self.x[row], y, norms, own=self.norms[row]))
                into += w @ torch.clamp(values, a[:, None], b[:, None], out=values)
        return total - weights @ low

    def _gain_of_all(self, rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(N,) as `_gain`, of all that are left; what two rows are to each other is computed once,
        for both."""
        left = self.gains > -math.inf
        left[rows] = False
        names = [*rows.split(SIDE), *left.nonzero()[:, 0].split(SIDE)]
        parts = list(zip(*(t.split(SIDE) for t in (low, high, self.weights[rows])), strict=True))
        totals = [self.x.new_zeros(len(block)) for block in names]
        for i, (a, b, w) in enumerate(parts):
            x, own = self.x[names[i]], self.norms[names[i]]
            for j in range(i, len(names)):
                y, norms = self.x[names[j]], self.norms[names[j]]
                values = self.kernel(squared_distances(x, y, norms, own=own))
                if i < j < len(parts):
                    totals[i] += torch.clamp(values, parts[j][0], parts[j][1]) @ parts[j][2]
                totals[j] += w @ torch.clamp(values, a[:, None], b[:, None], out=values)
        gains = torch.zeros_like(self.cover)
        gains[torch.cat(names)] = torch.cat(totals) - self.weights[rows] @ low
        return gains
