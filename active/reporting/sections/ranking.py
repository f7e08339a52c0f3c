"""Labels saved, whether a good start makes a good end, and who is best over all."""

from __future__ import annotations

from functools import partial

import pandas as pd

from active import formats
from active.efficiency import label_efficiency
from active.figures.ranks import critical_difference
from active.figures.squares import squares
from active.ranking import Ranking, penalty_matrix, rank_pools, start_to_end
from active.reporting.blocks import Block, Column, Picture, Section, Table, file_name
from active.reporting.material import Material

PLACE = (Column("query", "query"), Column("data", "data"), Column("learner", "learner"))
EFFICIENCY = (
    Column("arm", "initial pool"), *PLACE, Column("target", "random's last, %", formats.percent),
    Column("text", "reached at"), Column("low", "low", formats.count),
    Column("high", "high", formats.count), Column("control", "random itself", formats.count),
    Column("break_even_cycle", "level from cycle", formats.count),
    Column("break_even_labeled", "labels by then", formats.count),
    Column("seeds", "seeds", formats.count),
)  # fmt: skip
START = (
    *PLACE, Column("labeled", "labeled", formats.count), Column("rho", "rho", formats.decimal),
    Column("p", "p", formats.p_value), Column("pools", "pools", formats.count),
    Column("seeds", "seeds", formats.count),
)  # fmt: skip
FRIEDMAN = (
    Column("query", "query"), Column("learner", "learner"), Column("best", "best mean rank"),
    Column("blocks", "data sets", formats.count), Column("statistic", "chi²", formats.decimal),
    Column("p", "p", formats.p_value), Column("difference", "critical difference", formats.decimal),
)  # fmt: skip


def section(material: Material) -> Section:
    """Tables of label efficiency and ranks, with their pictures."""
    blocks: list[Block] = []
    runs, metric = material.runs, material.metric
    efficiency = label_efficiency(runs, metric)
    if not efficiency.empty:
        note = (
            "The first budget at which the mean curve, made monotone, is where the random pool "
            "ends under the same query; beyond the last budget where it never gets there (∞). "
            "“Random itself” is where the random pool's own curve, made monotone, first is so "
            "high: what is saved is saved beside that. The interval holds the budgets at which the "
            "mean difference to random's last accuracy may be zero (t, over seeds). “Level from” "
            "is the first cycle from which on the mean "
            "paired difference stays at or above zero."
        )
        blocks.append(
            Table(
                "label_efficiency", "Label efficiency and break-even", efficiency, EFFICIENCY, note
            )
        )
    blocks += _start(start_to_end(runs, metric))
    blocks += _ranks(rank_pools(runs, metric))
    blocks += _penalties(material)
    if not blocks:
        blocks.append("There is nothing to rank: two initial pools with finished runs are needed.")
    return Section("Efficiency and ranks", blocks)


def _start(table: pd.DataFrame) -> list[Block]:
    if table.empty:
        return []
    note = (
        "Spearman's rank correlation, over pools and seeds, of the first accuracy with a later "
        "one, after each seed's mean is taken off; p permutes pools. Near zero, a run's start says "
        "nothing of its end; chance between seeds lowers it, also where pools keep their order."
    )
    return [Table("start_to_end", "Does a good start make a good end?", table, START, note)]


def _ranks(rankings: dict[tuple[str, str], Ranking]) -> list[Block]:
    """Friedman's test over data sets; one data set is no test, so that it is not drawn."""
    several = {key: r for key, r in rankings.items() if len(r.blocks) > 1}
    rows = [
        {
            "learner": learner, "query": query, "best": r.ranks.index[0], "blocks": len(r.blocks),
            "statistic": r.statistic, "p": r.p, "difference": r.critical_difference,
        }
        for (learner, query), r in several.items()
    ]  # fmt: skip
    if not rows:
        return []
    title = "Friedman's test of the pools' ranks over data sets"
    blocks: list[Block] = [Table("friedman", title, pd.DataFrame(rows), FRIEDMAN)]
    for (learner, query), ranking in several.items():
        told = ", ".join(f"{arm} {rank:.2f}" for arm, rank in ranking.ranks.items())
        alt = f"Mean ranks of the pools under {query}, {learner}: {told}."
        name = file_name(f"ranks-{learner}-{query}")
        note = (
            "Mean rank over data sets, the best at the left; bars join what cannot be told apart."
        )
        draw = partial(
            critical_difference, ranking.ranks, ranking.critical_difference, ranking.cliques
        )
        blocks.append(Picture(name, f"Mean ranks, query {query}, {learner}", alt, draw, note))
    return blocks


def _penalties(material: Material) -> list[Block]:
    blocks: list[Block] = []
    for by, noun in (("arm", "pool"), ("query", "query")):
        if material.runs[by].nunique() < 2 or material.runs["seed"].nunique() < 2:
            continue
        matrix = penalty_matrix(material.runs, by, material.metric)
        lost = matrix.loc["mean"].dropna().sort_values()
        told = ", ".join(f"{name} {value:.2f}" for name, value in lost.items())
        alt = f"Pairwise penalties by {noun}; mean of each column, lower is better: {told}."
        note = (
            "Share of the budgets at which the row beats the column in a paired t test, mean over "
            "the cells of the grid where both were run; blank where they never met. The last row "
            "is how often each is beaten."
        )
        draw = partial(squares, matrix, "{:.2f}", 1.0)
        blocks.append(Picture(f"penalties_{by}", f"Who beats whom: by {noun}", alt, draw, note))
    return blocks
