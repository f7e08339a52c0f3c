"""Learning curves and paired differences, as on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from active.averages import ordered
from active.figures.style import TITLE, Style, legend, panels, quiet, shape, short, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4  # panels beside each other, as in the paper's Figures 2 to 5
LABELS = {"labeled": "labeled images", "counted": "labeled and validation images"}


def learning_curves(table: pd.DataFrame, x: str, metric: str) -> Figure:
    """One panel a query, one line a pool: mean and 95 % t interval over seeds.

    Args:
        table: rows of `curve_table` of one data set and learner.
        x: `labeled` or `counted`, the column of the x axis.
        metric: how the y axis is called.
    """
    queries, arms = ordered(table["query"]), ordered(table["arm"])
    rows, columns = shape(len(queries), COLUMNS)
    figure, axes = panels(rows, columns, (3.2, 2.7), sharex=True, sharey=True)
    looks = styles(arms)
    for axis, query in zip(axes.flat, queries, strict=False):
        part = table[table["query"] == query]
        for arm in arms:
            _line(axis, part[part["arm"] == arm].sort_values(x), x, looks[arm])
        axis.set_title(short(query, TITLE))
        quiet(axis)
    for axis in axes.flat[len(queries) :]:
        axis.set_visible(False)
    figure.supxlabel(LABELS[x], fontsize=9)
    figure.supylabel(f"{metric}, %", fontsize=9)
    legend(figure, {arm: looks[arm].line for arm in arms}, 3 * columns)
    return figure


def _line(axis: Axes, curve: pd.DataFrame, x: str, style: Style) -> None:
    if curve.empty:
        return
    where, mean = curve[x], 100 * curve["mean"]
    axis.plot(where, mean, markersize=3.2, linewidth=1.3, **style.line)
    low, high = 100 * curve["low"], 100 * curve["high"]
    axis.fill_between(where, low, high, color=style.color, alpha=0.13, linewidth=0)
