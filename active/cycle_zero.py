"""Cycle 0's classifiers, trained once for all queries of a grid."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from active.predictor import Predictor
from datamodules.files import put_in_place, sha256
from datamodules.pools import Pools
from datamodules.seeds import Seeds
from pretext.artifacts import CHECKPOINT, RECORD, Artifact, Workshop, fingerprint
from pretext.devices import Devices
from pretext.loggers import OwnSink

log = logging.getLogger("initial_pools")
Train = Callable[[Sequence[Logger]], tuple[Predictor, dict[str, Any]]]
STREAMS = ("weights", "batches", "augmentation")  # that cycle 0 draws from
RECIPE = 1  # raised when the meaning of a row changes


class Recorder(OwnSink):
    """Keeps what is logged, for those who find the classifier trained."""

    def __init__(self) -> None:
        super().__init__()
        self.curves: list[tuple[dict[str, float], int | None]] = []

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.curves.append((dict(metrics), step))


@dataclass(frozen=True)
class CycleZero:
    """A folder of classifiers with their rows, one for each key of all that they depend on: the
    data, L0, V, the seed's streams, the learner, its dropout, and the hardware's arithmetic; the
    query is not among them. It may be deleted at any time.

    Args:
        common: what all classifiers of a run depend on.
        kind: their class.
    """

    folder: Path
    common: dict[str, Any]
    kind: type[Predictor]
    devices: Devices

    def get(
        self, pools: Pools, seeds: Seeds, loggers: Sequence[Logger], train: Train
    ) -> tuple[Predictor, dict[str, Any], bool]:
        """The classifier of a member's `seeds`, its row, and whether it was found.

        Processes that ask at the same time train it once; its curves are logged either way.
        """
        devices = self.devices
        key = devices.decide(lambda: self._key(pools, seeds))  # ranks may have other hardware
        artifact = Artifact(self.folder / f"cycle_0-{key}")
        workshop = Workshop(artifact)
        with ExitStack() as stack:
            devices.decide(lambda: stack.enter_context(workshop.lock()))
            record = devices.decide(lambda: _read(artifact))
            if record is None:
                recorder = Recorder()
                classifier, row = train([*loggers, recorder])
                devices.decide(lambda: _write(workshop, classifier, row, recorder.curves))
                return classifier, row, False
        for metrics, step in record["curves"]:
            for logger in loggers:
                logger.log_metrics(metrics, step)
        file = artifact.path / CHECKPOINT
        found = self.kind.load_from_checkpoint(file, map_location="cpu", weights_only=True)
        devices.arrange(found.network, found)
        return found.eval(), record["row"], True

    def _key(self, pools: Pools, seeds: Seeds) -> str:
        streams = {name: seeds.stream(name) for name in STREAMS}
        sets = {"labeled": _digest(pools.labeled), "validation": _digest(pools.validation)}
        return fingerprint({**self.common, **streams, **sets, "recipe": RECIPE})


def _digest(indices: np.ndarray) -> str:
    return hashlib.sha256(np.sort(indices).astype("<i8").tobytes()).hexdigest()


def _read(artifact: Artifact) -> dict[str, Any] | None:
    """The record of a whole classifier; None where there is none, or it is damaged."""
    if not artifact.exists:
        return None
    try:
        record = json.loads((artifact.path / RECORD).read_text(encoding="utf-8"))
        if sha256(artifact.path / CHECKPOINT) == record["sha256"]:
            return record
    except (OSError, ValueError, KeyError):
        pass
    log.warning("%s is damaged; it is trained again", artifact.path)
    return None


def _write(
    workshop: Workshop, classifier: Predictor, row: dict[str, Any], curves: list[Any]
) -> None:
    scratch, path = workshop.scratch, workshop.artifact.path
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    classifier.save(scratch / CHECKPOINT)
    record = {"row": row, "curves": curves, "sha256": sha256(scratch / CHECKPOINT)}
    (scratch / RECORD).write_text(json.dumps(record), encoding="utf-8")
    workshop.discard()
    put_in_place(scratch, path)
