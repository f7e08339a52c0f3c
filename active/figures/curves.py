"""Learning curves and paired differences, as on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from active.columns import ordered
from active.figures.style import Style, legend, quiet, styles, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4  # panels beside each other, as in the paper's Figures 2 to 5
LABELS = {"labeled": "labeled images", "counted": "labeled and validation images"}


def learning_curves(
    table: pd.DataFrame, x: str, metric: str, panel: str = "query", line: str = "arm"
) -> Figure:
    """One panel a query, one line a pool, or the other way round: mean and 95 % t interval.

    Args:
        table: rows of `curve_table` of one data set and learner.
        x: `labeled` or `counted`, the column of the x axis.
        metric: how the y axis is called.
        panel, line: the columns that name panels and lines.
    """
    titles, names = ordered(table[panel]), ordered(table[line])
    figure, axes = titled(titles, COLUMNS, (3.2, 2.7), sharex=True, sharey=True)
    looks = styles(names)
    for axis, title in zip(axes, titles, strict=True):
        part = table[table[panel] == title]
        for name in names:
            _line(axis, part[part[line] == name].sort_values(x), x, looks[name])
        quiet(axis)
    middle = legend(figure, {name: looks[name].line for name in names})
    figure.supxlabel(LABELS[x], fontsize=9)
    figure.supylabel(f"{metric}, %", y=middle, fontsize=9)
    return figure


def _line(axis: Axes, curve: pd.DataFrame, x: str, style: Style) -> None:
    if curve.empty:
        return
    where, mean = curve[x], 100 * curve["mean"]
    axis.plot(where, mean, markersize=3.2, linewidth=1.3, **style.line)
    low, high = 100 * curve["low"], 100 * curve["high"]
    axis.fill_between(where, low, high, color=style.color, alpha=0.13, linewidth=0)
