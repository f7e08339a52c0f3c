"""How numbers and lists are written for a reader: points, percent, p values, times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def known(value: Any) -> bool:
    """Whether there is a number, or anything else, to show."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def text(value: Any) -> str:
    return str(value) if known(value) else NONE


def count(value: Any) -> str:
    if not known(value):
        return NONE
    return "∞" if math.isinf(value) else f"{value:,.0f}"


def percent(value: Any) -> str:
    """0.7234 -> `72.3`."""
    return f"{100 * value:.1f}" if known(value) else NONE


def fine_percent(value: Any) -> str:
    """0.00111 -> `0.11`; two digits of shares that are small."""
    return f"{100 * value:.2g}" if known(value) else NONE


def points(value: Any) -> str:
    """Percentage points with their sign: -0.0123 -> `-1.23`."""
    if not known(value):
        return NONE
    shown = f"{100 * value:+.2f}"
    return shown.replace("-", MINUS) if float(shown) else "0.00"


def margin(value: float) -> str:
    """`1 point`, `0.5 points`."""
    return f"{100 * value:g} point{'' if value == 0.01 else 's'}"


def decimal(value: Any) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS) if known(value) else NONE


def p_value(value: Any) -> str:
    if not known(value):
        return NONE
    return "<.001" if value < 0.001 else f"{value:.3f}".lstrip("0")


def seconds(value: Any) -> str:
    """`0.42 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if not known(value):
        return NONE
    if value < 10:
        return f"{value:.2f} s"
    if value < 100:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min"


def interval(low: Any, high: Any) -> str:
    """A 95 % interval in points."""
    return f"{points(low)} to {points(high)}" if known(low) and known(high) else NONE


def plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`, `2 queries`."""
    plurals = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plurals}"


def listing(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
