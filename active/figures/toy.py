"""The study's idea in two dimensions, after the paper's Figure 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from active.figures.style import GRAY, INK, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLASSES = ("#0072B2", "#D55E00", "#009E73")
SEED = 4
EACH, POOL = 240, 12  # images of a class, and labels in a pool


def toy() -> Figure:
    """Three pools of 12 labels each, and the regions that a classifier learns from them."""
    from matplotlib.colors import ListedColormap

    points, labels = toy_classes()
    pools = toy_pools(points)
    grid = _grid(points)
    figure, axes = panels(1, len(pools), (3.1, 3.2), sharex=True, sharey=True)
    for axis, (name, pool) in zip(axes.flat, pools.items(), strict=True):
        regions, accuracy = learn(points, labels, pool, np.stack([g.ravel() for g in grid], 1))
        shaped = regions.reshape(grid[0].shape)
        limits = (grid[0].min(), grid[0].max(), grid[1].min(), grid[1].max())
        axis.imshow(shaped, extent=limits, origin="lower", cmap=ListedColormap(CLASSES), alpha=0.15)
        for c in range(len(CLASSES)):
            axis.contour(*grid, shaped == c, levels=(0.5,), colors=INK, linewidths=0.5)
        for c, color in enumerate(CLASSES):
            own = labels == c
            axis.scatter(*points[own].T, s=4, color=color, alpha=0.35, linewidth=0)
            axis.scatter(*points[pool[own[pool]]].T, s=46, color=color, edgecolor=INK, linewidth=1)
        axis.set_title(f"{name}\n{100 * accuracy:.0f} % of all are told apart", fontsize=9.5)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_color(GRAY)
        axis.set_aspect("equal")
    return figure


def toy_classes() -> tuple[np.ndarray, np.ndarray]:
    """Three classes that meet in two dimensions: (n, 2) points and (n,) labels."""
    rng = np.random.default_rng(SEED)
    angles = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
    centers = 1.75 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.concatenate([c + rng.normal(scale=0.82, size=(EACH, 2)) for c in centers])
    return points, np.repeat(np.arange(3), EACH)


def toy_pools(points: np.ndarray) -> dict[str, np.ndarray]:
    """A random pool, the hardest points, an equal share of every cluster: 12 rows of each.

    The score is what a pretext model might leave: the distance to the second nearest cluster
    center beside that to the nearest, so that points between clusters are the hardest.
    """
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(SEED)
    clusters = KMeans(3, n_init=4, random_state=SEED).fit(points)
    near, second = np.sort(clusters.transform(points), axis=1)[:, :2].T
    hardest = np.argsort(second - near)[:POOL]
    order = rng.permutation(len(points))
    shares = [order[clusters.labels_[order] == k][: POOL // 3] for k in range(3)]
    return {
        "random": order[:POOL],
        "hardest by a score": hardest,
        "equal share of clusters": np.concatenate(shares),
    }


def learn(
    points: np.ndarray, labels: np.ndarray, pool: np.ndarray, asked: np.ndarray
) -> tuple[np.ndarray, float]:
    """What a small kernel classifier trained on a pool says of `asked`, and its accuracy."""
    from sklearn.svm import SVC

    classifier = SVC(C=10.0, gamma=0.1).fit(points[pool], labels[pool])
    return classifier.predict(asked), float(classifier.score(points, labels))


def _grid(points: np.ndarray, steps: int = 240) -> tuple[np.ndarray, np.ndarray]:
    low, high = points.min() - 0.3, points.max() + 0.3
    x, y = np.meshgrid(np.linspace(low, high, steps), np.linspace(low, high, steps))
    return x, y
