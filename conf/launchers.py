"""The launchers of grids: what each needs and takes, and whether it is set to what it can do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from conf.compose import compose_config, composer, flatten, plain
from conf.quoting import FREE
from datamodules.errors import UserError, unknown

RAY, SUBMITIT = "hydra_plugins.hydra_ray_launcher", "hydra_plugins.hydra_submitit_launcher"


@dataclass(frozen=True)
class Launcher:
    """The package that it needs, which of our words it takes, and how many tasks it is given.

    Hydra composes a config for each task before the first starts, so there are no more than can
    run at a time, and each does one job after another; on Slurm, where its time is limited, one,
    but where there are more than an array of its takes.
    """

    package: str
    words: tuple[str, ...]
    tasks: int  # at most
    whole: tuple[str, ...] = ("processes", "attempts")  # words that are whole numbers
    one: bool = False  # whether a task does one job, if there is a task for each


LAUNCHERS = {
    "basic": Launcher("hydra", (), 1),
    "local": Launcher(RAY, ("processes", "gpus", "attempts"), os.cpu_count() or 1),
    "cluster": Launcher(RAY, ("gpus", "attempts"), 1024),
    "slurm": Launcher(
        SUBMITIT, ("processes", "gpus", "attempts"), 1000, ("processes", "gpus", "attempts"), True
    ),  # Slurm's MaxArraySize is 1001 where nobody set it
}
LAUNCHER = "hydra/launcher"
LEAST = {"processes": 1, "gpus": 0, "attempts": 1}
OURS = "active", "conf", "datamodules", "pretext"
OWN = "hydra.launcher."  # settings of the launcher itself


def given_of(words: Iterable[str]) -> dict[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def check_launcher(words: list[str]) -> None:
    """Raises UserError where the launcher is unknown, not installed or wrongly set."""
    given = given_of(words)
    name = given.get(LAUNCHER, "basic")
    if name not in LAUNCHERS:
        raise unknown("launcher", name, LAUNCHERS)
    for key in LEAST.keys() & given.keys() - set(LAUNCHERS[name].words):
        takers = [f"--launcher {other}" for other, it in LAUNCHERS.items() if key in it.words]
        raise UserError(f"--{key} is for {' or '.join(takers)}")
    if not _installed(LAUNCHERS[name].package):
        raise UserError(
            f"--launcher {name} needs a package that is not installed; "
            "pip install --editable '.[cluster]' in the project's folder brings it"
        )
    try:
        with composer():
            _check_keys(name, given)
            _check_values(name, words)
    except UserError as error:
        raise UserError(str(error).replace(OWN, "--launcher.")) from error
    if name in ("cluster", "slurm") and not _names_gpus(given):
        raise UserError(f"--launcher {name} needs --gpus: those of each run, 0 for none")
    if name != "basic":
        _check_folder(name)


def _check_folder(name: str) -> None:
    """Refuses a current folder that hides our code from workers, on whose path it comes first."""
    root, here = Path(__file__).resolve().parent.parent, Path.cwd().resolve()
    hiding = [
        here / file for package in OURS for file in (f"{package}/__init__.py", f"{package}.py")
    ]
    found = [file for file in hiding if file.is_file()] if here != root else []
    if found:
        raise UserError(
            f"the processes of --launcher {name} would import {found[0]} in place of the code in "
            f"{root}; start it in another folder"
        )


def _names_gpus(given: dict[str, str]) -> bool:
    free = [value for key, value in given.items() if key.endswith(FREE)]
    return any("gpu" in word or "gres" in word for word in [*given, *free])


def _check_keys(name: str, given: dict[str, str]) -> None:
    """Refuses settings that the launcher does not have."""
    own = [key.lstrip("+").removeprefix(OWN) for key in given if OWN in key]
    known = flatten(OmegaConf.to_container(_grid([f"{LAUNCHER}={name}"]).hydra.launcher))
    shown = [f"launcher.{key}" for key in known if key != "_target_"]
    for key in own:
        if not shown:
            raise UserError(f"--launcher.{key} needs a --launcher that has such a setting")
        free = key.startswith(f"{FREE}.") and any(k.partition(".")[0] == FREE for k in known)
        if not free and not any(f"{k}.".startswith(f"{key}.") for k in known):
            raise unknown("setting", f"launcher.{key}", shown)


def _check_values(name: str, words: list[str]) -> None:
    """Refuses what is no number, too small, or of another type than the launcher's."""
    config, launcher = _grid(words), LAUNCHERS[name]
    for key, least in LEAST.items():
        if not _is_number(config[key], least, key in launcher.whole):
            kind = "a whole number" if key in launcher.whole else "a number"
            raise UserError(
                f"with --launcher {name}, --{key} must be {kind} of at least {least}, "
                f"not {config[key]!r}"
            )
    plain(config.hydra.launcher)


def _grid(words: list[str]) -> DictConfig:
    return compose_config("grid", [*words, "folder=x"], with_hydra=True)


def _is_number(value: Any, least: int, whole: bool) -> bool:
    if value is None:
        return True
    allowed = int if whole else int | float
    return isinstance(value, allowed) and not isinstance(value, bool) and value >= least


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package that it is part of
        return False
