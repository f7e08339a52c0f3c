"""Order of the pools: from start to end, across data sets, and who beats whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import pandas as pd
from scipy import stats

from active.averages import whole_models
from active.columns import LABELED, METRIC, SETTING, ordered
from active.estimate import ALPHA, one_way
from active.pairing import base_of, data_set_of, endpoints

EXACT_UP_TO = 7  # pools whose 5,040 orders are all gone through
DRAWS = 5000  # orders drawn for more


def start_to_end(runs: pd.DataFrame, metric: str = METRIC) -> pd.DataFrame:
    """Does a good start make a good end? Rank correlation of cycle 0 with each later cycle.

    Spearman's rho over all pools and seeds, after each seed's mean over the pools is taken off
    (seeds share networks and validation sets): what the seeds add at random lowers it, also where
    the order of the pools' means stays. The p value permutes whole pools, one-sided for a
    positive correlation, because the seeds of a pool are not independent of each other. Several
    pretext models of a seed are averaged; pools and seeds with a hole are left out.

    Returns:
        A row for each (data, learner, query, cycle >= 1) with at least 3 pools: labeled, pools,
        seeds, rho, p (the last cycle's answers the question; the others show its decay).
    """
    rows = []
    for keys, group in whole_models(runs).groupby(SETTING):
        table = group.pivot_table(index=["arm", "seed"], columns=LABELED, values=metric).dropna()
        cube = _cube(table) if len(table) else np.empty((0, 0, 0))  # (pools, seeds, cycles)
        if min(cube.shape[:2]) < 1 or cube.shape[0] < 3:
            continue
        centered = cube - cube.mean(axis=0, keepdims=True)
        for cycle in range(1, cube.shape[2]):
            rho, p = correlation(centered[..., 0], centered[..., cycle])
            sizes = {"pools": cube.shape[0], "seeds": cube.shape[1]}
            where = dict(zip(SETTING, keys, strict=True))
            at = {"cycle": cycle, "labeled": table.columns[cycle]}
            rows.append(where | at | sizes | {"rho": rho, "p": p})
    columns = [*SETTING, "cycle", "labeled", "pools", "seeds", "rho", "p"]
    return pd.DataFrame(rows, columns=columns)


def _cube(table: pd.DataFrame) -> np.ndarray:
    """(arm, seed) rows -> (pools, seeds, cycles): the seeds that most pools have, and those."""
    there = pd.Series(1, table.index).unstack("arm")
    seeds = there.notna().sum(axis=1)
    there = there[seeds == seeds.max()].dropna(axis=1)
    index = pd.MultiIndex.from_product([there.columns, there.index])
    return table.reindex(index).to_numpy().reshape(there.shape[1], there.shape[0], -1)


def correlation(start: np.ndarray, end: np.ndarray) -> tuple[float, float]:
    """(pools, seeds) twice -> Spearman's rho over all points, p by permutation of pools.

    NaN where all starts or all ends are alike.
    """
    x, y = (stats.rankdata(part).reshape(part.shape) for part in (start, end))
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x**2).sum() * (y**2).sum())
    if scale == 0:
        return float("nan"), float("nan")
    shared = x @ y.T / scale  # (pools, pools): what pairing start i with end j adds to rho
    pools = len(x)
    rho = float(np.trace(shared))
    permuted = shared[np.arange(pools), _orders(pools)].sum(axis=1)
    return rho, float((permuted >= rho - 1e-12).mean())


@lru_cache(maxsize=16)
def _orders(pools: int) -> np.ndarray:
    """All orders of few pools; of many, the given one and random others."""
    if pools <= EXACT_UP_TO:
        return np.array(list(permutations(range(pools))))
    rng = np.random.default_rng(0)
    drawn = rng.permuted(np.tile(np.arange(pools), (DRAWS, 1)), axis=1)
    return np.vstack([np.arange(pools), drawn])


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of arms over independent blocks (data sets), 1 the best (Demšar, 2006).

    `p` is Friedman's (NaN below 3 arms or 2 blocks); arms whose mean ranks differ by less than
    `critical_difference` (Nemenyi) are not told apart; `cliques` are the largest such groups.
    """

    ranks: pd.Series  # by arm, the best first
    blocks: list[str]
    statistic: float
    p: float
    critical_difference: float
    cliques: list[list[str]]


def rank_arms(values: pd.DataFrame) -> Ranking:
    """Friedman's test and Nemenyi's critical difference of (blocks, arms) values, higher better.

    Blocks that miss an arm are left out: the number of blocks that is left is the n of the test.
    """
    whole = values.dropna()
    ranks = whole.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    blocks, arms = whole.shape
    statistic = p = float("nan")
    if arms >= 3 and blocks >= 2 and (whole.nunique(axis=1) > 1).any():
        statistic, p = stats.friedmanchisquare(*whole.to_numpy().T)
    difference = critical_difference(arms, blocks)
    return Ranking(
        ranks, [str(b) for b in whole.index], float(statistic), float(p), difference,
        cliques(ranks, difference),
    )  # fmt: skip


def rank_pools(runs: pd.DataFrame, metric: str = METRIC) -> dict[tuple[str, str], Ranking]:
    """A ranking of the initial pools for each (learner, query): blocks are data sets.

    The value of a data set is the area under the budget curve, the mean over its budgets, and for
    each of them over the seeds that all of its pools have. Data sets are independent of each
    other; budgets, batch sizes or seeds of one are not.
    """
    rankings = {}
    for (learner, query), group in endpoints(runs, metric).groupby(["learner", "query"]):
        seeds = group.pivot_table(index=["data", "seed"], columns="arm", values="aubc")
        parts = {data: part.dropna(axis=1, how="all") for data, part in seeds.groupby("data")}
        means = {data: part.dropna().mean() for data, part in parts.items()}
        each = pd.DataFrame(means).T.dropna()
        if each.empty:  # no data set is complete
            continue
        values = each.groupby(data_set_of(each.index.to_series())).mean()
        if values.shape[1] > 1:
            rankings[str(learner), str(query)] = rank_arms(values)
    return rankings


@lru_cache(maxsize=64)
def critical_difference(arms: int, blocks: int) -> float:
    """Nemenyi's: q sqrt(k (k + 1) / (6 n)), q the studentized range over sqrt(2).

    >>> round(critical_difference(5, 10), 3)  # Demšar's q of 2.728
    1.929
    """
    if arms < 2 or blocks < 1:
        return float("nan")
    q = stats.studentized_range.ppf(1 - ALPHA, arms, np.inf) / 2**0.5
    return float(q * (arms * (arms + 1) / (6 * blocks)) ** 0.5)


def cliques(ranks: pd.Series, difference: float) -> list[list[str]]:
    """The largest runs of arms, in order of rank, whose ends differ by less than `difference`."""
    ordered = ranks.sort_values(kind="stable")
    names, values = [str(n) for n in ordered.index], ordered.to_numpy()
    found: list[list[str]] = []
    for first in range(len(names)):
        last = int(np.flatnonzero(values - values[first] < difference)[-1])
        group = names[first : last + 1]
        if len(group) > 1 and not any(set(group) <= set(other) for other in found):
            found.append(group)
    return found


def penalty_matrix(runs: pd.DataFrame, by: str = "arm", metric: str = METRIC) -> pd.DataFrame:
    """Who beats whom, how often: the pairwise penalty matrix of BADGE (Ash et al., 2020).

    A cell is everything but the arms (data, learner, kind of classifier and query; or the pool for
    `by="query"`: a query's dropout or committee is no advantage of its own). At each of the n
    budgets at which both have a seed, arm i beats arm j if a paired t test over these seeds finds
    it better; that adds 1/n to entry (i, j), so that every cell weighs the same. The paper's
    entries are these sums; here they are divided by the number of cells in which the two met (NaN:
    in none), because not all do. A column's mean (row `mean`) is how often others beat that arm:
    lower is better.
    https://arxiv.org/abs/1906.03671
    """
    other = "query" if by == "arm" else "arm"
    arms = ordered(runs[by])
    won, met = (pd.DataFrame(0.0, index=arms, columns=arms) for _ in range(2))
    cells = runs.assign(learner=base_of(runs["learner"]))
    for _, cell in cells.groupby(["data", "learner", "classifier", other]):
        table = cell.pivot_table(index="seed", columns=[by, LABELED], values=metric)
        curves = {arm: table[arm] for arm in table.columns.unique(0)}
        for i, ours in curves.items():
            for j, theirs in curves.items():
                budgets = (ours - theirs).dropna(axis=1, how="all")
                if i != j and budgets.size:
                    met.loc[i, j] += 1
                    won.loc[i, j] += np.mean([_wins(budgets[labeled]) for labeled in budgets])
    shares = won / met.where(met > 0)
    shares.loc["mean"] = shares.mean()
    return shares


def _wins(differences: pd.Series) -> bool:
    """Whether those of the seeds that have one are clearly above zero."""
    estimate = one_way(differences.dropna().to_numpy())
    return bool((estimate.p < ALPHA) & (estimate.mean > 0))
