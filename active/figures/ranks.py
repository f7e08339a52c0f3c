"""Mean ranks with their critical difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from active.figures.style import INK, panels, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def critical_difference(ranks: pd.Series, width: float, cliques: list[list[str]]) -> Figure:
    """Mean ranks on a line, the best at the left; a bar joins what cannot be told apart.

    Args:
        ranks: mean rank by name, 1 the best.
        width: the critical difference, drawn as a ruler.
        cliques: names that differ by less than it.
    """
    ranks = ranks.sort_values()
    half = -(-len(ranks) // 2)
    low, high = 1.0, float(len(ranks))
    bars = len(cliques)
    height = 0.9 + 0.2 * bars + 0.24 * half
    figure, axes = panels(1, 1, (7.2, height))
    axis = axes[0, 0]
    axis.set_xlim(low - 0.35 * (high - low) - 0.4, high + 0.35 * (high - low) + 0.4)
    bottom = -0.5 - 0.3 * bars - 0.42 * half
    axis.set_ylim(bottom, 1.1)
    axis.axis("off")
    axis.plot([low, high], [0, 0], color=INK, linewidth=0.9)
    for rank in range(int(low), int(high) + 1):
        axis.plot([rank, rank], [0, 0.14], color=INK, linewidth=0.9)
        axis.text(rank, 0.24, str(rank), ha="center", va="bottom", fontsize=8)
    if np.isfinite(width):
        axis.plot([low, low + width], [0.85, 0.85], color=INK, linewidth=1.6)
        axis.text(low + width + 0.06, 0.85, f"critical difference {width:.2f}", va="center",
                  fontsize=8)  # fmt: skip
    _names(axis, ranks, bars)
    _bars(axis, ranks, cliques)
    return figure


def _names(axis: Axes, ranks: pd.Series, bars: int) -> None:
    """Names at both sides, below so many bars, each with a line to its rank."""
    half = -(-len(ranks) // 2)
    low, high = 1.0, float(len(ranks))
    for i, (name, rank) in enumerate(ranks.items()):
        left = i < half
        row = i if left else len(ranks) - 1 - i
        level = -0.45 - 0.3 * bars - 0.42 * row
        end = low - 0.25 if left else high + 0.25
        axis.plot([rank, rank, end], [0, level, level], color=INK, linewidth=0.6)
        named = f"{short(str(name))} ({rank:.2f})"
        axis.text(end + (-0.05 if left else 0.05), level, named, va="center",
                  ha="right" if left else "left", fontsize=8.5)  # fmt: skip


def _bars(axis: Axes, ranks: pd.Series, cliques: list[list[str]]) -> None:
    for i, clique in enumerate(cliques):
        ends = ranks[clique]
        level = -0.25 - 0.3 * i
        axis.plot([ends.min() - 0.04, ends.max() + 0.04], [level, level], color="#0072B2",
                  linewidth=3.2, solid_capstyle="butt")  # fmt: skip
