"""Sections -> one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from functools import singledispatch
from html import escape as escape_html
from pathlib import Path

from active.claims.study import Answer
from active.figures.style import inline_svg
from active.reporting.blocks import (
    Answers,
    Block,
    Chart,
    Lead,
    Picture,
    Section,
    Sheets,
    Table,
    file_name,
)

HERE = Path(__file__).parent
LONG = 12  # rows from which on a table gets a filter
WIDE = 40  # letters from which on a cell is broken into lines


def page(title: str, subtitle: str, sections: Iterable[Section], footer: str) -> str:
    """The whole report as one file: style, script, figures and images are inside."""
    sections = list(sections)
    links = "".join(f'<li><a href="#{s.id}">{escape(s.title)}</a></li>' for s in sections)
    body = "\n".join(_section(s) for s in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} · report</title>
<link rel="icon" href="data:,">
<style>
{(HERE / "page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header>
<p class="kicker">Which images should be labeled first?</p>
<h1>{escape(title)}</h1>
<p class="subtitle">{escape(subtitle)}</p>
</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="main">
{body}
</main>
<footer>{escape(footer)}</footer>
<script>
{(HERE / "page.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


def escape(text: str) -> str:
    """Text for HTML; a percent sign stays with its number."""
    return escape_html(text).replace(" %", "\u00a0%")


def _section(section: Section) -> str:
    blocks = "\n".join(html_of(block) for block in section.blocks)
    head = f'<h2 id="{section.id}-head">{escape(section.title)}</h2>'
    opening = f'<section id="{section.id}" aria-labelledby="{section.id}-head">'
    return f"{opening}\n{head}\n{blocks}\n</section>"


@singledispatch
def html_of(block: Block) -> str:
    """A block as HTML; one function for each kind."""
    raise TypeError(f"no HTML for {type(block).__name__}")


@html_of.register
def _(block: str) -> str:
    return f"<p>{escape(block)}</p>"


@html_of.register
def _(block: Lead) -> str:
    return f'<p class="lead">{escape(block.text)}</p>'


@html_of.register
def _(block: Answers) -> str:
    asked = [_claim(a) for a in block.items if a.answer != "not run"]
    unasked = [_claim(a) for a in block.items if a.answer == "not run"]
    html = f'<ol class="claims">{"".join(asked)}</ol>' if asked else ""
    if unasked:
        html += (
            f'<details class="unasked"><summary>Not run <span class="count">{len(unasked)} of '
            f"{len(block.items)} claims, which these runs do not speak of</span></summary>"
            f'<ol class="claims">{"".join(unasked)}</ol></details>'
        )
    return html


def _claim(answer: Answer) -> str:
    return (
        f'<li><p class="claim"><span class="number">{escape(answer.claim)}</span> '
        f"<strong>{escape(answer.title)}</strong> "
        f'<span class="badge {file_name(answer.answer)}">{escape(answer.answer)}</span></p>'
        f'<p>{escape(answer.statement)}</p><p class="why">{escape(answer.why)}</p></li>'
    )


@html_of.register
def _(block: Table) -> str:
    kinds = ["number" if c.is_number else "badged" if c.badge else "text" for c in block.shown]
    heads = "".join(
        f'<th scope="col" class="{kind}" aria-sort="none"><button type="button">'
        f"{escape(c.title)}</button></th>"
        for c, kind in zip(block.shown, kinds, strict=True)
    )
    rows = _rows(block, kinds)
    filtered = "data-filter" if len(rows) >= LONG else ""
    note = f'<p class="note">{escape(block.note)}</p>' if block.note else ""
    table = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(block.title)}">'
        f'<table {filtered}><caption class="hidden">{escape(block.title)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{note}"
    )
    if block.folded:
        return (
            f'<details class="table"><summary>{escape(block.title)} '
            f'<span class="count">{len(rows):,} rows</span></summary>{table}</details>'
        )
    return f'<div class="table"><h3>{escape(block.title)}</h3>{table}</div>'


def _rows(table: Table, kinds: list[str]) -> list[str]:
    """Each row with its cells; `kinds` are those of the columns that are shown."""
    raw = [table.frame[c.key].tolist() for c in table.shown]
    rows = []
    for number, cells in enumerate(table.written()):
        tds = [
            _cell(shown, raw[i][number], kinds[i], "th" if i == 0 else "td")
            for i, shown in enumerate(cells)
        ]
        rows.append(f"<tr>{''.join(tds)}</tr>")
    return rows


def _cell(shown: str, raw: object, kind: str, tag: str) -> str:
    """A cell; numbers carry their exact value to be sorted by."""
    scope = ' scope="row"' if tag == "th" else ""
    if kind == "badged":
        inner = f'<span class="badge {file_name(shown)}">{escape(shown)}</span>'
        return f"<{tag}{scope}>{inner}</{tag}>"
    if kind == "number" and isinstance(raw, (int, float)) and raw == raw:
        return f'<{tag}{scope} class="number" data-sort="{raw:.10g}">{escape(shown)}</{tag}>'
    kind = "long" if len(shown) > WIDE else kind
    return f'<{tag}{scope} class="{kind}">{escape(shown)}</{tag}>'


@html_of.register
def _(block: Picture) -> str:
    note = f" {escape(block.note)}" if block.note else ""
    return (
        f'<figure class="picture"><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(block.title)}">{inline_svg(block.rendered[0], block.name, block.alt)}'
        f"</div><figcaption><strong>{escape(block.title)}.</strong>{note}</figcaption></figure>"
    )


@html_of.register
def _(block: Chart) -> str:
    data = json.dumps(block.data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = data.replace("<", "\\u003c").replace("\u2028", "").replace("\u2029", "")
    picture = block.picture
    note = f'<p class="note">{escape(picture.note)}</p>' if picture.note else ""
    return (
        f'<div class="chart" data-chart><h3>{escape(picture.title)}</h3>'
        f'<script type="application/json">{data}</script>'
        f"<noscript><p>{escape(picture.alt)}</p></noscript></div>{note}"
    )


@html_of.register
def _(block: Sheets) -> str:
    images = []
    for caption, png in block.images:
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        alt = f"The first images of the pool {caption}, in rows of eight"
        images.append(
            f'<figure><img src="{source}" alt="{escape(alt)}" loading="lazy">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    note = f'<p class="note">{escape(block.note)}</p>' if block.note else ""
    return f'<h3>{escape(block.title)}</h3><div class="sheets">{"".join(images)}</div>{note}'
