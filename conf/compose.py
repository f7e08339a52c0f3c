"""Composing configurations: groups and their options, one job's config, objects from nodes."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf import resolvers, schema
from conf.programs import PROGRAMS
from datamodules.errors import UserError

ROOT = Path(__file__).parent
WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text",
    type(None): "null",
}  # fmt: skip
KINDS = {"Integer": WORDS[int], "Float": WORDS[float], "Boolean": WORDS[bool]}  # OmegaConf's
NO_LIST = "a list is needed, as in '[a, b]'"
schema.register()
resolvers.register()


@cache
def groups() -> dict[str, list[str]]:
    """Every group with its options; files that begin with an underscore are not options."""
    return {
        folder.name: sorted(f.stem for f in folder.glob("*.yaml") if not f.stem.startswith("_"))
        for folder in sorted(ROOT.iterdir())
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }


def groups_of(program: str) -> dict[str, list[str]]:
    """The groups that a program's command line chooses options of."""
    return {name: groups()[name] for name in PROGRAMS[program].groups}


@contextmanager
def composer() -> Iterator[None]:
    """Makes `compose_config` usable outside a Hydra job, and inside one as well."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_module("conf", version_base="1.3"):
        yield


def compose_config(program: str, overrides: list[str], with_hydra: bool = False) -> DictConfig:
    """The composed config of one job; a bad value is a UserError that names its setting."""
    try:
        return compose(program, overrides, return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_plain(error)) from error


def set_values(config: DictConfig, overrides: list[str]) -> DictConfig:
    """A copy of a composed config with settings changed, in a tenth of the time of composing it
    anew; `overrides` choose no options."""
    config = copy.deepcopy(config)
    try:
        for override in OverridesParser.create().parse_overrides(overrides):
            OmegaConf.update(config, override.key_or_group, override.value())
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_plain(error)) from error
    return config


def _plain(error: BaseException) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    key = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key")), "")
    line = re.sub(r"^\w+ raised while resolving interpolation: ", "", lines[0])
    line = re.sub(
        r"^Value (.*) of type '\w+' could not be converted to (\w+)$",
        lambda found: f"must be {KINDS.get(found[2], found[2])}, not {found[1]}",
        line,
    )
    line = re.sub(r"^Invalid value assigned: \w+ is not a ListConfig.*", NO_LIST, line)
    return f"{key}{' ' if line.startswith('must') else ': '}{line}" if key else line


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys -> values of a nested plain container; lists are values."""
    if not isinstance(node, dict) or not node:
        return {prefix: node} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def plain(config: DictConfig) -> dict[str, Any]:
    """The config as plain Python with interpolations resolved."""
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(_plain(error)) from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def typed(config: DictConfig) -> Any:
    """The config as an object of its schema's dataclass; resolves it in place."""
    try:
        OmegaConf.resolve(config)  # once for all: parsing interpolations is what takes the time
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(_plain(error)) from error


def build(node: dict[str, Any], **extra: Any) -> Any:
    """The object that a node's `_target_` names; the only place that instantiates.

    A setting of another type than its argument, and a constructor's ValueError, its way to refuse
    an argument, become the user's sentence.
    """
    from hydra.utils import instantiate

    name = node["_target_"].rsplit(".", 1)[-1]
    _check_types(name, node)
    factory = instantiate(node, _partial_=True)
    try:
        return factory(**extra)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error


def with_floats(node: dict[str, Any]) -> dict[str, Any]:
    """A node whose numbers have the types of their arguments: 0 for a float is 0.0, as in YAML."""
    hints = _hints(node)

    def number(key: str, value: Any) -> Any:
        kinds = set(get_args(hints.get(key)) or (hints.get(key),))
        whole = isinstance(value, int) and not isinstance(value, bool)
        return float(value) if whole and float in kinds and int not in kinds else value

    return {key: number(key, value) for key, value in node.items()}


def _hints(node: dict[str, Any]) -> dict[str, Any]:
    from hydra.utils import get_object

    target = get_object(node["_target_"])
    return get_type_hints(
        inspect.getattr_static(target, "__init__") if inspect.isclass(target) else target
    )


def _check_types(name: str, node: dict[str, Any]) -> None:
    """Hydra itself does not check what sits under a `_target_`."""
    hints = _hints(node)
    for key, value in node.items():
        allowed = set(get_args(hints.get(key)) or (hints.get(key),))
        if allowed <= WORDS.keys() and not any(_is_a(value, kind) for kind in allowed):
            words = " or ".join(sorted(WORDS[kind] for kind in allowed))
            raise UserError(f"{name}: {key} must be {words}, not {value!r}")


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
