"""How figures look: one palette, quiet axes, and the files that they become."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from active.columns import CONTROL, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, readable with color-vision deficiencies; the control is black.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B5A900")
TITLE = 34  # letters that fit above a panel
FILLED = 0.97  # of a figure's width, by its legend at most
INK, GRAY = "#000000", "#8a8a8a"
MARKERS = "sD^vPX*"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
# Text stays text, and the same figure is the same file.
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none", "text.parse_math": False, "svg.hashsalt": "initial-pools",
    "font.size": 9, "font.family": "DejaVu Sans", "axes.titlesize": 9.5, "axes.linewidth": 0.6,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "legend.frameon": False,
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How one arm is drawn, everywhere the same."""

    color: str
    marker: str
    dash: int  # index of DASHES

    @property
    def line(self) -> dict[str, Any]:
        return {"color": self.color, "marker": self.marker, "linestyle": DASHES[self.dash]}


def styles(arms: Iterable[str]) -> dict[str, Style]:
    """A style for each arm, the control black and solid, from the eighth on dashed."""
    others = [arm for arm in ordered(list(arms)) if arm != CONTROL]
    found = {CONTROL: Style(INK, "o", 0)}
    for i, arm in enumerate(others):
        turn, place = divmod(i, len(COLORS))
        marker = MARKERS[(i + turn) % len(MARKERS)]
        found[arm] = Style(COLORS[place], marker, turn % len(DASHES))
    return found


def panels(rows: int, columns: int, size: tuple[float, float], **shared: Any) -> tuple[Figure, Any]:
    """A figure and its (rows, columns) axes; `size` is that of one panel in inches."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(SETTINGS)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def titled(
    titles: Sequence[str], most: int, size: tuple[float, float], **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel of this size for each title, at most `most` beside each other."""
    figure, axes = panels(*shape(len(titles), most), size, **shared)
    used, unused = axes.flat[: len(titles)], axes.flat[len(titles) :]
    for axis, title in zip(used, titles, strict=True):
        axis.set_title(short(title, TITLE))
    for axis in unused:
        axis.set_visible(False)
    return figure, list(used)


def shape(number: int, most: int) -> tuple[int, int]:
    """Rows and columns for so many panels, at most so many beside each other, filled evenly.

    >>> shape(4, 3), shape(5, 3), shape(8, 4)
    ((2, 2), (2, 3), (2, 4))
    """
    rows = -(-number // most)
    return rows, -(-number // rows)


def short(name: str, most: int = 26) -> str:
    """A name that leaves room for the figure."""
    return name if len(name) <= most else name[: most - 1] + "…"


def quiet(axis: Axes, grid: str = "both") -> None:
    """No frame, a faint grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, alpha=0.25, linewidth=0.5)  # type: ignore[arg-type]
    axis.set_axisbelow(True)


def legend(figure: Figure, looks: dict[str, dict[str, Any]]) -> float:
    """Names of the lines above all panels, in as few rows as fit; the figure grows by them.

    Args:
        looks: arguments of a line by name.

    Returns:
        Where the middle of the panels now is, for the label beside them.
    """
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], markersize=3.5, linewidth=1.3, **look) for look in looks.values()]
    names = [short(name) for name in looks]
    width, height = figure.get_size_inches()
    for rows in range(1, len(names) + 1):
        columns = -(-len(names) // rows)
        drawn = figure.legend(handles, names, loc="outside upper left", ncols=columns)
        with unseen_letters():
            box = drawn.get_window_extent()
        if box.width <= FILLED * width * figure.dpi or columns == 1:
            break
        drawn.remove()
    grown = height + box.height / figure.dpi
    figure.set_size_inches(width, grown)
    return height / 2 / grown


@contextmanager
def unseen_letters() -> Iterator[None]:
    """A letter that the font lacks is a box in the PNG; in the SVG it stays a letter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def render(figure: Figure) -> tuple[str, bytes]:
    """The figure as SVG, transparent and without a date, and as PNG on white."""
    svg, png = io.StringIO(), io.BytesIO()
    with unseen_letters():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the layout is found once for both
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        figure.savefig(png, format="png", dpi=150)
    return svg.getvalue(), png.getvalue()


def inline_svg(svg: str, name: str, alt: str) -> str:
    """An SVG as an element of a page: black becomes the page's ink, ids the figure's own."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor")
    svg = re.sub(r'id="([^"]+)"', lambda found: f'id="{name}-{found[1]}"', svg)
    svg = re.sub(r'(href="#|url\(#)', lambda found: f"{found[1]}{name}-", svg)
    # Text without a color of its own is black by SVG's rules.
    head = f'<svg role="img" aria-label="{escape(alt)}" fill="currentColor"'
    return svg.replace("<svg", head, 1)
