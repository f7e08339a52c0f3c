"""Blocks -> files: tables as CSV, Markdown and LaTeX, figures as PNG and SVG."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import singledispatch
from pathlib import Path

from active import formats
from active.reporting.blocks import Block, Chart, Picture, Section, Sheets, Table, file_name

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    formats.MINUS: "$-$", "±": r"$\pm$", "∞": r"$\infty$", formats.NONE: "--",
    "<": "$<$", ">": "$>$",
}  # fmt: skip


def write_files(sections: Iterable[Section], out: Path) -> None:
    """`tables/<name>.csv|md|tex`, `figures/<name>.png|svg`, `sheets/<name>.png`."""
    for folder in ("tables", "figures", "sheets"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for section in sections:
        for block in section.blocks:
            write(block, out)


@singledispatch
def write(block: Block, out: Path) -> None:
    """The files of a block; text and answers have none beside the page."""


@write.register
def _(block: Table, out: Path) -> None:
    file = out / "tables" / block.name
    raw = block.frame[[c.key for c in block.columns]]
    raw.to_csv(f"{file}.csv", index=False, float_format="%.6g")
    Path(f"{file}.md").write_text(f"{markdown(block)}\n", encoding="utf-8")
    Path(f"{file}.tex").write_text(f"{latex(block)}\n", encoding="utf-8")


@write.register
def _(block: Picture, out: Path) -> None:
    save(block, out / "figures")


@write.register
def _(block: Chart, out: Path) -> None:
    write(block.picture, out)


@write.register
def _(block: Sheets, out: Path) -> None:
    for caption, png in block.images:
        (out / "sheets" / f"{file_name(caption)}.png").write_bytes(png)


def save(picture: Picture, folder: Path) -> None:
    """`<name>.svg` and `<name>.png`."""
    svg, png = picture.rendered
    (folder / f"{picture.name}.svg").write_text(svg, encoding="utf-8")
    (folder / f"{picture.name}.png").write_bytes(png)


def markdown(table: Table) -> str:
    """A GitHub table; numbers to the right."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rules = ["---:" if c.is_number else "---" for c in table.shown]
    return "\n".join(
        [line(c.title for c in table.shown), line(rules), *(line(r) for r in table.written())]
    )


def latex(table: Table) -> str:
    """A booktabs table."""

    def line(cells: Iterable[str]) -> str:
        return " & ".join(_latex(cell) for cell in cells) + r" \\"

    align = "".join("r" if c.is_number else "l" for c in table.shown)
    return "\n".join(
        [
            rf"% {table.title}; needs \usepackage{{booktabs}}",
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            line(c.title for c in table.shown),
            r"\midrule",
            *(line(row) for row in table.written()),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _latex(text: str) -> str:
    pattern = "[" + re.escape("".join(LATEX)) + "]"
    return re.sub(pattern, lambda found: LATEX[found[0]], text)
