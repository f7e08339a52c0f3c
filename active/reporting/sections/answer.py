"""The first page: does the initial pool matter, in plain words, and the paper's claims."""

from __future__ import annotations

import pandas as pd

from active import formats
from active.claims import Study, all_answers
from active.columns import ANY, METRIC
from active.reporting.blocks import Answers, Block, Lead, Section
from active.reporting.material import Material
from active.reporting.sections.verdicts import pictures

ORDER = ("better", "worse", "equivalent", "undecided")
AA = "shuffled"
NAMED = 6  # so many pools are named in a sentence


def section(material: Material) -> Section:
    """The summary, then each claim with what these runs say of it."""
    lead, *others = summary(material)
    blocks: list[Block] = [Lead(lead), *others]
    verdicts = material.pool_verdicts
    blocks += pictures(verdicts[verdicts["endpoint"] == "aubc"], "aubc", material.margin)
    blocks.append(
        "The claims below are the paper's, in our words. Confirmed and contradicted need "
        "statistical support in the one or the other direction; “no difference” needs equivalence."
    )
    if material.metric != METRIC:
        blocks.append("Claims are judged by test accuracy whatever the rest of the page shows.")
    blocks.append(Answers(all_answers(Study(material.all_runs, material.pools, material.margin))))
    return Section("Does the initial pool matter?", blocks)


def summary(material: Material) -> list[str]:
    """A few sentences made from the verdicts alone, the answer first."""
    table = material.pool_verdicts
    if table.empty:
        return ["These runs cannot tell: a random pool and another one are needed."]
    primary = table[table["endpoint"] == "aubc"]
    sentences = [_answer(primary, material.margin)]
    for endpoint, where in (
        ("start", "At the first model"),
        ("aubc", "Over the whole budget"),
        ("final", "At the last budget"),
    ):
        part = table[table["endpoint"] == endpoint]
        if not part.empty:
            sentences.append(f"{where}: {_counts(part)}.{_largest(part)}")
    return [*sentences, *_caveats(material, table)]


def _answer(primary: pd.DataFrame, margin: float) -> str:
    """Yes, no or undecided, by the primary endpoint."""
    if primary.empty:
        return "Not decided: no pool has the whole range of budgets beside the random pool yet."
    compared = formats.plural(len(primary), "comparison")
    moved = primary[primary["verdict"].isin(("better", "worse"))]
    if len(moved):
        return (
            f"Yes, for {len(moved)} of {compared} with the random pool: {_named(moved, primary)}."
        )
    if set(primary["verdict"]) == {"equivalent"}:
        return (
            f"No: in each of {compared} the pool is worth the "
            f"random one, to within {formats.margin(margin)}."
        )
    some = int((primary["verdict"] == "equivalent").sum())
    known = f"; {some} are equivalent to the random pool" if some else ""
    return (
        f"Not decided: none of {compared} with the random pool is clearly better or worse{known}."
    )


def _named(rows: pd.DataFrame, all_rows: pd.DataFrame) -> str:
    """`vae is worse in 3 of 8 (-3.20 points on average over all 8)`, the largest first.

    Averages of those alone that are decided would be too large.
    """
    found = []
    for (arm, verdict), part in rows.groupby(["arm", "verdict"]):
        whole = all_rows[all_rows["arm"] == arm]
        mean, learners = whole["mean"].mean(), part["learner"].unique()
        average = f" on average over all {len(whole)}" if len(whole) > 1 else ""
        alone = len(learners) == 1 < whole["learner"].nunique()
        where = f", with {learners[0]} alone" if alone else ""
        text = f"{arm} is {verdict} in {len(part)} of {len(whole)}{where}"
        found.append((abs(mean), f"{text} ({formats.points(mean)} points{average})"))
    told = [text for _, text in sorted(found, reverse=True)]
    more = [f"{len(told) - NAMED} more"] if len(told) > NAMED else []
    return formats.listing(told[:NAMED] + more)


def _counts(part: pd.DataFrame) -> str:
    counts = part["verdict"].value_counts()
    found = [f"{counts[word]} {word}" for word in ORDER if word in counts]
    return f"{formats.listing(found)} of {formats.plural(len(part), 'comparison')}"


def _largest(part: pd.DataFrame) -> str:
    """The largest difference with its interval."""
    row = part.loc[part["mean"].abs().idxmax()]
    where = "" if row["query"] == ANY else f" under {row['query']}"
    if part["learner"].nunique() > 1:
        where += f" with {row['learner']}"
    spread = (
        f", 95 % interval {formats.interval(row['low'], row['high'])}"
        if formats.known(row["low"])
        else (", from a single seed" if row["seeds"] < 2 else ", the same in every seed")
    )
    return (
        f" The largest difference is that of {row['arm']}{where}, {row['data']}: "
        f"{formats.points(row['mean'])} points{spread}, {row['verdict']}."
    )


def _control(table: pd.DataFrame) -> list[str]:
    """What the A/A control says, which is among the counts."""
    part = table[(table["arm"] == AA) & (table["endpoint"] != "start")]
    if part.empty:
        return []
    return [
        f"{AA}, a second random pool, is the A/A control and among these counts: {_counts(part)} "
        "of areas and ends."
    ]


def _caveats(material: Material, table: pd.DataFrame) -> list[str]:
    """What a reader must know before believing any of it."""
    found = []
    seeds = int(table["seeds"].max())
    undecided = table[(table["verdict"] == "undecided") & (table["endpoint"] == "aubc")]
    detectable = undecided["detectable"].median()
    if seeds < 2:
        found.append("With a single seed nothing can be decided.")
    elif formats.known(detectable):
        size = f"{100 * detectable:.1f} points" if detectable < 1 else "no size"
        found.append(
            "Undecided is not equal: a true difference in area would have been found with 80 % "
            f"power, at Holm's first step, from {size} on (median of the {len(undecided)} "
            "that are undecided)."
        )
    found += _control(table)
    if (table["scope"] == "this artifact").any():
        found.append(
            "Where one pretext model stands behind all seeds, the intervals speak of that model, "
            "not of its method."
        )
    if len(material.unfinished):
        found.append(
            f"{formats.plural(len(material.unfinished), 'run')} of the grid failed, stopped or are "
            "missing; they are listed at the end."
        )
    return found
