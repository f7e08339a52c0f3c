"""Learning curves: the paper's Figures 2 to 5, 8 and 9."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from active import formats
from active.averages import learner_table
from active.columns import CONTROL, ordered
from active.figures.curves import learning_curves
from active.figures.style import styles
from active.reporting.blocks import Block, Chart, Column, Picture, Section, Table, file_name
from active.reporting.material import Material

SVG_DASHES = ("none", "6 3", "2 2", "7 2 2 2")  # those of active.figures.style, for the page
COLUMNS = (
    Column("data", "data"),
    Column("learner", "learner"),
    Column("query", "query"),
    Column("arm", "initial pool"),
    Column("labeled", "labeled", formats.count),
    Column("mean", "mean, %", formats.percent),
    Column("low", "low", formats.percent),
    Column("high", "high", formats.percent),
    Column("sd", "sd", formats.percent),
    Column("seeds", "seeds", formats.count),
)


class Axes(NamedTuple):
    """Which column of the curves names panels, and which the lines in them."""

    name: str  # of the figure's files
    panel: str
    line: str
    each: str  # what the legend lists


BY_QUERY = Axes("curves", "query", "arm", "Initial pools")
BY_POOL = Axes("queries", "arm", "query", "Queries")


def section(material: Material) -> Section:
    """Charts of the pools under each query and of the queries from each pool, and the numbers."""
    blocks: list[Block] = [
        "One panel a query, one line an initial pool: the mean over seeds with its 95 % t "
        "interval; the random pool is the control. Intervals of single curves are wider than that "
        "of a difference, because pools of one seed share the validation set, the fresh weights "
        "and the test set: “difference to random” shows the paired one. Several pretext models of "
        "a seed are averaged first, so that these intervals speak of the models that were trained; "
        "those of the verdicts speak of others as well."
    ]
    blocks += _side_by_side(material)
    differences = material.differences
    groups = [(names, t) for names, t in material.curves.groupby(["data", "learner"]) if len(t) > 1]
    for (data, learner), table in groups:
        part = differences[(differences["data"] == data) & (differences["learner"] == learner)]
        blocks.append(_chart(material, table, part, BY_QUERY, f"{data}, {learner}"))
    compared = [(names, table) for names, table in groups if table["query"].nunique() > 1]
    if compared:
        blocks.append(
            "The same curves the other way round, one panel an initial pool and one line a query: "
            "which query, where the pool is given; “random” is passive learning."
        )
    for (data, learner), table in compared:
        blocks.append(_chart(material, table, table[:0], BY_POOL, f"{data}, {learner}"))
    blocks.append(
        Table("curves", "All points of the curves", material.curves, COLUMNS, folded=True)
    )
    return Section("Learning curves", blocks)


def _side_by_side(material: Material) -> list[Block]:
    table = learner_table(material.curves)
    if table.empty:
        return []
    name = material.metric_name
    title = f"Learners and their settings side by side, by mean {name}"
    text = "Under each query and pool at the last budget that all of these learners have."
    return [text, Table("learners", title, table, COLUMNS)]


def _chart(
    material: Material, table: pd.DataFrame, paired: pd.DataFrame, axes: Axes, title: str
) -> Chart:
    seeds = table["seeds"]
    counted = formats.plural(int(seeds.max()), "seed")
    if seeds.min() < seeds.max():
        counted = f"{seeds.min()} to {counted}"
    queries, arms = ordered(table["query"]), ordered(table["arm"])
    alt = (
        f"Learning curves on {title}: {material.metric_name} against labeled images for the "
        f"pools {formats.listing(arms)} under the queries {formats.listing(queries)}, {counted}; "
        f"a panel for each {axes.panel}."
    )
    draw = partial(learning_curves, table, material.x, material.metric_name, axes.panel, axes.line)
    picture = Picture(file_name(f"{axes.name}-{title}"), f"{title}: {counted}", alt, draw)
    return Chart(picture, _data(material, table, paired, axes))


def _data(
    material: Material, table: pd.DataFrame, paired: pd.DataFrame, axes: Axes
) -> dict[str, Any]:
    """What `page.js` draws; `paired` may have no rows."""
    names = ordered(table[axes.line])
    looks, by = styles(names), [axes.panel, axes.line]
    colors = {name: "var(--control)" if name == CONTROL else looks[name].color for name in names}
    means = dict(list(table.sort_values("labeled").groupby(by)))
    differences = dict(list(paired.sort_values("labeled").groupby(by)))
    return {
        "metric": material.metric_name,
        "each": axes.each,
        "x": material.x,
        "validated": bool((table["counted"] > table["labeled"]).any()),
        "differs": bool(differences),
        "looks": [
            {"name": name, "color": colors[name], "dash": SVG_DASHES[looks[name].dash]}
            for name in names
        ],
        "panels": [
            {
                "name": title,
                "lines": [
                    _line(name, means[title, name], differences.get((title, name)))
                    for name in names
                    if (title, name) in means
                ],
            }
            for title in ordered(table[axes.panel])
        ],
    }


def _line(name: str, mean: pd.DataFrame, paired: pd.DataFrame | None) -> dict[str, Any]:
    line = {
        "name": name,
        "labeled": mean["labeled"].tolist(),
        "counted": mean["counted"].tolist(),
        "mean": _values(mean),
    }
    if paired is not None:
        line["diff"] = _values(paired.set_index("labeled").reindex(mean["labeled"]))
    return line


def _values(table: pd.DataFrame) -> dict[str, list[float | None]]:
    names = {"y": "mean", "low": "low", "high": "high"}
    return {
        name: [round(v, 5) if formats.known(v) else None for v in table[column].tolist()]
        for name, column in names.items()
    }
