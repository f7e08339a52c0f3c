"""Plain flags in front of Hydra: `--query margin --trainer.max_epochs 5 --seed 0,1,2 -m`.

Flags become Hydra overrides, and every name of every job of a grid is checked before the first job
starts. Nothing here imports torch: help and wrong names are answered at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from conf.compose import composer, groups, groups_of
from conf.custom import register
from conf.grid import Experiment, Lists, read_experiment, split
from conf.jobs import Job, compose_job, distinct, has_setting
from conf.programs import PROGRAMS
from conf.quoting import LISTS, flag_value, inner_key, launcher_key, launcher_value, raw_value
from datamodules.errors import UserError, unknown

GRID = ("-m", "--multirun")
SHOWN = ("job",)  # what --cfg prints, always resolved
OURS = {"--dry-run": "dry_run=true", "--dry_run": "dry_run=true", "--toy": "toy=true"}
# How the runs of a grid are started.
STARTING = {
    "launcher": "hydra/launcher", "processes": "processes", "gpus": "gpus", "attempts": "attempts",
}  # fmt: skip
Spelling = tuple[Callable[[str, str], str], Callable[[str, str], str]]
SWEEP = re.compile(r"'?(choice|range|interval|glob)\(.*\)'?$")  # Hydra's, for which lists do
OWN = ("query", "init")  # groups that take a class of the user's own


@dataclass
class CommandLine:
    """The overrides of a run, and the flags that are none.

    `launcher` says how runs are started, in words of conf/grid.yaml; it is no part of any run.
    """

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    launcher: list[str] = field(default_factory=list)
    help: bool = False

    @property
    def grid(self) -> bool:
        """Whether many runs may be meant: lists are then grids."""
        words = ("hydra/launcher=", "experiment=")
        named = any(word.startswith(words) for word in (*self.launcher, *self.overrides))
        return named or any(flag in self.flags for flag in GRID)


def parse(argv: list[str], program: str = "active") -> CommandLine:
    """Flags -> overrides; overrides keep their values, so that parsing twice changes nothing."""
    line, words = CommandLine(), list(argv)
    if os.getcwd() not in sys.path:  # modules of the user's own
        sys.path.append(os.getcwd())
    while words:
        _take(line, words, program)
    # The seed varies slowest, so that an unfinished grid is balanced.
    line.overrides.sort(key=lambda override: not override.startswith(("seed=", "pretext.seed=")))
    return line


def _take(line: CommandLine, words: list[str], program: str) -> None:
    """The next word, and the value behind it."""
    word = words.pop(0)
    key, equals, value = word.partition("=")
    if word in ("--help", "-h"):
        line.help = True
    elif word in (*GRID, "--resolve"):
        line.flags.append(word)
    elif word in OURS:
        line.overrides.append(OURS[word])
    elif word.startswith("--"):
        _add_flag(line, program, key[2:], value if equals else _value_behind(key, words))
    elif word.lstrip("+~").startswith(("hydra.", "hydra/")):
        line.launcher.append(word)
    elif equals:
        _add(line, program, key, value, (raw_value, raw_value))
    else:
        raise UserError(f"{word!r} is not a flag; flags look like --query entropy")


def _value_behind(flag: str, words: list[str]) -> str:
    if not words or words[0].startswith("--"):
        raise UserError(f"{flag} needs a value")
    return words.pop(0)


def _add_flag(line: CommandLine, program: str, key: str, value: str) -> None:
    if key != "cfg":
        _add(line, program, key, value, (flag_value, launcher_value))
    elif value in SHOWN:
        line.flags += ["--cfg", value]
    else:
        raise unknown("--cfg", value, SHOWN)


def _add(line: CommandLine, program: str, key: str, value: str, spell: Spelling) -> None:
    """A setting under the name that it has inside, to those of the run or of the launcher."""
    of_run, of_launcher = spell
    if key in STARTING or key.startswith("launcher."):
        key = STARTING[key] if key in STARTING else launcher_key(key)
        line.launcher.append(f"{key}={of_launcher(key, value)}")
    else:
        key = key.replace("-", "_")
        key = inner_key(PROGRAMS[program].renamed.get(key, key))
        line.overrides.append(f"{key}={of_run(key, value)}")


def check_names(program: str, overrides: list[str]) -> None:
    """Every option of every group, before any config is composed."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if SWEEP.match(value):
            raise UserError(f"{key}: a grid is a list, as in --seed 0,1,2 -m, not {value}")
        allowed = groups()[key.partition("@")[0]] if "@" in key else groups_of(program).get(key)
        value = value.strip("[]") if key in LISTS else value
        for option in (o.strip("' ") for o in (value.split(",") if allowed else ())):
            if key in OWN and "." in option:
                register(key, option)
            elif allowed and option not in allowed:
                raise unknown(key.partition("@")[2] or key, option, allowed)


def expand(program: str, line: CommandLine) -> list[Job]:
    """Every job that the command line asks for, with all names and types checked."""
    check_names(program, line.overrides)
    given = {key: value for key, _, value in (o.partition("=") for o in line.overrides)}
    name = given.pop("experiment", None) if PROGRAMS[program].runs else None
    experiment = _experiment(program, name) if name else Experiment()
    for key, value in given.items():
        if not line.grid and len(split(value)) > 1:
            flag = key.partition("@")[2] or key
            raise UserError(
                f"--{flag} {value} is a list; add -m to run a grid of all of them, or quotes "
                "inside the shell's to a text with commas"
            )
    runs = experiment.runs(given) if line.grid else [given]
    first = [f"experiment={name}"] if name else []
    with composer():
        runs = _fitting(program, runs, experiment.of_some & given.keys())
        jobs = [
            compose_job(program, [*first, *(f"{key}={value}" for key, value in run.items())])
            for run in runs
        ]
    return distinct(jobs) if PROGRAMS[program].runs else jobs


def _fitting(program: str, runs: list[Lists], of_some: set[str]) -> list[Lists]:
    """The runs, without a flag where only others of the experiment have what it sets."""
    fitted = [_fit(program, run, of_some) for run in runs]
    used = {key for run in fitted for key in run}
    return fitted if of_some <= used else runs  # a key that no run has is reported as unknown


def _fit(program: str, run: Lists, of_some: set[str]) -> Lists:
    for key in sorted(of_some, key=len):
        others = {k: value for k, value in run.items() if k != key}
        if not has_setting(program, (f"{k}={value}" for k, value in others.items()), key):
            run = others
    return run


def _experiment(program: str, name: str) -> Experiment:
    """An experiment with the names in its file checked and its settings as overrides."""
    known = read_experiment(name)

    def overrides(lists: dict[str, str]) -> dict[str, str]:
        named = ((inner_key(key), value) for key, value in lists.items())
        written = {key: flag_value(key, value) for key, value in named}
        check_names(program, [f"{key}={value}" for key, value in written.items()])
        return written

    return Experiment(overrides(known.grid), [overrides(lists) for lists in known.also])
