"""Verdicts of comparisons -> the answer to a claim.

A comparison confirms or contradicts only with statistical support; everything else is undecided.
A claim is about all of its comparisons, so that one contradiction contradicts it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from active.claims.study import TITLES, Answer
from active.columns import ANY, options_of
from active.estimate import ALPHA
from active.formats import listing

Judge = Callable[[pd.Series], str]
CONFIRMED, CONTRADICTED, UNDECIDED, NOT_RUN = "confirmed", "contradicted", "undecided", "not run"


@dataclass(frozen=True)
class Claim:
    """A statement of the paper, in our words; what is compared with what, and its unit."""

    name: str
    title: str
    statement: str
    control: str = "the random pool"
    scale: float = 100
    unit: str = "points"

    def answer(self, answer: str, why: str) -> Answer:
        return Answer(self.name, self.title, self.statement, answer, why)


def _claimed(verdict: str) -> Judge:
    """Claimed: this verdict; any other that is one contradicts it."""

    def judge(row: pd.Series) -> str:
        if row["verdict"] not in DECIDED:
            return UNDECIDED
        return CONFIRMED if row["verdict"] == verdict else CONTRADICTED

    return judge


DECIDED = ("better", "worse", "equivalent")
# The last needs equivalence, not the absence of a verdict.
gains, loses, same = map(_claimed, DECIDED)


def no_gain(margin: float) -> Judge:
    """Claimed: not better; needs an upper limit (95 %, one-sided) below the margin."""

    def judge(row: pd.Series) -> str:
        if row["verdict"] == "better":
            return CONTRADICTED
        return CONFIRMED if row["high90"] < margin else UNDECIDED

    return judge


def marginal_gain(row: pd.Series) -> str:
    """Claimed: better, be it by less than the margin; needs Holm's p alone."""
    if not row["p_holm"] < ALPHA:
        return UNDECIDED
    return CONFIRMED if row["mean"] > 0 else CONTRADICTED


def judged_by(judge: Judge, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, each with the `answer` that it gives."""
    return rows.assign(answer=[judge(row) for _, row in rows.iterrows()])


def conclude(claim: Claim, tables: Sequence[pd.DataFrame], lacking: Sequence[str]) -> Answer:
    """The answer to a claim about all rows of these tables; one contradiction contradicts, one
    undecided row leaves undecided."""
    rows = pd.concat(tables) if tables else pd.DataFrame()
    if rows.empty:
        return claim.answer(NOT_RUN, f"Missing: {'; '.join(lacking or ['pairs of runs'])}.")
    answer = next(a for a in (CONTRADICTED, UNDECIDED, CONFIRMED) if a in set(rows["answer"]))
    return claim.answer(answer, f"{summary(claim, rows, answer)}{missing(lacking)}.")


def summary(claim: Claim, rows: pd.DataFrame, answer: str) -> str:
    """`Of 6 comparisons with the random pool on MNIST, 5 are for it ...; the largest ...`."""
    counts = rows["answer"].value_counts()
    said = [f"{counts[a]} {word}" for a, word in SIDES.items() if a in counts]
    said[0] = said[0].replace(" ", " is " if said[0].startswith("1 ") else " are ", 1)
    data = listing([TITLES[base] for base in options_of(rows["data"]).unique()])
    deciding = rows[rows["answer"] == answer]
    largest = in_words(claim, deciding.loc[deciding["mean"].abs().idxmax()])
    many = f"{len(rows)} comparison" + ("s" if len(rows) > 1 else "")
    compared = f"Of {many} with {claim.control} on {data}, {listing(said)}"
    return f"{compared}; the largest {SIDES[answer]}: {largest}"


SIDES = {CONFIRMED: "for it", CONTRADICTED: "against it", UNDECIDED: "undecided"}


def in_words(claim: Claim, row: pd.Series) -> str:
    """`vae on mnist at the start, -3.1 points (95 % interval -4.0 to -2.2, n = 5, worse)`."""
    where = {"start": "at the start", "final": "at the end", "aubc": "over the curve"}
    query = "" if row["query"] == ANY else f" under {row['query']}"
    mean, low, high = (f"{claim.scale * row[c]:+.1f}" for c in ("mean", "low", "high"))
    interval = f"95 % interval {low} to {high}, " if pd.notna(row["low"]) else ""
    numbers = f"{mean} {claim.unit} ({interval}n = {row['seeds']}, {row['verdict']})"
    other = f" beside {row['other']}" if "other" in row else ""
    return f"{row['arm']}{other}{query} on {row['data']} {where[row['endpoint']]}, {numbers}"


def missing(lacking: Sequence[str]) -> str:
    return f"; not run: {'; '.join(lacking)}" if lacking else ""
