"""What is asked for: a model with its settings, on a data set, and the artifact that this means."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from conf.compose import build, with_floats
from datamodules.errors import UserError
from datamodules.images import Images
from datamodules.own import code_of
from pretext.artifacts import Artifact, fingerprint
from pretext.devices import Devices
from pretext.loggers import Sink

if TYPE_CHECKING:  # a run that needs no pretext model does not pay for its libraries
    from pretext.module import PretextModule


@dataclass(frozen=True)
class Context:
    """What all stages of a request share.

    Args:
        name: of the data set; artifacts lie in `artifacts_dir / name`.
        inputs: what a module is told of the data, see `PretextModule`.
        superclasses: of each class, what clusters are measured by; None: the classes themselves.
        checks: how often the monitors look at a training, evenly spaced.
        make_loggers: the loggers of a stage, from the epoch that its training begins with.
    """

    name: str
    images: Images
    inputs: dict[str, Any]
    seed: int
    artifacts_dir: Path
    devices: Devices
    if_missing: str = "train"
    superclasses: list[int] | None = None
    checks: int = 10
    eval_batch_size: int = 500
    workers: int | None = None
    make_loggers: Callable[[Stage, int], Iterable[Sink]] = field(default=lambda stage, first: [])


@dataclass(frozen=True)
class Stage:
    """One model of a request, with its settings, and the stage whose artifact it builds on."""

    settings: dict[str, Any]  # `_target_` and the constructor's arguments
    context: Context
    parent: Stage | None

    @property
    def name(self) -> str:
        return model_name(self.settings)

    @property
    def type(self) -> type[PretextModule]:
        return model_type(self.settings)

    @property
    def fingerprint(self) -> str:
        """Of all that can change a number, and of nothing else."""
        context, code = self.context, code_of(self.type)
        return fingerprint(
            {
                **({"code": code} if code else {}),
                "settings": self.type.identity(self.settings),
                "inputs": context.inputs,
                "data": context.images.fingerprint,
                "seed": context.seed,
                "precision": context.devices.precision,
                "recipe": self.type.recipe,
                "parent": self.parent.fingerprint if self.parent else None,
            }
        )

    @property
    def may_change(self) -> bool:
        """Whether what it leaves may be another under the same settings: by own code, or a file."""
        own = code_of(self.type) or self.type.identity(self.settings) != self.settings
        return bool(own) or (self.parent is not None and self.parent.may_change)

    @property
    def artifact(self) -> Artifact:
        folder = self.context.artifacts_dir / self.context.name
        return Artifact(folder / f"{self.name}-{self.fingerprint}")

    @property
    def forbidden(self) -> UserError:
        """What to say where the artifact is not there and must not be made."""
        return UserError(
            f"{self.artifact.path} is not there, and --pretext.if_missing error forbids training "
            f"it; python pretext/train.py --model {self.name} with the same settings makes it"
        )

    def module(self) -> PretextModule:
        """A new module; a bad setting is a UserError."""
        return build(self.settings, inputs=self.context.inputs, seed=self.context.seed)

    @property
    def epochs(self) -> int:
        """0 for a model without a training of its own."""
        return self.settings.get("max_epochs", 0)


def model_name(node: dict[str, Any]) -> str:
    """What a model is called: its file's name."""
    return node["_target_"].split(".")[-2]


def model_type(node: dict[str, Any]) -> type[PretextModule]:
    """The class that a model's config names."""
    module, _, name = node["_target_"].rpartition(".")
    return getattr(import_module(module), name)


_GOOD: set[str] = set()  # models that were checked: a grid's runs ask for the same few


def check_model(node: dict[str, Any], inputs: dict[str, Any]) -> None:
    """Builds a model and its parents without weights: a bad setting is a UserError."""
    asked = json.dumps([node, inputs], sort_keys=True, default=str)
    if asked in _GOOD:
        return
    with torch.device("meta"):
        build({k: v for k, v in node.items() if k != "parent"}, inputs=inputs, seed=0)
    if node.get("parent"):
        check_model(node["parent"], inputs)
        kind, parent = model_type(node), model_type(node["parent"])
        if not kind.accepts(parent):
            raise UserError(
                f"model {model_name(node)} is built on {kind.builds_on}, "
                f"not on {model_name(node['parent'])}"
            )
    _GOOD.add(asked)


def stage_of(node: dict[str, Any], context: Context) -> Stage:
    """The stage that a model's config asks for, its parents with it."""
    settings = with_floats({key: value for key, value in node.items() if key != "parent"})
    parent = stage_of(node["parent"], context) if node.get("parent") else None
    return Stage(settings, context, parent)
