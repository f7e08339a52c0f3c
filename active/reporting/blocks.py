"""What a report is made of: sections that hold paragraphs, tables, pictures, charts, sheets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from active import formats
from active.claims.study import Answer
from active.figures.style import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure


PLACES = ("data", "learner")  # columns that say nothing where there is only one


@dataclass(frozen=True)
class Column:
    """One column of a table: where its value comes from, its head and how it is written."""

    key: str
    title: str
    write: Callable[[Any], str] = formats.text
    badge: bool = False  # shown as a colored word

    @property
    def is_number(self) -> bool:
        return self.write is not formats.text


@dataclass(frozen=True)
class Table:
    """A table: raw values for CSV, written ones for people."""

    name: str  # of its files
    title: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    note: str = ""
    folded: bool = False  # long ones open on demand

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns that people see: not a place that all rows share."""
        same = {c.key for c in self.columns if c.key in PLACES and self.frame[c.key].nunique() < 2}
        return tuple(c for c in self.columns if c.key not in same) or self.columns

    def written(self) -> list[list[str]]:
        """The cells of the shown columns as text, row by row."""
        columns = [[c.write(value) for value in self.frame[c.key].tolist()] for c in self.shown]
        return [list(row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Picture:
    """A figure, drawn when it is needed; `alt` says in words what it shows."""

    name: str
    title: str
    alt: str
    draw: Callable[[], Figure]
    note: str = ""

    @cached_property
    def rendered(self) -> tuple[str, bytes]:
        """SVG and PNG."""
        return render(self.draw())


@dataclass(frozen=True)
class Chart:
    """Interactive curves: `data` is what `page.js` draws, `picture` the same on paper."""

    picture: Picture
    data: dict[str, Any]


@dataclass(frozen=True)
class Sheets:
    """Small photographs: (caption, PNG)."""

    title: str
    images: list[tuple[str, bytes]]
    note: str = ""


@dataclass(frozen=True)
class Answers:
    """Claims, each with what the runs say of it."""

    items: list[Answer]


@dataclass(frozen=True)
class Lead:
    """The one sentence that a section is about."""

    text: str


Block = str | Lead | Table | Picture | Chart | Sheets | Answers


@dataclass
class Section:
    """A part of the report."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def id(self) -> str:
        return file_name(self.title.lower())


def file_name(text: str) -> str:
    """A name that every file system and every HTML id takes; letters of any script stay.

    >>> file_name("curves, cifar10/größe <1>")
    'curves-cifar10-größe-1'
    """
    return re.sub(r"[^\w.+]+", "-", text).strip("-.") or "unnamed"
