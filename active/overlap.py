"""Which samples pools share, beside what chance gives."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from active.columns import CONTROL, CURVE, RUN, SETTING, ordered


def initial_pools(pools: pd.DataFrame) -> pd.DataFrame:
    """Cycle 0 of `read_pools`, once for each (data, arm, pretext, seed): queries share it."""
    first = pools[pools["cycle"] == 0]
    return first.drop_duplicates(["data", "arm", "pretext", "seed"], ignore_index=True)


def choices(pools: pd.DataFrame, cycles: int | None = None) -> pd.DataFrame:
    """What each query chose in its first `cycles` cycles, without the initial pool.

    Where `cycles` is None: in as many cycles as every run has. A row per (data, learner, query,
    arm, pretext, seed), with its `indices`.
    """
    asked = pools[pools["cycle"] > 0]
    if cycles is None and len(asked):
        cycles = asked.groupby(RUN)["cycle"].max().min()
    chosen = asked[asked["cycle"] <= (cycles or 0)].groupby(RUN)["indices"]
    return chosen.agg(lambda parts: np.concatenate(parts.tolist())).reset_index()


def pair_shares(pools: pd.DataFrame, by: str = "arm") -> pd.DataFrame:
    """The share of one pool that is in another, for each pair of arms, averaged over seeds.

    Pools of different seeds are compared, because those of one seed share their draws by design
    (cluster pools take members in the random pool's order); two queries are compared within a
    seed, where they start from the same pool.

    Args:
        pools: initial pools of one data set, or `choices` from one arm's.
        by: whose pairs: `arm`, or `query`.

    Returns:
        A square table of shares in 0..1. Where there is a single seed, pools are compared within
        it, and the diagonal is NaN.
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
    keys = [*SETTING, "seed"]
    rows = []
    for parts, runs in pools.groupby(keys, sort=False):
        arms = {key: _labeled(run) for key, run in runs.groupby(["arm", "pretext"])}
        for (arm, pretext), labeled in arms.items():
            control = arms.get((CONTROL, pretext), arms.get((CONTROL, "")))
            if arm != CONTROL and control is not None:
                rows += [(*parts, arm, *row) for row in _shared(labeled, control)]
    table = pd.DataFrame(rows, columns=[*keys, "arm", "cycle", "share", "size"])
    grouped = table.groupby([*CURVE, "cycle"], as_index=False)
    return grouped.agg(share=("share", "mean"), seeds=("seed", "nunique"), size=("size", "max"))


def _labeled(run: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """A run's samples and the cycle that each was added for."""
    run = run.sort_values("cycle")
    sizes = [len(indices) for indices in run["indices"]]
    return np.concatenate(run["indices"].tolist()), np.repeat(run["cycle"].to_numpy(), sizes)


def _shared(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> list[tuple[int, float, int]]:
    """(cycle, share, size) of each cycle that both have.

    A sample is shared from the later of the two cycles on that it was added for.
    """
    last = int(min(one[1].max(), other[1].max()))
    _, a, b = np.intersect1d(one[0], other[0], assume_unique=True, return_indices=True)
    later = np.maximum(one[1][a], other[1][b])
    shared = np.cumsum(np.bincount(later, minlength=last + 1))[: last + 1]
    sizes = np.cumsum(np.bincount(one[1], minlength=last + 1))[: last + 1]
    return [(c, shared[c] / sizes[c], int(sizes[c])) for c in range(last + 1)]
