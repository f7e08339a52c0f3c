"""What the claims are judged from, and what a judgment is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from active.columns import ANY, CONTROL, options_of
from active.verdict import MARGIN, compare_pools

POOLS = ("simclr", "vae", "scan", "kmeans")  # the paper's, beside the random one
ACTIVE = ("least_confidence", "entropy", "margin", "dbal", "coreset", "vaal", "ens_varr")
QUERIES = (CONTROL, *ACTIVE)
FEW = ("entropy", "least_confidence", "dbal")  # its queries at low budgets and with a long tail
TITLES = {
    "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "tiny_imagenet": "Tiny ImageNet",
    "mnist": "MNIST", "cifar10_lt": "long-tail CIFAR-10",
}  # fmt: skip
Budgets = tuple[float, float]  # shares of the images that are labeled first and last
USUAL: Budgets = (0.1, 0.6)
BUDGETS = {"mnist": (0.001, 0.011)}
NEAR = 1.5  # a start within this factor is the paper's budget
LAST = 0.95  # and so is an end of at least this share of its last budget
# Parts of a run's name that change nothing of the protocol; whatever else it says does, also
# `no_sync_batchnorm`: statistics of a share of each batch.
SAME = (
    "dropout|members|threads|precision|mixed|true|val_checks|compile|no_deterministic|accelerator|"
    "devices(?:-1)?|num_nodes|strategy"
)
LEARNER = rf"resnet18(-({SAME})[^-]*)*"
SHORT = "pretext_epochs"  # pretext models of another length than their recipes'
DATA = rf"[^-]+(-eval_batch_size\d+)?(-[\d.]+\+[\d.]+)?(-{SHORT}.*)?"


@dataclass(frozen=True)
class Answer:
    """What the runs say of one claim."""

    claim: str
    title: str
    statement: str
    answer: str  # confirmed, contradicted, undecided, not run
    why: str


@dataclass(frozen=True)
class Study:
    """All rows of an experiment, its pools (None where they were not read), and the margin.

    The paper trains ResNet-18 from scratch; runs of other learners, of a learner or data that were
    set otherwise and of other initial budgets do not speak of its claims. What they end with does
    only where it is the paper's last budget. Which of its queries were not run, and that pretext
    models were trained for a share of their recipe, is said.
    """

    runs: pd.DataFrame
    pools: pd.DataFrame | None = None
    margin: float = MARGIN

    @cached_property
    def own(self) -> pd.DataFrame:
        """The rows that can speak of the paper: its learner, from scratch."""
        learner, data = (self.runs[part].astype(str) for part in ("learner", "data"))
        return self.runs[learner.str.fullmatch(LEARNER) & data.str.fullmatch(DATA)]

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        return compare_pools(self.own, self.margin)

    def names(self, data: str, budgets: Budgets | None = None) -> list[str]:
        """The run folders' names of this data set with the paper's initial budget."""
        share = _paper(data, budgets)[0]
        first = self.own[self.own["cycle"] == 0].groupby("data")["pool/fraction"].median()
        return [
            str(name)
            for name, fraction in first.items()
            if str(name).split("-")[0] == data and share / NEAR < fraction < share * NEAR
        ]

    def whole(self, data: str, budgets: Budgets | None = None) -> list[str]:
        """Those of `names` whose runs go on to the paper's last budget."""
        last = self.own.groupby("data")["pool/fraction"].max()
        least = LAST * _paper(data, budgets)[1]
        return [name for name in self.names(data, budgets) if last[name] >= least]

    def rows(self, data: str, arms: Iterable[str]) -> pd.DataFrame:
        """Rows of these pools and the random one, under the paper's queries."""
        own = self.own
        chosen = own["data"].isin(self.names(data)) & own["arm"].isin([CONTROL, *arms])
        return own[chosen & options_of(own["query"]).isin(QUERIES)]

    def judged(
        self, data: str, arms: Iterable[str], end: str, budgets: Budgets | None = None
    ) -> pd.DataFrame:
        """Verdicts of these pools at this endpoint, under the paper's queries."""
        table = self.verdicts
        names = self.names(data, budgets) if end == "start" else self.whole(data, budgets)
        chosen = table["data"].isin(names) & table["arm"].isin(list(arms))
        queries = options_of(table["query"]).isin([*QUERIES, ANY])
        return table[chosen & queries & (table["endpoint"] == end)]

    def lacks(self, data: str, arms: Iterable[str], budgets: Budgets | None = None) -> list[str]:
        """What is missing to speak of a data set: the whole of it, or some pools."""
        there = set(self.own.loc[self.own["data"].isin(self.names(data, budgets)), "arm"])
        if not there:
            other = (options_of(self.runs["data"]) == data).any()
            return [TITLES[data] + (" with the paper's learner and budget" if other else "")]
        return [f"{arm} on {TITLES[data]}" for arm in (CONTROL, *arms) if arm not in there]

    def departs(
        self,
        data: str,
        queries: Iterable[str],
        arms: Sequence[str],
        budgets: Budgets | None = None,
        end: bool = True,
    ) -> list[str]:
        """In what the runs of a data set fall short of the paper's; `end`: at the end as well."""
        names = self.names(data, budgets)
        rows = self.own[self.own["data"].isin(names)]
        found = _unasked(rows, queries, (CONTROL, *arms), TITLES[data])
        if end and not self.whole(data, budgets):
            row = rows.loc[rows["pool/fraction"].idxmax()]
            paper = _paper(data, budgets)[1] / row["pool/fraction"] * row["pool/labeled"]
            labels = f"{row['pool/labeled']:,.0f} labels (the paper: {paper:,.0f})"
            found.append(f"{TITLES[data]} beyond {labels}")
        if all(SHORT in name for name in names):
            found.append(f"pretext models of the recipes' length on {TITLES[data]}")
        return found


def _unasked(
    rows: pd.DataFrame, queries: Iterable[str], arms: Sequence[str], where: str
) -> list[str]:
    """Queries under which no pool was run, and pools that were not run under some."""
    there = rows["arm"].groupby(options_of(rows["query"])).agg(set)
    absent: dict[tuple[str, ...], list[str]] = {}
    for query in queries:
        missing = tuple(arm for arm in arms if arm not in there.get(query, ()))
        if missing:
            absent.setdefault(missing, []).append(query)
    found = []
    for missing, asked in absent.items():
        some = f"{', '.join(missing)} under " if len(missing) < len(arms) else ""
        found.append(f"{some}{', '.join(asked)} on {where}")
    return found


def _paper(data: str, budgets: Budgets | None) -> Budgets:
    return budgets or BUDGETS.get(data, USUAL)
