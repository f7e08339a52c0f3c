"""The active-learning loop: query, label, train, test, write; and again from where it stopped."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from active.committee import Committee, Votes, load_committee, mean_row
from active.cycle_zero import CycleZero
from active.display import Display
from active.first_pool import choose_first
from active.folder import RunFolder
from active.needs import Read
from active.pool_report import class_entropy
from active.predictor import Predictor
from active.prepare import Setup
from active.query import Request, Selection, check_finite, check_selection
from datamodules.datamodule import PoolDataModule
from datamodules.distances import exact_device
from pretext.devices import Devices
from pretext.loggers import Chosen, Sink

log = logging.getLogger("initial_pools")
THUMBNAILS = 64


@dataclass
class Run:
    """One (data, init, query, learner, seed): the objects of a run and its loop.

    Cycle c: the query that cycle c - 1's classifier makes (for cycle 0: the init) chooses what is
    added, then a fresh classifier is trained and tested on L_c. The row is written last.
    """

    ready: Setup
    read: Read
    devices: Devices
    folder: RunFolder
    loggers: list[Sink]
    display: Display
    datamodule: PoolDataModule
    make_classifier: Callable[[], Predictor]  # with fresh weights
    shared: CycleZero | None = None
    _classifiers: list[Predictor] | None = None  # of the last complete cycle

    def __post_init__(self) -> None:
        ready = self.ready
        self.pools, self.query, self.train_part = ready.pools, ready.query, ready.images.train
        self.candidates = ready.candidates(self.read.init, self.devices.kind)

    def go(self, done: int, cycles: int) -> None:
        """Cycles `done` to `cycles`; those before are complete on disk."""
        for cycle in range(done):
            self.pools.label(self._stored(cycle)[0])
        self.devices.decide(lambda: self._drop_checkpoints(0, done - 1))  # of a kill after a row
        for cycle in range(done, cycles + 1):
            self.display.start_cycle(cycle)
            seconds = self._label(cycle)
            row = self._train(cycle) | {"time/query_s": seconds}
            self.devices.decide(partial(self._finish_cycle, cycle, row))
            # Trainer and model refer to each other: Python would free them dozens of cycles later.
            gc.collect()

    def _label(self, cycle: int) -> float:
        """Adds the cycle's samples to L: those on disk, else newly chosen. Seconds it took."""
        stored = self.devices.decide(lambda: self.folder.read_selected(cycle))
        if stored is None:
            started = time.perf_counter()
            selection = self._choose(cycle)
            seconds = time.perf_counter() - started
            self.devices.decide(lambda: self._write_selection(cycle, selection, seconds))
            stored = selection.indices, seconds
        self.pools.label(stored[0])
        return stored[1]

    def _stored(self, cycle: int) -> tuple[np.ndarray, float]:
        stored = self.devices.decide(lambda: self.folder.read_selected(cycle))
        if stored is None:
            raise self.folder.missing(self.folder.cycle(cycle) / "selected.parquet")
        return stored

    def _choose(self, cycle: int) -> Selection:
        if cycle == 0:
            return self.devices.decide(self._choose_first)
        ready, device = self.ready, exact_device(self.devices.kind)
        features = self.read.query.features() if self.read.query is not None else None
        classes = self.candidates.num_classes
        request = Request(ready.budget, cycle, ready.seeds, features, device, classes)
        self.datamodule.at(cycle, asked=self.query.covers or ("unlabeled",))
        self.query.prepare(self.datamodule, self._query_trainer, request)
        if self.query.covers:
            members = self._previous(cycle)
            asked = Committee(members) if self.query.wants_committee else members[0]
            trainer = self.devices.trainer(callbacks=[self.query, self.display])
            trainer.predict(asked, datamodule=self.datamodule, return_predictions=False)

        def select() -> Selection:
            gathered = self.query.gathered(self.pools, self.train_part.labels)
            check_finite(gathered, self.train_part.ids)
            selection = self.query.select(gathered, request)
            check_selection(self.query, selection, gathered.indices, ready.budget)
            return selection

        return self.devices.decide(select)

    def _query_trainer(self, **arguments: Any) -> pl.Trainer:
        """For a query that trains a model of its own, seen and logged as the classifier is."""
        callbacks = [*arguments.pop("callbacks", []), self.display]
        loggers: Any = list(self.loggers) or False
        return self.devices.trainer(callbacks=callbacks, logger=loggers, **arguments)

    def _choose_first(self) -> Selection:
        selection, described, sheet = choose_first(self.ready, self.candidates, self.folder)
        for logger in self.loggers:
            logger.log_pool(described, sheet)
        return selection

    def _previous(self, cycle: int) -> list[Predictor]:
        """The classifiers of the cycle before, from memory or from their checkpoint."""
        if self._classifiers is None:
            file = self.devices.decide(lambda: self.folder.verify_checkpoint(cycle - 1))
            self._classifiers = load_committee(file, self.ready.learner.predictor)
            for classifier in self._classifiers:
                self.devices.arrange(classifier.network, classifier)
        return self._classifiers

    def _train(self, cycle: int) -> dict[str, Any]:
        """Trains on L_c from fresh weights, the same for all arms of a seed, and tests."""
        warm = self._previous(cycle) if self.ready.learner.warm_start and cycle > 0 else None
        self._classifiers = None
        classifiers, rows, votes = [], [], Votes()
        for member in range(self.ready.members):
            start = None if warm is None else warm[member].state_dict()
            classifier, row = self._train_member(cycle, member, start, votes)
            votes.close()
            classifiers.append(classifier)
            rows.append(row)
        self._classifiers = classifiers
        metrics = rows[0] if len(rows) == 1 else {**mean_row(rows), **votes.metrics()}
        return {
            "cycle": cycle,
            **self._describe_arm(),
            **metrics,
            **self._describe_pool(),
            "deterministic": self.devices.deterministic,
        }

    def _train_member(
        self, cycle: int, member: int, start: dict[str, Any] | None, votes: Votes
    ) -> tuple[Predictor, dict[str, Any]]:
        """A classifier and its numbers; cycle 0's may have been trained by another run."""
        data, devices, seeds = self.datamodule, self.devices, self.ready.seeds.of(member)
        training, committee = self.ready.training, self.ready.members > 1
        callbacks: list[pl.Callback] = [self.display, *([votes] if committee else [])]
        logged = self.loggers if member == 0 else []
        data.at(cycle, member)

        def train(loggers: Sequence[Logger]) -> tuple[Predictor, dict[str, Any]]:
            torch.manual_seed(seeds.stream("weights", cycle))
            classifier = self.make_classifier()
            if start is not None:
                classifier.load_state_dict(start)
            return classifier, training.fit(classifier, data, devices, loggers, callbacks)

        if cycle > 0 or self.shared is None:
            return train(logged)
        classifier, row, found = self.shared.get(self.pools, seeds, logged, train)
        if found and committee:
            tester = devices.trainer(callbacks=callbacks)
            training.test(classifier, data, tester)  # for its votes
        return classifier, row

    def _describe_arm(self) -> dict[str, Any]:
        kind = self.ready.learner.kind(self.ready.dropout, self.ready.members)
        return {"classifier": kind, **self.read.names}

    def _describe_pool(self) -> dict[str, Any]:
        labeled = self.pools.labeled
        assert self.train_part.labels is not None
        counts = np.bincount(self.train_part.labels[labeled])
        return {
            "pool/labeled": len(labeled),
            "pool/fraction": len(labeled) / self.pools.total,
            "pool/classes": int(np.count_nonzero(counts)),
            "pool/entropy": class_entropy(counts),
            "pool/validation_labels": self.ready.validation_labels(len(labeled)),
        }

    def _write_selection(self, cycle: int, selection: Selection, seconds: float) -> None:
        ids = [self.train_part.ids[i] for i in selection.indices]
        shown = selection.indices[:THUMBNAILS]
        chosen = Chosen(
            cycle,
            ids[:THUMBNAILS],
            self.train_part.take(shown).numpy(),
            selection.scores,
            [self._class_name(i) for i in shown],
        )
        # Logged before it is written: a kill in between logs it twice, which is better than never.
        for logger in self.loggers:
            logger.log_chosen(chosen)
        self.folder.write_selected(cycle, ids, selection.indices, selection.scores, seconds)

    def _class_name(self, index: int) -> str:
        """An oracle's answer: only for what has just been labeled."""
        labels, classes = self.train_part.labels, self.ready.images.classes
        return classes[labels[index]] if labels is not None and classes else ""

    def _finish_cycle(self, cycle: int, row: dict[str, Any]) -> None:
        """Checkpoint first, then the row that makes the cycle complete."""
        assert self._classifiers is not None
        first, *others = self._classifiers
        states = [member.state_dict() for member in others]
        self.folder.write_checkpoint(cycle, partial(first.save, members=states))
        for logger in self.loggers:
            logger.log_cycle(row, self.ready.images.classes or ())
        self.folder.append(row)
        self._drop_checkpoints(max(cycle - 1, 0), cycle)
        self.display.end_cycle(row)

    def _drop_checkpoints(self, first: int, end: int) -> None:
        if self.ready.config.trainer.keep_checkpoints != "all":
            for cycle in range(first, end):
                self.folder.drop_checkpoint(cycle)
