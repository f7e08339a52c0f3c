"""A grid as a whole: which pretext artifacts its runs share and miss, and how much work it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from active.folder import ROWS
from active.job import classifier_devices
from active.needs import artifact_of, stages_of
from active.plan import CyclePlan, measure
from active.prepare import Setup, prepare
from conf.jobs import Job
from datamodules.errors import UserError
from pretext.console import log_to_terminal
from pretext.devices import hardware
from pretext.request import Stage
from pretext.timing import duration

log = logging.getLogger("initial_pools")
SOLVED = 0.0, 0.0  # seconds an image, of a learner without steps


@dataclass(frozen=True)
class Passes:
    """Images passed through the classifier; a training pass is forward and backward."""

    train: int
    evaluate: int  # V and the test part
    query: int

    @classmethod
    def of(cls, plans: list[CyclePlan]) -> Passes:
        return cls(
            sum(plan.train for plan in plans),
            sum(plan.evaluate for plan in plans),
            sum(plan.query for plan in plans),
        )

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.train + other.train, self.evaluate + other.evaluate, self.query + other.query
        )

    def __str__(self) -> str:
        return (
            f"{self.train:,} training, {self.evaluate:,} validation and test, {self.query:,} query"
        )


def missing(jobs: list[Job]) -> list[Job]:
    """Jobs that together read every pretext artifact that is not there yet, parents first."""
    wanting = []
    for job, stages in _requests(jobs):
        absent = [stage for stage in stages if not stage.artifact.exists]
        for stage in absent:
            if stage.context.if_missing == "error":
                raise UserError(
                    f"{stage.artifact.path} is not there, and --pretext.if_missing error forbids "
                    "to train it"
                )
        wanting.append((max(map(_depth, absent), default=0), job, absent))
    chosen: list[Job] = []
    seen: set[str] = set()
    for _, job, absent in sorted(wanting, key=lambda item: item[0]):
        paths = {str(stage.artifact.path) for stage in absent}
        if not paths <= seen:
            chosen.append(job)
            seen |= paths
    if seen:
        log_to_terminal()
        log.info("first the %d pretext models that the runs need and miss:", len(seen))
        for path in sorted(seen):
            log.info("  %s", path)
    return chosen


def make(job: Job) -> None:
    """Trains the artifacts that a job's run reads, where they are missing."""
    ready = prepare(job)
    log_to_terminal()
    for stage in stages_of(ready):
        artifact_of(stage)


def outline(jobs: list[Job]) -> None:
    """What a grid would do and how long it would take; trains and writes nothing."""
    log_to_terminal()
    done = [_finished_cycles(job) for job in jobs]
    whole = sum(cycles > job.config.cycles for cycles, job in zip(done, jobs, strict=True))
    print(f"{len(jobs)} runs, {whole} of them finished")
    _outline_artifacts(jobs)
    total, seconds = Passes(0, 0, 0), 0.0
    speeds: dict[str, tuple[float, float]] = {}
    queries_train = False
    for job, cycles in zip(jobs, done, strict=True):
        ready = prepare(job)
        passes = Passes.of(ready.plans[cycles:])
        queries_train |= bool(ready.query.curves)
        key = json.dumps(
            [job.resolved["learner"], job.resolved["trainer"], ready.images.train.shape,
             ready.dropout], default=str,
        )  # fmt: skip
        if key not in speeds:
            speeds[key] = _speed(job, ready)
        train_s, forward_s = speeds[key]
        seconds += passes.train * train_s + (passes.evaluate + passes.query) * forward_s
        total += passes
    print(f"image passes to be done: {total}")
    if any(speed == SOLVED for speed in speeds.values()):
        print("runs whose classifier is solved on features are not estimated")
    if seconds > 0:
        devices = classifier_devices(jobs[0])
        print(
            f"about {duration(seconds)} one after another on this {devices.kind} "
            f"({hardware(devices.kind)}), from a few batches measured now, without pretext models"
            + (" and those that queries train" if queries_train else "")
        )


def _outline_artifacts(jobs: list[Job]) -> None:
    from pretext.announce import announce  # their libraries only where a model is needed
    from pretext.stages import survey

    needed = [stage for _, stages in _requests(jobs) for stage in stages]
    unmade = {str(s.artifact.path): s for stage in needed for s in survey(stage)[1]}
    announce(None, list(unmade.values()))


def _speed(job: Job, ready: Setup) -> tuple[float, float]:
    """Seconds an image in training and forward."""
    if not ready.learner.steps:
        return SOLVED
    classifier = ready.learner.blank(ready.images, ready.dropout)
    return measure(
        classifier, classifier_devices(job), ready.images.train.shape, ready.learner.batch_size
    )


def _finished_cycles(job: Job) -> int:
    file = job.folder / ROWS if job.folder else None
    return file.read_bytes().count(b"\n") if file and file.exists() else 0


def _requests(jobs: list[Job]) -> Iterator[tuple[Job, list[Stage]]]:
    """The stages that unfinished jobs read; of jobs that read the same, the first."""
    asked = set()
    for job in jobs:
        if _finished_cycles(job) > job.config.cycles:
            continue
        settings = {key: job.resolved[key] for key in ("data", "pretext", "trainer")}
        learner = job.resolved["learner"]
        nodes = [job.resolved[key].get("model") for key in ("init", "query", "learner")]
        tied = "run" in (settings["pretext"]["seed"], learner.get("pretext_seed"))
        seed = [job.resolved["seed"] if tied else None, learner.get("pretext_seed")]
        request = json.dumps([settings, nodes, job.resolved["init"].get("of"), seed], default=str)
        if request not in asked:
            asked.add(request)
            yield job, [stage for stage in stages_of(prepare(job)) if stage is not None]


def _depth(stage: Stage) -> int:
    return 1 + _depth(stage.parent) if stage.parent else 0
