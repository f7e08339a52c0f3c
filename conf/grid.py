"""An experiment's file -> the settings of each of its runs: a union of grids, seed by seed.

grid:  # the product of all lists
  data: mnist
  seed: 0,1,2
  init: random,simclr
  query: entropy,dbal
also:  # the same grid again, with these lists in place of its own
  - {query: random, learner.dropout: "on"}
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from conf.compose import ROOT, groups
from datamodules.errors import UserError, unknown

Lists = dict[str, str]  # setting -> its values, as typed: a comma separates them
SLOWEST = ("seed", "pretext.seed")  # so that an unfinished grid is balanced
ELEMENT = re.compile(r"(?:\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|'(?:\\.|[^'\\])*'|[^,])+")


@dataclass(frozen=True)
class Experiment:
    """The grids of a file in conf/experiment; `Experiment()` is a command without one."""

    grid: Lists = field(default_factory=dict)
    also: list[Lists] = field(default_factory=list)

    @property
    def of_some(self) -> set[str]:
        """What only `also` sets, so that not all runs need to have it."""
        return {key for also in self.also for key in also} - self.grid.keys()

    def runs(self, given: Mapping[str, str]) -> list[Lists]:
        """One value of each setting for each run, equal runs once.

        A flag's list takes the place of the file's own. Of what `also` has in place of the grid's
        lists, it keeps what it allows: `--query margin` leaves arms of other queries out.
        """
        main, new = self.grid | dict(given), given.keys() - self.grid.keys()
        others = [{key: v for key, v in also.items() if key not in new} for also in self.also]
        grids = [main, *(main | allowed for also in others if (allowed := _only(also, given)))]
        runs = {tuple(sorted(run.items())): run for grid in grids for run in _product(grid)}
        seeds = {key: list(dict.fromkeys(r.get(key) for r in runs.values())) for key in SLOWEST}
        return sorted(
            runs.values(), key=lambda run: [seeds[key].index(run.get(key)) for key in SLOWEST]
        )


def read_experiment(name: str) -> Experiment:
    """The experiment of conf/experiment/<name>.yaml; all its values are texts, as on the command
    line."""
    names = groups()["experiment"]
    if name not in names:
        raise unknown("experiment", name, names)
    file = ROOT / "experiment" / f"{name}.yaml"
    try:
        return Experiment(**yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))
    except (yaml.YAMLError, TypeError) as error:
        raise UserError(f"{file} must hold `grid` and `also`: {error}") from error


def split(value: str) -> list[str]:
    """A comma list as its elements; brackets, braces and quotes keep theirs together."""
    return ELEMENT.findall(value) or [value]


def _product(grid: Lists) -> list[Lists]:
    keys = sorted(grid, key=lambda key: key not in SLOWEST)
    return [
        dict(zip(keys, values, strict=True))
        for values in itertools.product(*(split(grid[key]) for key in keys))
    ]


def _only(also: Lists, given: Mapping[str, str]) -> Lists:
    """What a command's flags leave of `also`; empty where they leave nothing of a list."""
    kept = {
        key: [v for v in split(values) if key not in given or v in split(given[key])]
        for key, values in also.items()
    }
    return {key: ",".join(values) for key, values in kept.items()} if all(kept.values()) else {}
