"""Queries: whether they choose the same samples."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import NamedTuple

import pandas as pd

from active import formats
from active.columns import ordered
from active.figures.pools import overlap_matrix
from active.overlap import choices, pair_shares
from active.reporting.blocks import Block, Column, Picture, Section, Table, file_name
from active.reporting.material import Material


class Scope(NamedTuple):
    """Which choices are compared: those of the first `cycles` cycles, or of all."""

    cycles: int | None
    told: str
    note: str


SCOPES = {
    "first": Scope(
        1, "first choice",
        "Percent of what a query chose in cycle 1, where all start from one pool and queries of "
        "one kind of classifier from the same weights.",
    ),
    "all": Scope(
        None, "all choices",
        "Percent of what a query chose in all cycles, the initial pool not counted.",
    ),
}  # fmt: skip
PAIRS = (
    Column("data", "data"), Column("learner", "learner"), Column("one", "query"),
    Column("other", "and"), Column("first", "first choice, %", formats.percent),
    Column("first_chance", "chance, %", formats.fine_percent),
    Column("all", "all choices, %", formats.percent),
    Column("all_chance", "chance, %", formats.fine_percent),
)  # fmt: skip


def section(material: Material) -> Section:
    """What pairs of queries choose from one pool, data set by data set."""
    blocks: list[Block] = []
    tables = []
    for (data, learner), part in material.pools.groupby(["data", "learner"]):
        arm = ordered(part["arm"])[0]
        part = part[(part["arm"] == arm) & (part["pretext"] == part["pretext"].min())]
        if part.loc[part["cycle"] > 0, "query"].nunique() < 2:
            continue
        found = {name: _shares(part, s.cycles, material) for name, s in SCOPES.items()}
        for name, shared in found.items():
            blocks.append(_picture(f"{data}, {learner}", arm, name, *shared))
        tables.append(_pairs(found).assign(data=data, learner=learner))
    if tables:
        note = "Means over seeds; a pair is two runs of one seed."
        table = pd.concat(tables, ignore_index=True)
        blocks.append(
            Table("shared_choices", "What pairs of queries share", table, PAIRS, note, folded=True)
        )
    else:
        blocks.append("Two queries are needed, to see what they choose alike.")
    return Section("Queries", blocks)


def _shares(
    pools: pd.DataFrame, cycles: int | None, material: Material
) -> tuple[pd.DataFrame, float]:
    """Shares of each pair of queries, and what two random choices would share."""
    first = pools.loc[pools["cycle"] == 0, "indices"].map(len).mean()
    chosen = choices(pools, cycles)
    size = chosen["indices"].map(len).mean()
    unlabeled = material.candidates(str(pools["data"].iloc[0])) - first
    return pair_shares(chosen, "query"), size / unlabeled


def _picture(title: str, arm: str, name: str, shares: pd.DataFrame, chance: float) -> Block:
    pairs = [(a, b, shares.loc[a, b]) for a, b in combinations(shares.index, 2)]
    most = sorted((p for p in pairs if formats.known(p[2])), key=lambda p: -p[2])[:8]
    told = ", ".join(f"{a} and {b} {100 * share:.0f} %" for a, b, share in most)
    scope = SCOPES[name]
    what = f"{scope.told} from the {arm} pool"
    alt = (
        f"Samples that two queries share, {what}, {title}; the most: {told}; "
        f"chance {100 * chance:.2g} %."
    )
    note = f"{scope.note} On the diagonal two seeds of one query."
    draw = partial(overlap_matrix, shares, chance)
    file = file_name(f"choices-{name}-{title}")
    return Picture(file, f"{title}: what queries share, {what}", alt, draw, note)


def _pairs(found: dict[str, tuple[pd.DataFrame, float]]) -> pd.DataFrame:
    """A row per pair of queries."""
    rows = []
    for one, other in combinations(found["first"][0].index, 2):
        row: dict[str, object] = {"one": one, "other": other}
        for scope, (shares, chance) in found.items():
            row |= {scope: shares.loc[one, other], f"{scope}_chance": chance}
        rows.append(row)
    return pd.DataFrame(rows)
