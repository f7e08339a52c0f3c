"""Which samples pools share, beside what chance gives."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from active.averages import CONTROL, ordered


def initial_pools(pools: pd.DataFrame) -> pd.DataFrame:
    """Cycle 0 of `read_pools`, once for each (data, arm, pretext, seed): queries share it."""
    first = pools[pools["cycle"] == 0]
    return first.drop_duplicates(["data", "arm", "pretext", "seed"], ignore_index=True)


def choices(pools: pd.DataFrame, cycles: int | None = None) -> pd.DataFrame:
    """What queries chose in their first so many cycles, the initial pool not among it.

    All cycles where `cycles` is None, as far as every run goes. A row per (data, learner, query,
    arm, pretext, seed), with its `indices`.
    """
    asked = pools[pools["cycle"] > 0]
    keys = ["data", "learner", "query", "arm", "pretext", "seed"]
    if cycles is None and len(asked):
        cycles = asked.groupby(keys)["cycle"].max().min()
    chosen = asked[asked["cycle"] <= (cycles or 0)].groupby(keys)["indices"]
    return chosen.agg(lambda parts: np.concatenate(parts.tolist())).reset_index()


def pair_shares(pools: pd.DataFrame, by: str = "arm") -> pd.DataFrame:
    """The share of one pool that is in another, for each pair of arms, averaged over seeds.

    Pools of different seeds, because those of one seed share their draws by design (cluster pools
    take members in the random pool's order); what queries choose is compared from the same pool.

    Args:
        pools: initial pools of one data set, or `choices` from one arm's.
        by: whose pairs: `arm`, or `query`.

    Returns:
        A square table of shares in 0..1: of different seeds; between two queries, or where there is
        one seed, of the same (NaN on the diagonal).
    """
    names = ordered(pools[by])
    found = {name: _members(part) for name, part in pools.groupby(by)}
    shares = pd.DataFrame(np.nan, index=names, columns=names)
    for one, other in combinations_with_replacement(names, 2):
        both: dict[bool, list[float]] = {True: [], False: []}
        for (pretext, seed), a in found[one].items():
            for (pretext_b, seed_b), b in found[other].items():
                if one != other or (pretext == pretext_b and seed < seed_b):
                    both[seed == seed_b].append(len(a & b) / min(len(a), len(b)))
        known = both[False] if both[False] and (by == "arm" or one == other) else both[True]
        if known:
            shares.loc[one, other] = shares.loc[other, one] = float(np.mean(known))
    return shares


def _members(pools: pd.DataFrame) -> dict[tuple[str, str], set[int]]:
    keys = zip(pools["pretext"], pools["seed"], strict=True)
    return {key: set(i.tolist()) for key, i in zip(keys, pools["indices"], strict=True)}


def shares_by_cycle(pools: pd.DataFrame) -> pd.DataFrame:
    """The share of L_c that the random arm's L_c holds too, under the same query and seed.

    Returns:
        A row per (data, learner, query, arm, cycle): `share` (mean over seeds), `seeds` and
        `size` of L_c.
    """
    keys = ["data", "learner", "query", "seed"]
    rows = []
    for parts, runs in pools.groupby(keys, sort=False):
        arms = {key: _labeled(run) for key, run in runs.groupby(["arm", "pretext"])}
        for (arm, pretext), labeled in arms.items():
            control = arms.get((CONTROL, pretext), arms.get((CONTROL, "")))
            if arm != CONTROL and control is not None:
                rows += [(*parts, arm, *row) for row in _shared(labeled, control)]
    table = pd.DataFrame(rows, columns=[*keys, "arm", "cycle", "share", "size"])
    by = ["data", "learner", "query", "arm", "cycle"]
    grouped = table.groupby(by, as_index=False)
    return grouped.agg(share=("share", "mean"), seeds=("seed", "nunique"), size=("size", "max"))


def _labeled(run: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """A run's samples and the cycle that each was added for."""
    run = run.sort_values("cycle")
    sizes = [len(indices) for indices in run["indices"]]
    return np.concatenate(run["indices"].tolist()), np.repeat(run["cycle"].to_numpy(), sizes)


def _shared(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> list[tuple[int, float, int]]:
    """(cycle, share, size) of each cycle that both have; a sample is shared from the later of the
    two cycles on."""
    last = int(min(one[1].max(), other[1].max()))
    _, a, b = np.intersect1d(one[0], other[0], assume_unique=True, return_indices=True)
    later = np.maximum(one[1][a], other[1][b])
    shared = np.cumsum(np.bincount(later, minlength=last + 1))[: last + 1]
    sizes = np.cumsum(np.bincount(one[1], minlength=last + 1))[: last + 1]
    return [(c, shared[c] / sizes[c], int(sizes[c])) for c in range(last + 1)]


def hard_classes(runs: pd.DataFrame, pools: pd.DataFrame) -> pd.DataFrame:
    """Do pools over-sample the classes that stay hard? The paper's question for CIFAR-100.

    The k classes with most members in an arm's initial pool and the k with the lowest accuracy
    after the last cycle, both averaged over seeds; k = 10, or a third of fewer than 30 classes.

    Returns:
        A row per (data, learner, query, arm): `classes`, `k`, `shared`, `expected` = k^2 / C by
        chance, and `p`, the hypergeometric probability of at least as many.
    """
    if "class_counts" not in pools or "test/acc_per_class" not in runs:
        return pd.DataFrame(columns=["data", "learner", "query", "arm", "classes", "k", "shared"])
    known = initial_pools(pools)
    known = known[known["class_counts"].map(lambda counts: isinstance(counts, list))]
    counts = {
        key: np.mean(np.stack(part["class_counts"].tolist()), axis=0)
        for key, part in known.groupby(["data", "arm"])
    }
    last = runs[runs["cycle"] == runs.groupby("data")["cycle"].transform("max")]
    rows = []
    for (data, learner, query, arm), part in last.groupby(["data", "learner", "query", "arm"]):
        count = counts.get((data, arm))
        if count is None or count.max() == count.min():
            continue
        accuracy = np.mean(np.array(part["test/acc_per_class"].tolist(), dtype=float), axis=0)
        rows.append((data, learner, query, arm, *_agreement(count, accuracy)))
    names = ["data", "learner", "query", "arm", "classes", "k", "shared", "expected", "p"]
    return pd.DataFrame(rows, columns=names)


def _agreement(counts: np.ndarray, accuracy: np.ndarray) -> tuple[int, int, int, float, float]:
    classes = len(counts)
    k = max(1, min(10, classes // 3))
    most = set(np.argsort(-counts, kind="stable")[:k].tolist())
    hardest = set(np.argsort(accuracy, kind="stable")[:k].tolist())
    shared = len(most & hardest)
    return classes, k, shared, k * k / classes, float(hypergeom.sf(shared - 1, classes, k, k))
