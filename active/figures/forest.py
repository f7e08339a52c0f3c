"""Differences with their intervals, beside the margin within which nothing matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from active.columns import ordered
from active.figures.curves import COLUMNS
from active.figures.style import GRAY, INK, shape, short, styles, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LETTER = 0.08  # inches that a letter of a pool's name takes


def differences(table: pd.DataFrame, margin: float, label: str) -> Figure:
    """One panel a query, one row a pool: its difference to random with the 95 % t interval.

    Args:
        table: rows of `compare_pools` of one endpoint, data set and learner; a mark is hollow where
            the verdict is undecided.
        margin: half the width of the gray band, in the metric's unit.
        label: of the x axis.
    """
    queries, arms = ordered(table["query"]), ordered(table["arm"])
    names = [short(arm) for arm in arms]
    room = LETTER * max(map(len, names))
    size = (2.7 + room / shape(len(queries), COLUMNS)[1], 0.8 + 0.24 * len(arms))
    figure, axes = titled(queries, COLUMNS, size, sharex=True, sharey=True)
    looks = styles(arms)
    for axis, query in zip(axes, queries, strict=True):
        axis.axvspan(-100 * margin, 100 * margin, color=GRAY, alpha=0.18, linewidth=0)
        axis.axvline(0, color=INK, linewidth=0.7)
        part = table[table["query"] == query].set_index("arm")
        for place, arm in enumerate(arms):
            if arm in part.index:
                row, look = part.loc[arm], looks[arm]
                axis.plot([100 * row["low"], 100 * row["high"]], [place, place],
                          color=look.color, linewidth=1.4)  # fmt: skip
                face = "white" if row["verdict"] == "undecided" else look.color
                axis.plot(100 * row["mean"], place, look.marker, color=look.color, markersize=4.5,
                          markerfacecolor=face)  # fmt: skip
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.grid(axis="x", alpha=0.25, linewidth=0.5)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(arms)), names)
    axes[0].set_ylim(len(arms) - 0.4, -0.6)
    figure.supxlabel(label, fontsize=9)
    return figure
