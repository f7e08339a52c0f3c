"""Code of the user's own, which is part of what it computes."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

ROOMS = ("active", "conf", "datamodules", "pretext")


def code_of(kind: type) -> str:
    """A digest of the files that a class of the user's own is written in; "" for one of this
    project.

    Those of its bases and of what they import, as far as these are no installed packages. Comments
    and layout are no part of it.
    """
    trees: dict[str, str] = {}
    waiting = [base.__module__ for base in kind.__mro__]
    while waiting:
        name = waiting.pop()
        file = _own_file(name)
        if file is not None and name not in trees:
            tree = ast.parse(file.read_bytes())
            trees[name] = repr(_shape(tree))
            waiting += _imports(tree, name, file.name == "__init__.py")
    text = "".join(trees[name] for name in sorted(trees))
    return hashlib.sha256(text.encode()).hexdigest()[:16] if trees else ""


def _shape(node: Any) -> Any:
    """A syntax tree as lists, without empty fields, of which versions of Python have others."""
    if isinstance(node, list):
        return [_shape(one) for one in node]
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
    return [type(node).__name__, *((name, _shape(value)) for name, value in fields)]


def _own_file(module: str) -> Path | None:
    root = module.partition(".")[0]
    if root in (*ROOMS, "__main__", "") or root in sys.stdlib_module_names or _installed(root):
        return None
    spec = _spec(module)
    file = Path(spec.origin) if spec is not None and spec.origin else None
    return file if file is not None and file.suffix == ".py" else None


def _installed(root: str) -> bool:
    spec = _spec(root)
    places = [*(spec.submodule_search_locations or ()), spec.origin or ""] if spec else []
    return any(name in place for place in places for name in ("site-packages", "dist-packages"))


def _spec(module: str) -> ModuleSpec | None:
    """Where a module lies, which is not imported for it; None for a name that is no module."""
    if module in sys.modules:
        return sys.modules[module].__spec__
    parent, _, _ = module.rpartition(".")
    if not parent:
        return PathFinder.find_spec(module)
    above = _spec(parent)
    places = above.submodule_search_locations if above is not None else None
    return PathFinder.find_spec(module, places) if places is not None else None


def _imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            base = resolve_name(name, package) if node.level else name
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
