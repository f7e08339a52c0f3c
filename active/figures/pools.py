"""What pools hold: class histograms, overlaps, and where they lie among all images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from active.columns import CONTROL, ordered
from active.figures.curves import COLUMNS
from active.figures.squares import squares
from active.figures.style import GRAY, legend, quiet, styles, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANCE: dict[str, Any] = {"color": GRAY, "linestyle": (0, (4, 3)), "marker": ""}
NAMED = 20  # so many classes get their names below the bars


def class_histograms(counts: dict[str, np.ndarray], names: list[str] | None) -> Figure:
    """One panel a pool: how many of each class; the dashed line is an equal share.

    Args:
        counts: for each arm (C,) images of each class, mean over seeds.
        names: of the classes, None where they are not known.
    """
    arms = ordered(list(counts))
    figure, axes = titled(arms, 3, (3.4, 1.9), sharey=True)
    looks = styles(arms)
    for axis, arm in zip(axes, arms, strict=True):
        count = counts[arm]
        axis.bar(range(len(count)), count, width=0.8, color=looks[arm].color)
        axis.axhline(count.mean(), linewidth=0.8, **CHANCE)
        if len(count) <= NAMED:
            labels = [str(i) for i in range(len(count))] if names is None else names
            turn = 90 if max(map(len, labels)) > 2 else 0
            axis.set_xticks(range(len(count)), labels, rotation=turn, fontsize=7)
        quiet(axis, "y")
    figure.supylabel("images in the pool", fontsize=9)
    return figure


def overlap_matrix(shares: pd.DataFrame, chance: float) -> Figure:
    """Shares of one pool that another holds, as numbers in percent on shaded squares."""
    title = f"chance: {100 * chance:.2g} %"
    return squares(100 * shares, "{:.0f}", 100, title)


def shares_over_cycles(table: pd.DataFrame, candidates: float) -> Figure:
    """One panel a query, one line a pool: what L shares with the random arm's L.

    Args:
        table: rows of `shares_by_cycle` of one data set and learner.
        candidates: images that pools are drawn from; gives the dashed line of chance.
    """
    queries, arms = ordered(table["query"]), ordered(table["arm"])
    figure, axes = titled(queries, COLUMNS, (3.0, 2.3), sharex=True, sharey=True)
    looks = styles(arms)
    for axis, query in zip(axes, queries, strict=True):
        part = table[table["query"] == query]
        for arm in arms:
            line = part[part["arm"] == arm].sort_values("size")
            where, share = line["size"], 100 * line["share"]
            axis.plot(where, share, markersize=3, linewidth=1.2, **looks[arm].line)
        sizes = np.sort(part["size"].unique())
        axis.plot(sizes, 100 * sizes / candidates, linewidth=0.9, **CHANCE)
        quiet(axis)
    axes[0].set_ylim(bottom=0)  # shared, and the range is frozen by it
    middle = legend(figure, {**{arm: looks[arm].line for arm in arms}, "chance": CHANCE})
    figure.supxlabel("labeled images", fontsize=9)
    figure.supylabel(f"shared with {CONTROL}, %", y=middle, fontsize=9)
    return figure


def embedded_pools(points: np.ndarray, members: dict[str, np.ndarray]) -> Figure:
    """One panel a pool: its members among a sample of all images, in two dimensions.

    Args:
        points: (n, 2) the embedding.
        members: for each arm the rows of `points` that are in its pool.
    """
    arms = ordered(list(members))
    figure, axes = titled(arms, 3, (2.7, 2.7), sharex=True, sharey=True)
    looks = styles(arms)
    x, y = points.T
    for axis, arm in zip(axes, arms, strict=True):
        axis.scatter(x, y, s=2.5, color=GRAY, alpha=0.28, linewidth=0, rasterized=True)
        axis.scatter(x[members[arm]], y[members[arm]], s=9, color=looks[arm].color, linewidth=0)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    return figure
