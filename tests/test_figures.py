"""Figures as they are written: nothing is cut off, whatever the names and their number."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pandas as pd
import pytest
from matplotlib.figure import Figure

from active.figures.curves import learning_curves
from active.figures.forest import differences
from active.figures.pools import shares_over_cycles

QUERIES = ["random", "entropy", "margin", "dbal"]


def curves(queries: list[str], arms: list[str]) -> Figure:
    rows = [
        {"query": query, "arm": arm, "labeled": n, "mean": 0.5, "low": 0.4, "high": 0.6}
        for query, arm, n in product(queries, arms, (10, 20))
    ]
    return learning_curves(pd.DataFrame(rows), "labeled", "test accuracy")


def shares(queries: list[str], arms: list[str]) -> Figure:
    """Each query's curves end higher than those of the query before it."""
    rows = [
        {"query": query, "arm": arm, "size": n, "share": share}
        for query, arm in product(queries, arms)
        for n, share in ((10, 0.1), (20, 0.2 + 0.2 * queries.index(query)))
    ]
    return shares_over_cycles(pd.DataFrame(rows), 1000)


@pytest.mark.parametrize("draw", [curves, shares])
@pytest.mark.parametrize(
    ("queries", "name", "arms"),
    [
        (QUERIES[:2], "binning", 9),
        (QUERIES[:1], "entropy", 19),
        (QUERIES[:2], "linear_vae", 7),
        (QUERIES[:1], "vae", 8),
        (QUERIES, "typiclust", 16),
        (QUERIES[:1], "simclr-hardest-members-nearest", 3),
    ],
)
def test_legends_are_whole(
    draw: Callable[[list[str], list[str]], Figure], queries: list[str], name: str, arms: int
) -> None:
    figure = draw(queries, [f"{i} {name}" for i in range(arms)])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert max(axis.get_tightbbox().y1 for axis in panels) < box.y0
    beside = next(t for t in figure.texts if t.get_rotation() == 90).get_window_extent()
    assert 0 <= beside.y0 < beside.y1 < box.y0


def test_panels_keep_their_height_under_long_legends() -> None:
    heights = set()
    for arms in (2, 30):
        figure = curves(QUERIES, [f"pool{i}" for i in range(arms)])
        figure.draw_without_rendering()
        heights.add(round(figure.axes[0].bbox.height))
    assert len(heights) == 1


def test_curves_of_later_panels_stay_inside() -> None:
    figure = shares(QUERIES, ["random", "vae"])
    for axis in figure.axes:
        bottom, top = axis.get_ylim()
        assert bottom == 0
        assert top > 100 * (0.2 + 0.2 * (len(QUERIES) - 1))


@pytest.mark.parametrize(
    "arms", [["vae"], ["simclr-hardest-members-nearest", *(f"pool{i}" for i in range(15))]]
)
def test_differences_have_room_for_their_rows_and_names(arms: list[str]) -> None:
    rows = [
        {
            "query": "every plain query",
            "arm": arm,
            "mean": 0.02,
            "low": 0.01,
            "high": 0.03,
            "verdict": "better",
        }
        for arm in arms
    ]
    figure = differences(pd.DataFrame(rows), 0.01, "difference to the random pool, points")
    figure.draw_without_rendering()
    (axis,) = figure.axes
    assert axis.bbox.height > 20 * len(arms)
    box = axis.title.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
