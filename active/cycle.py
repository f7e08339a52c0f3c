"""The active-learning loop: query, label, train, test, write; and again from where it stopped."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from active.arm import choose_initial
from active.committee import Committee, Votes, load_committee, mean_row
from active.cycle_zero import CycleZero
from active.display import Display
from active.folder import RunFolder
from active.pool_report import (
    SHEET,
    class_entropy,
    contact_sheet,
    describe_pool,
    png,
    summarize_pool,
)
from active.predictor import Predictor
from active.query import Query, Request, Selection, check_finite, check_selection
from active.training import Training
from datamodules.datamodule import PoolDataModule
from datamodules.distances import exact_device
from datamodules.images import Images
from datamodules.initial import Candidates, Init, RandomInit
from datamodules.pools import Pools
from datamodules.seeds import Seeds
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

    images: Images
    pools: Pools
    datamodule: PoolDataModule
    seeds: Seeds
    init: Init
    candidates: Candidates
    query: Query
    make_classifier: Callable[[], Predictor]
    predictor: type[Predictor]  # its class
    training: Training
    devices: Devices
    folder: RunFolder
    loggers: list[Sink]
    display: Display
    init_budget: int
    budget: int
    validation_labels: Callable[[int], int]  # how many of V go with so many of L
    members: int = 1
    described: dict[str, Any] = field(default_factory=dict)  # what each row says of the run
    shared: CycleZero | None = None
    features: Callable[[], np.ndarray] | None = None  # of the artifact that the query reads
    warm_start: bool = False
    keep_all_checkpoints: bool = False
    _classifiers: list[Predictor] | None = None  # of the last complete cycle

    def go(self, done: int, cycles: int) -> None:
        """Cycles `done` to `cycles`; those before are complete on disk."""
        for cycle in range(done):
            self.pools.label(self._stored(cycle)[0])
        for cycle in range(done, cycles + 1):
            self.display.start_cycle(cycle)
            seconds = self._label(cycle)
            row = self._train(cycle) | {"time/query_s": seconds}
            self._write(cycle, row)
            # A Trainer and its model lie in circles, which Python looks for after dozens of cycles.
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
        features = self.features() if self.features else None
        device = exact_device(self.devices.kind)
        classes = self.candidates.num_classes
        request = Request(self.budget, cycle, self.seeds, features, device, classes)
        self.datamodule.at(cycle, asked=self.query.covers or ("unlabeled",))
        self.query.prepare(self.datamodule, self._query_trainer, request)
        if self.query.covers:
            members = self._previous(cycle)
            asked = Committee(members) if self.query.wants_committee else members[0]
            trainer = self.devices.trainer(callbacks=[self.query, self.display])
            trainer.predict(asked, datamodule=self.datamodule, return_predictions=False)
        gathered = self.query.gathered(self.pools, self.images.train.labels)

        def select() -> Selection:
            check_finite(gathered, self.images.train.ids)
            selection = self.query.select(gathered, request)
            check_selection(selection, gathered.indices, self.budget)
            return selection

        return self.devices.decide(select)

    def _query_trainer(self, **arguments: Any) -> pl.Trainer:
        """For a query that trains a model of its own, seen and logged as the classifier is."""
        callbacks = [*arguments.pop("callbacks", []), self.display]
        loggers: Any = list(self.loggers) or False
        return self.devices.trainer(callbacks=callbacks, logger=loggers, **arguments)

    def _choose_first(self) -> Selection:
        """The initial pool, described beside chance, in a log line, `pool.json` and a sheet."""
        selection = choose_initial(self.candidates, self.init, self.init_budget, self.seeds)
        by_chance = RandomInit()(self.candidates, self.init_budget, self.seeds.stream("init"))
        described = describe_pool(
            selection.indices,
            by_chance,
            len(self.candidates.indices),
            self.images.train.labels,
            self.candidates.num_classes,
            self.candidates.scores,
        )
        log.info("initial pool: %s", summarize_pool(described))
        sheet = contact_sheet(self.images.train.take(selection.indices[: SHEET**2]).numpy())
        self.folder.write_pool(described, png(sheet))
        for logger in self.loggers:
            logger.log_pool(described, sheet)
        return selection

    def _previous(self, cycle: int) -> list[Predictor]:
        """The classifiers of the cycle before, from memory or from their checkpoint."""
        if self._classifiers is None:
            file = self.devices.decide(lambda: self.folder.verify_checkpoint(cycle - 1))
            self._classifiers = load_committee(file, self.predictor)
            for classifier in self._classifiers:
                self.devices.arrange(classifier.network, classifier)
        return self._classifiers

    def _train(self, cycle: int) -> dict[str, Any]:
        """Trains on L_c from fresh weights, the same for all arms of a seed, and tests."""
        warm = self._previous(cycle) if self.warm_start and cycle > 0 else None
        self._classifiers = None
        classifiers, rows, votes = [], [], Votes()
        for member in range(self.members):
            start = None if warm is None else warm[member].state_dict()
            classifier, row = self._train_member(cycle, member, start, votes)
            votes.close()
            classifiers.append(classifier)
            rows.append(row)
        self._classifiers = classifiers
        metrics = rows[0] if self.members == 1 else {**mean_row(rows), **votes.metrics()}
        return {
            "cycle": cycle,
            **self.described,
            **metrics,
            **self._describe_pool(),
            "deterministic": self.devices.deterministic,
        }

    def _train_member(
        self, cycle: int, member: int, start: dict[str, Any] | None, votes: Votes
    ) -> tuple[Predictor, dict[str, Any]]:
        """A classifier and its numbers; cycle 0's may have been trained by another run."""
        data, devices, seeds = self.datamodule, self.devices, self.seeds.of(member)
        callbacks: list[pl.Callback] = [self.display, *([votes] if self.members > 1 else [])]
        logged = self.loggers if member == 0 else []
        data.at(cycle, member)

        def train(loggers: Sequence[Logger]) -> tuple[Predictor, dict[str, Any]]:
            torch.manual_seed(seeds.stream("weights", cycle))
            classifier = self.make_classifier()
            if start is not None:
                classifier.load_state_dict(start)
            return classifier, self.training.fit(classifier, data, devices, loggers, callbacks)

        if cycle > 0 or self.shared is None:
            return train(logged)
        classifier, row, found = self.shared.get(self.pools, seeds, logged, train)
        if found and self.members > 1:
            tester = devices.trainer(callbacks=callbacks)
            self.training.test(classifier, data, tester)  # for its votes
        return classifier, row

    def _describe_pool(self) -> dict[str, Any]:
        labeled = self.pools.labeled
        assert self.images.train.labels is not None
        counts = np.bincount(self.images.train.labels[labeled])
        return {
            "pool/labeled": len(labeled),
            "pool/fraction": len(labeled) / self.pools.total,
            "pool/classes": int(np.count_nonzero(counts)),
            "pool/entropy": class_entropy(counts),
            "pool/validation_labels": self.validation_labels(len(labeled)),
        }

    def _write_selection(self, cycle: int, selection: Selection, seconds: float) -> None:
        ids = [self.images.train.ids[i] for i in selection.indices]
        shown = selection.indices[:THUMBNAILS]
        chosen = Chosen(
            cycle,
            ids[:THUMBNAILS],
            self.images.train.take(shown).numpy(),
            selection.scores,
            [self._class_name(i) for i in shown],
        )
        # Logged before it is written: a kill in between logs it twice, which is better than never.
        for logger in self.loggers:
            logger.log_chosen(chosen)
        self.folder.write_selected(cycle, ids, selection.indices, selection.scores, seconds)

    def _class_name(self, index: int) -> str:
        """An oracle's answer: only for what has just been labeled."""
        labels, classes = self.images.train.labels, self.images.classes
        return classes[labels[index]] if labels is not None and classes else ""

    def _write(self, cycle: int, row: dict[str, Any]) -> None:
        """Checkpoint first, then the row that makes the cycle complete."""
        self.devices.decide(lambda: self._finish_cycle(cycle, row))

    def _finish_cycle(self, cycle: int, row: dict[str, Any]) -> None:
        assert self._classifiers is not None
        first, *others = self._classifiers
        states = [member.state_dict() for member in others]
        self.folder.write_checkpoint(cycle, partial(first.save, members=states))
        for logger in self.loggers:
            logger.log_cycle(row, self.images.classes or ())
        self.folder.append(row)
        if cycle > 0 and not self.keep_all_checkpoints:
            self.folder.drop_checkpoint(cycle - 1)
        self.display.end_cycle(row)
