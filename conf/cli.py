"""Plain flags in front of Hydra: `--query margin --trainer.max_epochs 5 --seed 0,1,2 -m`.

Flags become Hydra overrides, and every name of every job of a grid is checked before the first job
starts. Nothing here imports torch: help and wrong names are answered at once.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any

from omegaconf import DictConfig

from conf.compose import compose_config, composer, flatten, groups, groups_of, plain, typed
from conf.custom import register
from conf.identity import RunName, name_run
from datamodules.errors import UserError, unknown

HYDRA_FLAGS = {"--cfg": 1, "--package": 1, "--resolve": 0, "--info": 1, "--multirun": 0, "-m": 0}
OURS = {"--dry-run": "dry_run=true", "--dry_run": "dry_run=true"}
# What a flag is called inside: Hydra takes any key with a group's name for a choice of an option.
RENAMED = {
    "active": {"launcher": "hydra/launcher"},
    "pretext": {"trainer.max_epochs": "model.max_epochs", "seed": "pretext.seed"},
    "report": {"experiment": "name"},
}
OWN = ("query",)  # groups that take a class of the user's own
LISTS = ("logger",)  # several options at once, so a comma is not a grid
# A model's parent, an init's model and an init's other init are options of those groups, too.
NESTED = re.compile(r"(init|query|learner|model)(\.(of|model|parent))+")
NEEDS_QUOTES = re.compile(r"[^\w./:,+\-\[\]{}$%@~]")


@dataclass
class CommandLine:
    """Hydra's own flags, and the overrides as one block: its parser rejects a second one."""

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    help: bool = False

    @property
    def multirun(self) -> bool:
        return "-m" in self.flags or "--multirun" in self.flags

    @property
    def argv(self) -> list[str]:
        return [*self.overrides, *self.flags]


@dataclass(frozen=True)
class Job:
    """One run of a command: its config, and what it is called."""

    config: Any  # the typed config, ActiveConfig for a run
    resolved: dict[str, Any]  # the same as plain Python
    name: RunName


def parse(argv: list[str], program: str = "active") -> CommandLine:
    """Flags -> overrides; overrides pass as they are, so that parsing twice changes nothing."""
    line, words = CommandLine(), list(argv)
    while words:
        word = words.pop(0)
        if word in ("--help", "-h"):
            line.help = True
        elif word in HYDRA_FLAGS:
            line.flags += [word, *words[: HYDRA_FLAGS[word]]]
            words = words[HYDRA_FLAGS[word] :]
        elif word in OURS:
            line.overrides.append(OURS[word])
        elif word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            if not equals:
                if not words or words[0].startswith("--"):
                    raise UserError(f"--{key} needs a value")
                value = words.pop(0)
            line.overrides.append(_override(RENAMED[program].get(key, key), value))
        elif "=" in word or word.startswith("~"):
            line.overrides.append(word)
        else:
            raise UserError(f"{word!r} is not a flag; flags look like --query entropy")
    if "--cfg" in line.flags and "--resolve" not in line.flags:
        line.flags.append("--resolve")
    # The seed varies slowest, so that an unfinished grid is balanced.
    line.overrides.sort(key=lambda override: not override.startswith(("seed=", "pretext.seed=")))
    return line


def _override(key: str, value: str) -> str:
    key = key.replace("-", "_")
    if NESTED.fullmatch(key):
        key = f"{'init' if key.endswith('.of') else 'model'}@{key}"
    if key in LISTS:
        return f"{key}=[{value.strip('[]')}]"
    if NEEDS_QUOTES.search(value) or value == "":
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        value = f"'{quoted}'"
    return f"{key}={value}"


def check_names(program: str, overrides: list[str]) -> None:
    """Every option of every group, before any config is composed."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        allowed = groups()[key.partition("@")[0]] if "@" in key else groups_of(program).get(key)
        for option in (o.strip("' ") for o in (value.strip("[]").split(",") if allowed else ())):
            if key in OWN and "." in option:
                register(key, option)
            elif allowed and option not in allowed:
                raise unknown(key.partition("@")[2] or key, option, allowed)


def expand(program: str, line: CommandLine) -> list[Job]:
    """Every job that the command line asks for, with all names and types checked."""
    check_names(program, line.overrides)
    with composer():
        params = _grid_of_experiment(program, line)
        given = {key: value for key, _, value in (o.partition("=") for o in line.overrides)}
        multirun = line.multirun or bool(params)
        for key, value in given.items():
            if not multirun and len(_split(value)) > 1:
                raise UserError(f"--{key} {value} is a list; add -m to run a grid of all of them")
        sweeps = [
            [f"{key}={value}" for value in (_split(value) if multirun else [value])]
            for key, value in (params | given).items()
            if not key.startswith("hydra.")
        ]
        return [_job(program, list(combination)) for combination in itertools.product(*sweeps)]


def _grid_of_experiment(program: str, line: CommandLine) -> dict[str, str]:
    """The grid in the chosen experiment's file, which the command line may override."""
    chosen = [o for o in line.overrides if o.startswith("experiment=")]
    if not chosen or program != "active":
        return {}
    from hydra import compose

    params = compose(program, chosen, return_hydra_config=True).hydra.sweeper.params
    return {str(key): str(value) for key, value in (params or {}).items()}


def _split(value: str) -> list[str]:
    """A comma list as its elements; brackets, braces and quotes keep theirs together."""
    return re.findall(r"(?:\[[^\]]*\]|\{[^}]*\}|'(?:\\'|[^'])*'|[^,])+", value) or [value]


def _job(program: str, overrides: list[str]) -> Job:
    chosen = tuple(o for o in overrides if _is_choice(program, o))
    known = flatten(plain(_composed(program, chosen)))
    allowed = {prefix for key in known for prefix in _prefixes(key)}
    for override in overrides:
        key = override.partition("=")[0]
        if (
            not _is_choice(program, override)
            and not key.startswith(("+", "~"))
            and key not in allowed
        ):
            raise _unknown_setting(program, key, [k for k in known if "_target_" not in k])
    config = compose_config(program, overrides)
    return make_job(program, config, overrides)


def _unknown_setting(program: str, key: str, known: list[str]) -> UserError:
    """Names the settings of the same group, or of the top level, and the nearest of all."""
    group = key.partition(".")[0] + "."
    allowed = [k for k in known if k.startswith(group) and not k.startswith("data.source")]
    allowed = allowed or [k for k in known if "." not in k] + list(groups_of(program))
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    return unknown("setting", key, allowed if not near else {*allowed, *near})


def make_job(program: str, config: DictConfig, overrides: list[str]) -> Job:
    """The job of a composed config, with its name."""
    if program != "active":
        return Job(typed(config), plain(config), RunName())
    chosen = [o for o in overrides if _is_choice(program, o)]
    experiment = [o.partition("=")[2] for o in chosen if o.startswith("experiment=")]
    # What an experiment's file or the trainer's option sets is named like any other change.
    pure = tuple(o for o in chosen if not o.startswith(("experiment=", "trainer=")))
    choices = {**_choices(program, tuple(chosen)), "experiment": "".join(experiment)}
    for group in ("init", "query", "learner"):
        nested = [o.partition("=")[2] for o in chosen if f"@{group}." in o]
        choices[group] = "-".join([choices[group], *nested])
    name = name_run(choices, plain(config), plain(_composed(program, pure)))
    return Job(typed(config), plain(config), name)


def _is_choice(program: str, override: str) -> bool:
    key = override.partition("=")[0]
    return key in groups_of(program) or "@" in key or override.startswith("hydra")


@cache
def _composed(program: str, chosen: tuple[str, ...]) -> DictConfig:
    return compose_config(program, list(chosen))


@cache
def _choices(program: str, chosen: tuple[str, ...]) -> dict[str, str]:
    from hydra import compose

    runtime = compose(program, list(chosen), return_hydra_config=True).hydra.runtime.choices
    names = groups_of(program).keys() - {"experiment"}
    return {str(k): str(v) for k, v in runtime.items() if k in names}


def _prefixes(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
