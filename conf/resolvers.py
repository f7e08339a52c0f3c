"""What YAML files can compute: `${for_data:{mnist:100,else:500}}`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


def register() -> None:
    """Makes the resolvers known to OmegaConf."""
    for name, resolver in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def _for_data(values: dict[str, Any], *, _root_: Any) -> Any:
    """A setting's value for the chosen data set."""
    return values.get(_root_.data.name, values["else"])


def _epochs(recipe: int, *, _root_: Any) -> int:
    """A pretext model's epochs: the share `pretext.epochs` of its recipe's, at least one."""
    share = _root_.pretext.epochs
    if share <= 0:
        raise ValueError(f"pretext.epochs must be above 0, not {share}")
    return max(1, round(recipe * share))


def _stem_for(size: int) -> int:
    """Side of the first convolution's kernel for images of so many pixels."""
    return 7 if size > 64 else 3


def _gpus_of_run(given: float | None) -> float:
    """One GPU for each run on a machine that has any; torch, which knows better, is not asked."""
    return given if given is not None else float(any(Path("/dev").glob("nvidia[0-9]*")))


def _at_most(given: int | None, most: int) -> int:
    return given or most


RESOLVERS: dict[str, Callable[..., Any]] = {
    "for_data": _for_data,
    "epochs": _epochs,
    "stem_for": _stem_for,
    "gpus_of_run": _gpus_of_run,
    "at_most": _at_most,
}
