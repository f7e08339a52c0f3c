"""The pretext models that a run needs: their stages, and the artifacts that these leave."""

from __future__ import annotations

from typing import Any, NamedTuple

from active.columns import ARTIFACTS
from active.prepare import Setup
from pretext.artifacts import Artifact
from pretext.request import Stage, stage_of
from pretext.setup import context_of, pretext_devices


class Read(NamedTuple):
    """The artifacts that a run reads; None: none."""

    init: Artifact | None = None
    query: Artifact | None = None
    learner: Artifact | None = None

    @property
    def names(self) -> dict[str, str | None]:
        """By the columns of a row."""
        found = zip(ARTIFACTS, self, strict=True)
        return {column: read.name if read is not None else None for column, read in found}


def read_all(stages: list[Stage | None]) -> Read:
    """The artifacts of a run's stages, trained first where they are missing."""
    return Read(*map(artifact_of, stages))


def stages_of(ready: Setup) -> list[Stage | None]:
    """The pretext stages that the init, the query and the learner read; None: it reads none."""
    config = ready.config

    def stage(model: dict[str, Any] | None, seed: int) -> Stage | None:
        if model is None:
            return None
        devices = pretext_devices(config.trainer, config.data)
        return stage_of(model, context_of(config, ready.images, devices, seed))

    return [
        stage(ready.arm.model, ready.pretext_seed),
        stage(ready.query_model if config.cycles else None, ready.pretext_seed),
        stage(ready.learner_model, ready.learner_seed),
    ]


def artifact_of(stage: Stage | None) -> Artifact | None:
    """A stage's artifact, trained first where it is missing."""
    if stage is None:
        return None
    from pretext.announce import announce  # their libraries only where a model is needed
    from pretext.stages import ensure, survey

    devices = stage.context.devices
    devices.start()
    if devices.is_zero and stage.context.if_missing == "train":
        announce(*survey(stage))
    return ensure(stage)
