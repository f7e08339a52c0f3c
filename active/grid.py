"""A grid as a whole: which pretext artifacts its runs share and miss, and how much work it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

from active.dry_run import speed_of
from active.job import classifier_devices
from active.needs import artifact_of, stages_of
from active.plan import Passes, Speed, total
from active.prepare import Setup, prepare
from conf.identity import ROWS
from conf.jobs import Job
from pretext.console import log_to_terminal
from pretext.devices import hardware
from pretext.request import Stage
from pretext.timing import duration

log = logging.getLogger("initial_pools")


def missing(jobs: list[Job]) -> list[Job]:
    """Jobs that together read every pretext artifact that is not there yet, parents first."""
    wanting = []
    for job, stages in _requests(jobs):
        absent = [stage for stage in stages if not stage.artifact.exists]
        for stage in absent:
            if stage.context.if_missing == "error":
                raise stage.forbidden
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
    left: list[tuple[Passes, Speed | None]] = []
    speeds: dict[str, Speed | None] = {}
    queries_train = False
    for job, cycles in zip(jobs, done, strict=True):
        ready = prepare(job)
        queries_train |= bool(ready.query.curves)
        kind = _kind(job, ready)
        if kind not in speeds:
            speeds[kind] = speed_of(ready, classifier_devices(job))
        left.append((total(ready.plans[cycles:]), speeds[kind]))
    print(f"image passes to be done: {total(passes for passes, _ in left)}")
    if None in speeds.values():
        print("runs whose classifier is solved directly are not estimated")
    seconds = sum(passes.seconds(speed) for passes, speed in left if speed)
    if seconds > 0:
        devices = classifier_devices(jobs[0])
        print(
            f"about {duration(seconds)} one after another on this {devices.kind} "
            f"({hardware(devices.kind)}), from a few batches measured now, without pretext models"
            + (" and those that queries train" if queries_train else "")
        )


def _kind(job: Job, ready: Setup) -> str:
    """Runs of one kind train the same classifier on images of the same shape, equally fast."""
    settings = [job.resolved["learner"], job.resolved["trainer"]]
    return json.dumps([*settings, ready.images.train.shape, ready.dropout], default=str)


def _outline_artifacts(jobs: list[Job]) -> None:
    from pretext.announce import announce  # their libraries only where a model is needed
    from pretext.stages import survey

    needed = [stage for _, stages in _requests(jobs) for stage in stages]
    unmade = {str(s.artifact.path): s for stage in needed for s in survey(stage)[1]}
    announce(None, list(unmade.values()))


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
