"""The words of every table of runs: its columns, the controls, and names in a given order."""

from __future__ import annotations

import pandas as pd

CONTROL = "random"  # the initial pool that the others are compared with, and the passive query
ANY = "any"  # in place of a query: cycle 0 does not depend on it
METRIC, LABELED = "test/acc", "pool/labeled"  # what is compared unless said otherwise; the budget
PARTS = ("data", "init", "query", "learner", "seed")  # of the path of a run's folder
SETTING = ["data", "learner", "query"]  # in which pools are compared
CURVE = [*SETTING, "arm"]  # what has one curve: the mean over its seeds
RUN = [*CURVE, "pretext", "seed"]
ARTIFACTS = ["init_artifact", "query_artifact", "learner_artifact"]  # what a run read, by name


def ordered(names: pd.Series | list[str]) -> list[str]:
    """Distinct names in alphabetical order, the random control first."""
    return sorted(set(names), key=lambda name: (name != CONTROL, name))


def options_of(names: pd.Series) -> pd.Series:
    """The options that were chosen, whatever their settings.

    >>> options_of(pd.Series(["resnet18-dropouton", "vaal"])).tolist()
    ['resnet18', 'vaal']
    """
    return names.str.split("-").str[0]
