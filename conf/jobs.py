"""One run's overrides -> its config and its name."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from conf.compose import compose_config, flatten, groups_of, plain, set_values, typed
from conf.identity import RunName, name_run
from conf.programs import PROGRAMS
from datamodules.errors import UserError, unknown

APART = ("init", "query")
LACKS = {"model": "reads no model", "parent": "has no parent model", "of": "follows no other init"}


@dataclass(frozen=True)
class Job:
    """One run of a command: its config, and what it is called."""

    config: Any  # the typed config, ActiveConfig for a run
    resolved: dict[str, Any]  # the same as plain Python
    name: RunName
    overrides: tuple[str, ...] = ()  # what makes it, on any machine

    @property
    def folder(self) -> Path | None:
        """Of a run; reports and pretext models have none."""
        return Path(self.config.runs_dir) / self.name.path if self.name.seed else None

    def __str__(self) -> str:
        return self.name.path if self.name.seed else " ".join(self.overrides)


def compose_job(program: str, overrides: list[str]) -> Job:
    """The job of a run's overrides, `experiment` among them; a bad name or value is a UserError."""
    chosen = tuple(o for o in overrides if _is_choice(program, o))
    allowed = _keys(program, chosen)
    values = [o for o in overrides if o not in chosen and not o.startswith("experiment=")]
    for override in values:
        key = override.partition("=")[0]
        if key not in allowed:
            raise _unknown_setting(program, key, chosen)
    return make_job(program, set_values(_composed(program, chosen)[0], values), overrides)


def distinct(jobs: list[Job]) -> list[Job]:
    """Each run once, in order; a setting that is given as what it is anyway makes the same run.

    Raises:
        UserError: two runs of different length would share a folder.
    """
    found: dict[Path | None, Job] = {}
    for job in jobs:
        first = found.setdefault(job.folder, job)
        if first.config.cycles != job.config.cycles:  # all else that differs is in the name
            raise UserError(
                f"{job.folder} is asked for twice, with cycles {first.config.cycles} and "
                f"{job.config.cycles}; these would be one folder"
            )
    return list(found.values())


def _unknown_setting(program: str, key: str, chosen: tuple[str, ...]) -> UserError:
    """Names the settings of the same group, or of the top level, and the nearest of all; of an init
    or a query its own alone, because another option may have it."""
    known = [k for k in flatten(_plain(program, chosen)) if "_target_" not in k]
    group, _, rest = key.partition(".")
    allowed = [k for k in known if k.startswith(group + ".") and not k.startswith("data.source")]
    if group in APART and rest:
        option = _composed(program, chosen)[1][group]
        if not allowed:
            return UserError(f"--{group} {option} has no settings, so --{key} sets nothing")
        return unknown(f"setting of --{group} {option}", key, allowed)
    allowed = allowed or [k for k in known if "." not in k] + list(groups_of(program))
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    return unknown("setting", key, allowed if not near else {*allowed, *near})


def make_job(program: str, config: DictConfig, overrides: list[str]) -> Job:
    """The job of a composed config, with its name."""
    with open_dict(config):
        config.pop("hydra", None)
    settings = typed(config)
    resolved = plain(config)
    _check_finite(resolved)
    if not PROGRAMS[program].runs:
        return Job(settings, resolved, RunName(), tuple(overrides))
    chosen = tuple(o for o in overrides if _is_choice(program, o))
    experiment = [o.partition("=")[2] for o in overrides if o.startswith("experiment=")]
    # What the trainer's option sets is named like any other change.
    pure = tuple(o for o in chosen if not o.startswith("trainer="))
    choices = {**_composed(program, chosen)[1], "experiment": "".join(experiment)}
    for group in ("init", "query", "learner"):
        choices[group] = "-".join([choices[group], *_nested(program, chosen, group)])
    scale = [o for o in overrides if o.startswith("pretext.epochs=")]
    baseline = plain(set_values(_composed(program, pure)[0], scale)) if scale else None
    name = name_run(choices, resolved, baseline or _plain(program, pure))
    return Job(settings, resolved, name, tuple(overrides))


def _nested(program: str, chosen: tuple[str, ...], group: str) -> list[str]:
    """The options that were chosen inside a group's option, outer ones first, but for those that it
    has anyway; `parent_vae`, because a model may be had directly or through another."""
    inside = sorted((o for o in chosen if f"@{group}." in o), key=_path)
    known, names = tuple(o for o in chosen if o.startswith(f"{group}=")), []
    for override in inside:
        key, _, value = override.partition("=")
        if _with_options(program, known)[1].get(key) != value:
            names.append(f"parent_{value}" if key.endswith(".parent") else value)
        known = (*known, override)
    return names


def _check_finite(resolved: dict[str, Any]) -> None:
    for key, value in flatten(resolved).items():
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise UserError(f"{key} must be a finite number, not {value}")


def _is_choice(program: str, override: str) -> bool:
    key = override.partition("=")[0]
    return key != "experiment" and (key in groups_of(program) or "@" in key)


@cache
def _composed(program: str, chosen: tuple[str, ...]) -> tuple[DictConfig, dict[str, str]]:
    """The config of so many options, and the option of each group.

    An init and a query set nothing but their own node, so that a grid of m inits and n queries
    composes m + n configs, not m n; Hydra takes a quarter of a second for each.
    """
    rest = tuple(o for o in chosen if _node(o) not in APART)
    config, choices = _compose(program, rest)
    config, choices = copy.copy(config), dict(choices)
    for node in APART:
        own = tuple(o for o in chosen if _node(o) == node)
        if own:
            other, options = _compose(program, (*rest, *own))
            config[node], choices[node] = other[node], options[node]
    return config, choices


def _compose(program: str, chosen: tuple[str, ...]) -> tuple[DictConfig, dict[str, str]]:
    config, options = _with_options(program, chosen)
    names = groups_of(program).keys() - {"experiment"}
    return config, {name: option for name, option in options.items() if name in names}


@cache
def _with_options(program: str, chosen: tuple[str, ...]) -> tuple[DictConfig, dict[str, str]]:
    """The config, and the option of each group, also of those inside others: `model@init.model`."""
    try:
        config = compose_config(program, list(chosen), with_hydra=True)
    except UserError as error:
        raise _misplaced(program, chosen) or error from error.__cause__
    with open_dict(config):
        options = config.pop("hydra").runtime.choices
    return config, {str(name): str(option) for name, option in options.items()}


def has_setting(program: str, overrides: Iterable[str], key: str) -> bool:
    """Whether a run of so many options can have a setting, or an option inside another."""
    path = key.partition("@")[2] or key
    others = (o for o in overrides if _is_choice(program, o) and not _path(o).startswith(path))
    return path in _keys(program, tuple(others))


def _misplaced(program: str, chosen: tuple[str, ...]) -> UserError | None:
    """An option inside one that has no place for it, such as a model of the init `random`."""
    for choice in sorted((o for o in chosen if "@" in o), key=len):
        key, _, option = choice.partition("=")
        if not has_setting(program, chosen, key):
            parent, _, last = _path(choice).rpartition(".")
            named = _composed(program, tuple(o for o in chosen if "@" not in o))[1]
            named = named | {_path(o): o.partition("=")[2] for o in chosen}
            holder = f"--{parent} {named.get(parent, '')}".rstrip()
            return UserError(f"{holder} {LACKS[last]}, so --{parent}.{last} {option} sets nothing")
    return None


def _path(choice: str) -> str:
    """Where a choice is in the config: `init` for `init=scan`, else `init.model`."""
    key = choice.partition("=")[0]
    return key.partition("@")[2] or key


def _node(choice: str) -> str:
    """The node that a choice sets: `init` for `init=scan` and for `model@init.model=vae`."""
    return _path(choice).partition(".")[0]


@cache
def _plain(program: str, chosen: tuple[str, ...]) -> dict[str, Any]:
    return plain(_composed(program, chosen)[0])


@cache
def _keys(program: str, chosen: tuple[str, ...]) -> set[str]:
    """What can be set, groups of settings as well."""
    return {prefix for key in flatten(_plain(program, chosen)) for prefix in _prefixes(key)}


def _prefixes(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
