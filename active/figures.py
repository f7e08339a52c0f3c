"""The report: learning curves and their table, from the rows of an experiment's runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from active.results import curve_table, failed_runs, read_runs
from conf.cli import Job

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, readable with color-vision deficiencies; the control is black.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
MARKERS = "osD^vP*X"
COLUMNS = 4  # panels beside each other, as in the paper's Figures 2 to 5


def report(job: Job) -> None:
    """Writes curves (PNG, SVG) and tables (CSV, Markdown) and prints the table."""
    config = job.config
    runs_dir = Path(config.runs_dir)
    out = Path(config.out) if config.out else runs_dir / config.name / "report"
    runs = read_runs(runs_dir, config.name)
    out.mkdir(parents=True, exist_ok=True)
    table = curve_table(runs)
    table.to_csv(out / "curves.csv", index=False, float_format="%.6f")
    pages = []
    for (data, learner), part in table.groupby(["data", "learner"]):
        figure = learning_curves(part, f"{data}, {learner}")
        for suffix in ("png", "svg"):
            figure.savefig(out / f"curves_{data}_{learner}.{suffix}", dpi=150)
        pages.append(f"## {data}, {learner}\n\n{markdown(part)}")
    failed = failed_runs(runs_dir, config.name)
    if failed:
        pages.append("## failed runs\n\n" + "\n".join(f"- {line}" for line in failed))
    text = "\n\n".join(pages) + "\n"
    (out / "curves.md").write_text(text)
    print(text)
    print(f"written to {out}: {', '.join(sorted(f.name for f in out.iterdir()))}")


def learning_curves(table: pd.DataFrame, title: str) -> Figure:
    """One panel a query, one line an init: mean test accuracy and one sd over seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    queries, inits = ordered(table["query"]), ordered(table["init"])
    columns = min(COLUMNS, len(queries))
    rows = -(-len(queries) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns + 0.6, 3.0 * rows + 0.9),
        sharex=True, sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    styles = dict(zip(inits, _styles(inits), strict=True))
    for axis, query in zip(axes.flat, queries, strict=False):
        _panel(axis, table[table["query"] == query], styles)
        axis.set_title(f"query: {query}", fontsize=10)
    for axis in axes.flat[len(queries) :]:
        axis.set_visible(False)
    for row in axes:
        row[0].set_ylabel("test accuracy")
    for axis in axes[-1]:
        axis.set_xlabel("labeled images")
    shown: dict[str, Any] = {}
    for axis in axes.flat:
        lines, names = axis.get_legend_handles_labels()
        shown |= dict(zip(names, lines, strict=True))
    labels = [init for init in inits if init in shown]
    handles = [shown[init] for init in labels]
    figure.legend(
        handles, labels, title="initial pool", loc="outside lower center",
        ncols=min(len(inits), 6), frameon=False,
    )  # fmt: skip
    seeds = table["seeds"]
    counted = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    plural = "" if seeds.max() == 1 else "s"
    figure.suptitle(f"{title}: mean ± 1 sd over {counted} seed{plural}", fontsize=11)
    return figure


def _panel(axis: Axes, table: pd.DataFrame, styles: dict[str, dict[str, Any]]) -> None:
    for init, style in styles.items():
        curve = table[table["init"] == init].sort_values("labeled")
        if curve.empty:
            continue
        axis.plot(
            curve["labeled"], curve["mean"], label=init, markersize=3.5, linewidth=1.3, **style
        )
        low, high = curve["mean"] - curve["sd"], curve["mean"] + curve["sd"]
        axis.fill_between(
            curve["labeled"], low, high, color=style["color"], alpha=0.15, linewidth=0
        )
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def ordered(names: pd.Series) -> list[str]:
    """Names in alphabetical order, the random control first."""
    return sorted(names.unique(), key=lambda name: (name != "random", name))


def _styles(inits: list[str]) -> list[dict[str, Any]]:
    colors = ["black" if name == "random" else None for name in inits]
    others = iter(range(len(inits)))
    return [
        {"color": color or COLORS[next(others) % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}
        for i, color in enumerate(colors)
    ]


def markdown(table: pd.DataFrame) -> str:
    """Rows: query and init; columns: budgets; cells: mean ± sd of test accuracy in percent."""
    budgets = sorted(table["labeled"].unique())
    lines = [
        "| query | init | seeds | " + " | ".join(str(b) for b in budgets) + " |",
        "|---|---|---|" + "---|" * len(budgets),
    ]
    for query in ordered(table["query"]):
        for init in ordered(table["init"]):
            arm = table[(table["query"] == query) & (table["init"] == init)].set_index("labeled")
            if arm.empty:
                continue
            cells = [_cell(arm.loc[b]) if b in arm.index else "-" for b in budgets]
            seeds = "/".join(str(n) for n in sorted(arm["seeds"].unique()))
            lines.append(f"| {query} | {init} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: pd.Series) -> str:
    mean = f"{100 * row['mean']:.2f}"
    return mean if pd.isna(row["sd"]) else f"{mean} ± {100 * row['sd']:.2f}"
