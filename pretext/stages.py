"""Stages: which are there, and making those that are not. The only door to pretext training."""

from __future__ import annotations

import logging
from contextlib import ExitStack

from datamodules.errors import UserError
from pretext.artifacts import Artifact, DamagedArtifact, Workshop
from pretext.making import make
from pretext.request import Stage

log = logging.getLogger("initial_pools")


def survey(stage: Stage) -> tuple[Artifact | None, list[Stage]]:
    """The finished artifact that can be built on, and the stages to be trained, in order."""
    if stage.artifact.exists:
        return stage.artifact, []
    if stage.parent is None:
        return None, [stage]
    found, missing = survey(stage.parent)
    return found, [*missing, stage]


def ensure(stage: Stage) -> Artifact:
    """The finished artifact of `stage`: found and verified, else trained, its parents first.

    Processes that ask at the same time train it once. A damaged artifact is named and made again,
    or refused with `pretext.if_missing error`.

    Raises:
        UserError: it is not there and must not be trained, or its training diverged.
    """
    devices, workshop = stage.context.devices, Workshop(stage.artifact)
    if devices.decide(lambda: _is_whole(stage)):
        return stage.artifact
    parent = ensure(stage.parent) if stage.parent else None
    with ExitStack() as stack:
        devices.decide(lambda: _enter(stack, workshop))
        if not devices.decide(lambda: _is_whole(stage)):
            make(stage, parent, workshop)
    return stage.artifact


def _enter(stack: ExitStack, workshop: Workshop) -> None:
    if stack.enter_context(workshop.lock()):
        log.info("waited for another process that was at work on %s", workshop.artifact.path)


def _is_whole(stage: Stage) -> bool:
    artifact = stage.artifact
    if artifact.exists:
        try:
            artifact.verify()
            return True
        except DamagedArtifact as error:
            if stage.context.if_missing == "error":
                raise UserError(f"{error}; delete {artifact.path} and train it again") from error
            log.warning("%s; it is trained again", error)
    if stage.context.if_missing == "error":
        raise stage.forbidden
    return False
