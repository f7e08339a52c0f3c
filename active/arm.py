"""Inits, queries and learners of a config, each with the pretext model that it reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from active.learner import Learner
from active.query import Query
from conf.compose import build
from datamodules.augment import Normalizer
from datamodules.distances import exact_device
from datamodules.errors import UserError
from datamodules.images import Images
from datamodules.initial import Candidates, Init
from datamodules.pools import Pools
from pretext.artifacts import Artifact
from pretext.request import model_type


@dataclass(frozen=True)
class Arm:
    """An init with its config, and that of the model whose artifact it reads, None for none."""

    init: Init
    model: dict[str, Any] | None
    node: dict[str, Any]

    def check(self) -> None:
        """Raises UserError where the model does not leave what the init reads."""
        if self.model is None or self.init.reads in ("", "pixels"):
            return
        check_reads("init", self.init.reads, self.model)

    def candidates(
        self,
        images: Images,
        pools: Pools,
        inputs: dict[str, Any],
        artifact: Artifact | None,
        device: str,
    ) -> Candidates:
        """What the init may look at: labels only if it says that it needs them."""
        normalize = Normalizer(inputs["mean"], inputs["std"])
        made_of = artifact.path if artifact else None
        # Paths, also those in the settings, are relative to the current folder.
        asked = [Path.cwd(), self.node, self.init.fingerprint, device]
        name = [*asked, inputs, images.fingerprint, made_of]
        return Candidates(
            indices=pools.unlabeled,
            num_classes=len(images.classes or ()),
            labels=images.train.labels if self.init.needs_labels else None,
            scores=artifact.column("score") if artifact else None,
            clusters=artifact.column("cluster") if artifact else None,
            features=artifact.features() if artifact else None,
            ids=images.train.ids,
            device=exact_device(device),
            pixels=lambda rows: normalize(images.train.take(rows)).numpy(),
            name=json.dumps(name, default=str),
        )


def build_arm(node: dict[str, Any]) -> Arm:
    """The arm of an init's config, with the init that it is built on, if any."""
    own = {key: value for key, value in node.items() if key not in ("model", "of")}
    if "of" not in node:
        return Arm(build(own), node.get("model"), node)
    other = build_arm(node["of"])
    return Arm(build(own, of=other.init), other.model, node)


def build_query(node: dict[str, Any]) -> tuple[Query, dict[str, Any] | None]:
    """A query, and the config of the model whose artifact it reads; None where it reads none."""
    own = {key: value for key, value in node.items() if key != "model"}
    return build(own), node.get("model")


def build_learner(node: dict[str, Any]) -> tuple[Learner, dict[str, Any] | None]:
    """A learner, and the config of the model that it stands on; None for one from scratch."""
    own = {key: value for key, value in node.items() if key not in ("model", "pretext_seed")}
    return build(own), node.get("model")


def check_reads(what: str, reads: str, model: dict[str, Any]) -> None:
    """Raises UserError where `model` does not leave what an init or a query reads."""
    kind = model_type(model)
    leaves = (*kind.leaves, *(["weights"] if kind.has_backbone else []))
    if reads not in leaves:
        raise UserError(
            f"the {what} needs {reads}, and {kind.__name__} leaves "
            f"{' and '.join(kind.leaves)} only; choose another --{what}.model"
        )
