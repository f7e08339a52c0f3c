"""A class of the user's own as an option: `--query my_module.MyQuery`."""

from __future__ import annotations

import inspect
from importlib import import_module

from hydra.core.config_store import ConfigStore

from datamodules.errors import UserError


def register(group: str, name: str) -> None:
    """Makes the class `module.Name` an option of `group`; its settings are its arguments' defaults.

    Raises:
        UserError: where there is no such class, or an argument has no default.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"--{group} {name} must be an option or a class, as in my_module.MyQuery")
    file, _, kind = name.rpartition(".")
    try:
        target = getattr(import_module(file), kind)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UserError(f"--{group} {name} cannot be imported: {error}") from error
    if not inspect.isclass(target):
        raise UserError(f"--{group} {name} is not a class")
    try:
        arguments = inspect.signature(target).parameters.values()
    except (TypeError, ValueError) as error:  # of a class that is not written in Python
        raise UserError(f"--{group} {name}: its arguments cannot be read") from error
    missing = [a.name for a in arguments if a.default is a.empty and a.kind not in (2, 4)]
    if missing:
        raise UserError(f"--{group} {name}: its arguments need defaults: {', '.join(missing)}")
    settings = {a.name: a.default for a in arguments if a.default is not a.empty}
    ConfigStore.instance().store(group=group, name=name, node={"_target_": name, **settings})
