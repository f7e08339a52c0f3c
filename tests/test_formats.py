"""The report's numbers, tables, colors and file names, each by itself."""

from __future__ import annotations

import pandas as pd

from active import formats
from active.figures.style import styles
from active.reporting.blocks import Column, Table, file_name
from active.reporting.files import latex, markdown


def test_written_numbers() -> None:
    assert [formats.points(v) for v in (-0.0123, 0.05, 0.0, None, float("nan"))] == [
        "\N{MINUS SIGN}1.23", "+5.00", "0.00", formats.NONE, formats.NONE,
    ]  # fmt: skip
    assert [formats.p_value(v) for v in (0.0004, 0.0321, 1.0)] == ["<.001", ".032", "1.000"]
    assert [formats.seconds(v) for v in (0.416, 42.4, 200, 7500)] == [
        "0.42 s", "42 s", "3 min 20 s", "2 h 05 min",
    ]  # fmt: skip
    assert [formats.count(v) for v in (1234.0, float("inf"), None)] == ["1,234", "∞", formats.NONE]
    assert [formats.decimal(v) for v in (-0.004, 1.256)] == ["0.00", "1.26"]
    assert formats.listing(["a", "b", "c"]) == "a, b and c"
    assert [formats.plural(1, "query"), formats.plural(2, "query")] == ["1 query", "2 queries"]


def test_tables_for_markdown_and_latex() -> None:
    frame = pd.DataFrame({"arm": ["a|b_c", "50 %"], "data": ["d", "d"], "mean": [0.5, None]})
    columns = (Column("arm", "pool"), Column("data", "data"), Column("mean", "%", formats.percent))
    table = Table("t", "T", frame, columns)
    assert markdown(table).splitlines() == [
        "| pool | % |", "| --- | ---: |", "| a\\|b_c | 50.0 |", f"| 50 % | {formats.NONE} |",
    ]  # fmt: skip
    lines = latex(table).splitlines()
    assert lines[1] == r"\begin{tabular}{lr}"
    assert lines[5:7] == [r"a|b\_c & 50.0 \\", r"50 \% & -- \\"]


def test_styles_are_told_apart() -> None:
    arms = ["random", *(f"pool{i}" for i in range(20))]
    found = styles(arms)
    assert found["random"].color == "#000000"
    assert len({(s.color, s.dash) for s in found.values()}) == len(arms)


def test_file_names() -> None:
    assert file_name("a/b <c>") == "a-b-c"
    assert file_name("///") == "unnamed"
