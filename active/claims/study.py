"""What the claims are judged from, and what a judgment is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from active.verdict import compare_pools

POOLS = ("simclr", "vae", "scan", "kmeans")  # the paper's, beside the random one
ACTIVE = ("least_confidence", "entropy", "margin", "dbal", "coreset", "vaal", "ens_varr")
QUERIES = ("random", *ACTIVE)
FEW = ("entropy", "least_confidence", "dbal")  # its queries at low budgets and with a long tail
TITLES = {
    "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "tiny_imagenet": "Tiny ImageNet",
    "mnist": "MNIST", "cifar10_lt": "long-tail CIFAR-10",
}  # fmt: skip
START = {"mnist": 0.001}  # share of the images that the paper's initial pool holds
USUAL_START = 0.1
NEAR = 1.5  # a start within this factor is the paper's budget


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
    """All rows of an experiment, its pools (None where they were not read), and the levels.

    The paper trains ResNet-18 from scratch; runs of other learners and of other budgets do not
    speak of its claims.
    """

    runs: pd.DataFrame
    pools: pd.DataFrame | None = None
    margin: float = 0.01
    alpha: float = 0.05

    @cached_property
    def own(self) -> pd.DataFrame:
        """The rows that can speak of the paper: its learner, from scratch."""
        return self.runs[self.runs["learner"].str.split("-").str[0] == "resnet18"]

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        return compare_pools(self.own, self.margin, self.alpha)

    def names(self, data: str, start: float | None = None) -> list[str]:
        """The run folders' names of this data set with the paper's initial budget."""
        share = start or START.get(data, USUAL_START)
        first = self.own[self.own["cycle"] == 0].groupby("data")["pool/fraction"].median()
        return [
            str(name)
            for name, fraction in first.items()
            if str(name).split("-")[0] == data and share / NEAR < fraction < share * NEAR
        ]

    def rows(self, data: str, arms: Iterable[str], start: float | None = None) -> pd.DataFrame:
        """Rows of these pools and the random one, under the paper's queries."""
        own = self.own
        chosen = own["data"].isin(self.names(data, start)) & own["arm"].isin(["random", *arms])
        return own[chosen & own["query"].str.split("-").str[0].isin(QUERIES)]

    def judged(
        self, data: str, arms: Iterable[str], ends: Iterable[str], start: float | None = None
    ) -> pd.DataFrame:
        """Verdicts of these pools at these endpoints, under the paper's queries."""
        table = self.verdicts
        chosen = table["data"].isin(self.names(data, start)) & table["arm"].isin(list(arms))
        queries = table["query"].str.split("-").str[0].isin([*QUERIES, "any"])
        return table[chosen & queries & table["endpoint"].isin(list(ends))]

    def lacks(self, data: str, arms: Iterable[str], start: float | None = None) -> list[str]:
        """What is missing to speak of a data set: the whole of it, or some pools."""
        there = set(self.own.loc[self.own["data"].isin(self.names(data, start)), "arm"])
        if not there:
            other = (self.runs["data"].str.split("-").str[0] == data).any()
            return [TITLES[data] + (" with the paper's learner and budget" if other else "")]
        return [f"{arm} on {TITLES[data]}" for arm in ("random", *arms) if arm not in there]
