"""Learning curves: the paper's Figures 2 to 5, 8 and 9."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

from active.averages import CONTROL, ordered
from active.figures.curves import learning_curves
from active.figures.style import styles
from active.reporting import words
from active.reporting.blocks import Chart, Column, Picture, Section, Table, file_name
from active.reporting.material import Material

SVG_DASHES = ("none", "6 3", "2 2", "7 2 2 2")  # those of active.figures.style, for the page
COLUMNS = (
    Column("data", "data"),
    Column("learner", "learner"),
    Column("query", "query"),
    Column("arm", "initial pool"),
    Column("labeled", "labeled", words.count),
    Column("mean", "mean, %", words.percent),
    Column("low", "low", words.percent),
    Column("high", "high", words.percent),
    Column("sd", "sd", words.percent),
    Column("seeds", "seeds", words.count),
)


def section(material: Material) -> Section:
    """A chart for each data set and learner, and the numbers behind them."""
    made = Section("Learning curves")
    made.blocks.append(
        "One panel a query, one line an initial pool: the mean over seeds with its 95 % t "
        "interval; the random pool is the control. Intervals of single curves are wider than that "
        "of a difference, because pools of one seed share the validation set, the fresh weights "
        "and the test set: “difference to random” shows the paired one."
    )
    for (data, learner), table in material.curves.groupby(["data", "learner"]):
        differences = material.differences
        part = differences[(differences["data"] == data) & (differences["learner"] == learner)]
        made.blocks.append(_chart(material, table, part, f"{data}, {learner}"))
    made.blocks.append(
        Table("curves", "All points of the curves", material.curves, COLUMNS, folded=True)
    )
    return made


def _chart(material: Material, table: pd.DataFrame, paired: pd.DataFrame, title: str) -> Chart:
    seeds = table["seeds"]
    counted = words.plural(int(seeds.max()), "seed")
    if seeds.min() < seeds.max():
        counted = f"{seeds.min()} to {counted}"
    queries, arms = ordered(table["query"]), ordered(table["arm"])
    alt = (
        f"Learning curves on {title}: {material.metric_name} against labeled images for the "
        f"pools {words.listing(arms)} under the queries {words.listing(queries)}, {counted}."
    )
    draw = partial(learning_curves, table, material.x, material.metric_name)
    picture = Picture(file_name(f"curves-{title}"), f"{title}: {counted}", alt, draw)
    return Chart(picture, _data(material, table, paired, queries, arms))


def _data(
    material: Material,
    table: pd.DataFrame,
    paired: pd.DataFrame,
    queries: list[str],
    arms: list[str],
) -> dict[str, Any]:
    """What `page.js` draws."""
    looks = styles(arms)
    colors = {arm: "var(--control)" if arm == CONTROL else looks[arm].color for arm in arms}
    means = dict(list(table.sort_values("labeled").groupby(["query", "arm"])))
    differences = dict(list(paired.sort_values("labeled").groupby(["query", "arm"])))
    return {
        "metric": material.metric_name,
        "x": material.x,
        "validated": bool((table["counted"] > table["labeled"]).any()),
        "differs": bool(differences),
        "arms": [
            {"name": arm, "color": colors[arm], "dash": SVG_DASHES[looks[arm].dash]} for arm in arms
        ],
        "queries": [
            {
                "name": query,
                "lines": [
                    _line(arm, means[query, arm], differences.get((query, arm)))
                    for arm in arms
                    if (query, arm) in means
                ],
            }
            for query in queries
        ],
    }


def _line(arm: str, mean: pd.DataFrame, paired: pd.DataFrame | None) -> dict[str, Any]:
    line = {
        "arm": arm,
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
        name: [round(v, 5) if words.known(v) else None for v in table[column].tolist()]
        for name, column in names.items()
    }
