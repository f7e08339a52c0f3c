"""A small matrix as shaded squares with its numbers in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from active.figures.style import INK, panels, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def squares(matrix: pd.DataFrame, form: str, darkest: float, title: str = "") -> Figure:
    """Rows and columns by name; cells without a value stay empty.

    Args:
        form: how a value is written, such as `{:.2f}`.
        darkest: the value with the fullest color; 0 is nearly white.
    """
    from matplotlib.patches import Rectangle

    height, width = matrix.shape
    size = (max(3.0, 0.52 * width + 1.5), max(2.6, 0.42 * height + 1.4))
    figure, axes = panels(1, 1, size)
    axis = axes[0, 0]
    for i, row in enumerate(matrix.to_numpy(dtype=float)):
        for j, value in enumerate(row):
            if np.isnan(value):
                continue
            alpha = 0.05 + 0.55 * min(1.0, value / darkest if darkest else 0.0)
            axis.add_patch(
                Rectangle((j - 0.48, i - 0.47), 0.96, 0.94, color="#0072B2", alpha=alpha, lw=0)
            )
            axis.text(j, i, form.format(value), ha="center", va="center", fontsize=8, color=INK)
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
    axis.set_xticks(range(width), [short(str(n)) for n in matrix.columns], rotation=40, ha="right")
    axis.set_yticks(range(height), [short(str(n)) for n in matrix.index])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title(title, fontsize=9)
    return figure
