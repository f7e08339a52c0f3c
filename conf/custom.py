"""A class of the user's own as an option: `--query my_module.MyQuery`."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from importlib import import_module
from itertools import takewhile
from pathlib import Path

from hydra.core.config_store import ConfigStore

from datamodules.errors import UserError


def code_of(target: object) -> str:
    """A digest of the code of an object's class, and of the user's own that it is built on.

    Comments and layout are no part of it; "" for a class of this project.
    """
    kinds = type(target).__mro__
    own = takewhile(lambda kind: kind.__module__.partition(".")[0] != "active", kinds)
    trees = [ast.dump(ast.parse(textwrap.dedent(inspect.getsource(kind)))) for kind in own]
    return hashlib.sha256("".join(trees).encode()).hexdigest()[:16] if trees else ""


def register(group: str, name: str) -> None:
    """Makes the class `module.Name` an option of `group`; its settings are its arguments' defaults.

    The module is looked for where Python looks and in the current folder.

    Raises:
        UserError: where there is no such class, or an argument has no default.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"--{group} {name} must be an option or a class, as in my_module.MyQuery")
    file, _, kind = name.rpartition(".")
    try:
        target = getattr(import_module(file), kind)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UserError(f"--{group} {name} cannot be imported: {error}") from error
    if not inspect.isclass(target):
        raise UserError(f"--{group} {name} is not a class")
    arguments = inspect.signature(target).parameters.values()
    missing = [a.name for a in arguments if a.default is a.empty and a.kind not in (2, 4)]
    if missing:
        raise UserError(f"--{group} {name}: its arguments need defaults: {', '.join(missing)}")
    settings = {a.name: a.default for a in arguments if a.default is not a.empty}
    ConfigStore.instance().store(group=group, name=name, node={"_target_": name, **settings})
