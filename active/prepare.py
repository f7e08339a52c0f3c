"""What a run needs before anything is trained or written: built from its config, and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from active.arm import (
    Arm,
    build_arm,
    build_learner,
    build_query,
    check_reads,
)
from active.learner import Learner
from active.plan import CyclePlan
from active.query import Query, Selection, check_selection
from active.training import Training
from conf.jobs import Job
from conf.schema import ActiveConfig
from datamodules.errors import UserError
from datamodules.images import Images
from datamodules.initial import Candidates, RandomInit, choose
from datamodules.pools import Pools, check_budgets, draw_validation, resolve_count
from datamodules.seeds import Seeds
from pretext.artifacts import Artifact
from pretext.request import check_model
from pretext.setup import check_numbers, check_values, images_of, inputs_of


@dataclass
class Setup:
    """The objects of a run that need no device and no folder."""

    config: ActiveConfig
    images: Images
    seeds: Seeds
    pools: Pools
    inputs: dict[str, Any]  # what a pretext model is told of the data
    arm: Arm
    query: Query
    query_model: dict[str, Any] | None  # config of the model whose features the query reads
    learner: Learner
    learner_model: dict[str, Any] | None  # config of the model that the learner stands on
    training: Training
    init_budget: int
    budget: int

    @property
    def pretext_seed(self) -> int:
        return _seed(self.config.pretext.seed, self.config)

    @property
    def learner_seed(self) -> int:
        """Of the pretext model that the learner stands on."""
        return _seed(_learner_seed(self.config), self.config)

    def candidates(self, artifact: Artifact | None, device: str) -> Candidates:
        return self.arm.candidates(self.images, self.pools, self.inputs, artifact, device)

    def choose_initial(self, candidates: Candidates) -> Selection:
        """The initial pool: exactly `init_budget` samples outside V, with their scores if any."""
        stream = self.seeds.stream("init")
        indices = choose(self.arm.init, candidates, self.init_budget, stream)
        scores = np.full(len(indices), np.nan)
        if candidates.scores is not None:
            scores = candidates.scores[indices].astype(np.float64)
        selection = Selection(indices, scores)
        check_selection(self.arm.init, selection, candidates.indices, self.init_budget)
        return selection

    def choose_by_chance(self, candidates: Candidates) -> np.ndarray:
        """The random pool of the same seed."""
        return RandomInit()(candidates, self.init_budget, self.seeds.stream("init"))

    @property
    def dropout(self) -> bool:
        return self.learner.has_dropout(self.query.wants_dropout)

    @property
    def members(self) -> int:
        return self.learner.count(self.query.wants_committee)

    def validation_labels(self, labeled: int) -> int:
        """How many labels of V the learner, and the queries so far, have used."""
        whole = len(self.pools.validation)
        if labeled > self.init_budget and "validation" in self.query.covers:
            return whole
        return self.learner.validation_labels(labeled, whole)

    @property
    def plans(self) -> list[CyclePlan]:
        """What each cycle passes through the network."""
        return [self._plan(cycle) for cycle in range(self.config.cycles + 1)]

    def _plan(self, cycle: int) -> CyclePlan:
        """The test part is counted twice: for the best-validation weights and for the last."""
        labeled, validation = self.init_budget + cycle * self.budget, len(self.pools.validation)
        known, total = labeled - self.budget, len(self.images.train)
        pools = {"unlabeled": total - validation - known, "labeled": known}
        pools["validation"] = validation
        epochs = self.training.epochs(labeled, self.learner.batch_size)
        checked = validation * min(self.training.val_checks, epochs)
        asked = sum(pools[name] for name in self.query.covers) if cycle > 0 else 0
        return CyclePlan(
            labeled=labeled,
            train=self.members * labeled * epochs,
            evaluate=self.members * (checked + 2 * len(self.images.test or ())),
            query=asked * (self.members if self.query.wants_committee else 1),
        )


def prepare(job: Job) -> Setup:
    """Builds what a run needs; every mistake in its settings, data and budgets is told here."""
    config: ActiveConfig = job.config
    check_values(job.resolved)
    arm, query, query_model = build_arm(job.resolved["init"]), *build_query(job.resolved["query"])
    learner, learner_model = build_learner(job.resolved["learner"])
    images = images_of(job.resolved["data"], config.artifacts_dir, not config.dry_run)
    seeds = Seeds(config.seed, **vars(config.seeds))
    total = len(images.train)
    val = config.data.val if images.classes else 0
    pools = Pools(total, draw_validation(total, val, seeds))
    init_budget = resolve_count("init_budget", config.init_budget, total)
    cycles = config.cycles if images.classes else 0
    budget = resolve_count("budget", config.budget, total) if cycles else 0
    check_budgets(total, len(pools.validation), init_budget, budget, cycles)
    try:
        training = learner.training(config.trainer.max_epochs, config.trainer.val_checks)
    except ValueError as error:
        raise UserError(str(error)) from error
    check_numbers(config.data, images)
    inputs = inputs_of(config.data, images)
    _check_pretext(config, arm, query_model, inputs)
    if learner_model is not None:
        check_reads("learner", learner.reads, learner_model)
        check_model(learner_model, inputs)
    if query.wants_images and learner.reads == "features":
        raise UserError("the query trains on images, and the learner is given features only")
    learner.check_base(inputs)
    ready = Setup(
        config, images, seeds, pools, inputs, arm, query, query_model, learner, learner_model,
        training, init_budget, budget,
    )  # fmt: skip
    if images.classes:
        learner.check(len(images.classes), images.train.shape[0], len(pools.validation))
        _ = ready.members, ready.dropout  # refused where the query cannot have them
    return ready


def _seed(setting: Any, config: ActiveConfig) -> int:
    """A pretext seed: a number, or `run` for the run's own."""
    return config.seed if setting == "run" else setting


def _learner_seed(config: ActiveConfig) -> Any:
    """The setting of a learner that stands on a pretext model."""
    learner: Any = config.learner  # a plain dict where its YAML file names no schema
    settings = learner if isinstance(learner, dict) else vars(learner)
    return settings.get("pretext_seed", 0)


def _check_pretext(
    config: ActiveConfig, arm: Arm, query_model: dict[str, Any] | None, inputs: dict[str, Any]
) -> None:
    seeds = {"pretext.seed": config.pretext.seed, "learner.pretext_seed": _learner_seed(config)}
    for what, seed in seeds.items():
        if seed != "run" and not isinstance(seed, int):
            raise UserError(f"{what} must be a whole number or `run`, not {seed!r}")
    arm.check()
    if arm.model is not None:
        check_model(arm.model, inputs)
    if query_model is not None:
        check_reads("query", "features", query_model)
        check_model(query_model, inputs)
