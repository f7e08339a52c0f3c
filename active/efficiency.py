"""How many labels a pool saves: where its curve reaches what random reaches, and breaks even."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from active.columns import CONTROL, CURVE, LABELED, METRIC, SETTING
from active.estimate import ALPHA


def label_efficiency(runs: pd.DataFrame, metric: str = METRIC) -> pd.DataFrame:
    """When each pool reaches the random pool's final accuracy under the same query.

    Both curves are means over the seeds that have all budgets of the data and learner under both
    pools; several pretext models of a seed are averaged first. The interval holds the budgets at
    which the paired difference to the target is not clearly below or above zero (t, pointwise).

    Returns:
        A row for each (data, learner, query, arm): seeds, `target` (the random pool's final
        value), `labeled` (by linear interpolation of the mean curve's running maximum; inf where
        it never gets there, the first budget where it starts there), `text` (`412`, `> 660`,
        `<= 60`), low and high (inf likewise; NaN for a single seed), `last` (the last budget), and
        break_even_cycle, break_even_labeled (NaN: never).
    """
    rows = []
    for keys, group in runs.groupby(SETTING):
        budgets, curves = _curves(group, metric)
        theirs = curves.pop(CONTROL, None)
        if theirs is None:
            continue
        for arm, ours in curves.items():
            ours, control = ours.align(theirs, join="inner", axis=0)
            if len(ours):
                row = _row(budgets, ours.to_numpy(), control.to_numpy())
                rows.append(dict(zip(CURVE, (*keys, arm), strict=True)) | row)
    return pd.DataFrame(rows, columns=[*CURVE, *COLUMNS])


COLUMNS = [
    "seeds", "target", "labeled", "text", "low", "high", "control", "last",
    "break_even_cycle", "break_even_labeled",
]  # fmt: skip


def _curves(group: pd.DataFrame, metric: str) -> tuple[np.ndarray, dict[str, pd.DataFrame]]:
    """The budgets, and (seeds, budgets) of each arm, seeds with a hole left out."""
    table = group.pivot_table(index=["arm", "pretext", "seed"], columns=LABELED, values=metric)
    whole = table.dropna().groupby(["arm", "seed"]).mean()
    curves = {str(arm): part.droplevel("arm") for arm, part in whole.groupby("arm")}
    return table.columns.to_numpy(dtype=float), curves


def _row(budgets: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Numbers of one pool, from (seeds, budgets) of the pool and of the control."""
    control = theirs.mean(axis=0)
    target = control[-1]
    labeled = float(first_reached(budgets, ours.mean(axis=0), target))
    low, high = reached_interval(budgets, ours, theirs)
    cycle = break_even((ours - theirs).mean(axis=0))
    return {
        "seeds": len(ours),
        "target": target,
        "labeled": labeled,
        "text": _text(labeled, budgets),
        "low": low,
        "high": high,
        "control": float(first_reached(budgets, control, target)),
        "last": budgets[-1],
        "break_even_cycle": np.nan if cycle is None else cycle,
        "break_even_labeled": np.nan if cycle is None else budgets[cycle],
    }


def first_reached(
    budgets: np.ndarray, curves: np.ndarray, target: np.ndarray | float
) -> np.ndarray:
    """First budget at which each curve's running maximum is at its target.

    Args:
        budgets: (C,), rising.
        curves: (..., C) values at them.
        target: (...), a value for each curve.

    Returns:
        (...): interpolated linearly; the first budget where the curve starts at the target or
        above, inf where it never gets there.

    >>> first_reached(np.array([10, 20, 40]), np.array([0.2, 0.1, 0.6]), 0.4).item()
    30.0
    """
    highest = np.maximum.accumulate(curves, axis=-1)
    target = np.asarray(target)[..., None]
    there = highest >= target
    after = there.argmax(axis=-1)[..., None]  # 0 too where there is none
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(highest, at, axis=-1) for at in (before, after))
    rise = high - low
    share = np.divide(target - low, rise, out=np.ones_like(rise), where=rise > 0)
    reached = budgets[before] + np.where(after > 0, share, 0) * (budgets[after] - budgets[before])
    return np.where(there.any(axis=-1), reached[..., 0], np.inf)


def reached_interval(
    budgets: np.ndarray, ours: np.ndarray, theirs: np.ndarray
) -> tuple[float, float]:
    """Where the limits of the mean difference to the control's last value rise to zero."""
    seeds = len(ours)
    if seeds < 2:
        return float("nan"), float("nan")
    differences = ours - theirs[:, -1:]
    half = stats.t.ppf(1 - ALPHA / 2, seeds - 1) * stats.sem(differences, axis=0)
    limits = differences.mean(axis=0) + np.array([half, -half])
    low, high = first_reached(budgets, limits, np.zeros(2))
    return float(low), float(high)


def break_even(differences: np.ndarray) -> int | None:
    """First cycle from which on the mean paired difference stays >= 0; None: never.

    >>> break_even(np.array([-0.1, 0.2, -0.1, 0.0, 0.1]))
    3
    """
    below = np.flatnonzero(~(differences >= 0))
    first = int(below[-1]) + 1 if len(below) else 0
    return first if first < len(differences) else None


def _text(labeled: float, budgets: np.ndarray) -> str:
    if np.isinf(labeled):
        return f"> {budgets[-1]:.0f}"
    return f"<= {labeled:.0f}" if labeled == budgets[0] else f"{labeled:.0f}"
