"""What a run would do and how long it would take, without training or writing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from active.plan import Speed, measure, total
from active.prepare import Setup
from pretext.console import log_to_terminal
from pretext.devices import Devices, hardware
from pretext.request import Stage
from pretext.timing import duration


def dry_run(ready: Setup, devices: Devices, stages: Sequence[Stage | None], folder: Path) -> None:
    """Says what would be done and how long it would take; trains and writes nothing.

    `stages` are the init's, the query's and the learner's, where they read an artifact.
    """
    print(folder)
    log_to_terminal()
    _announce([stage for stage in stages if stage is not None])
    stage = stages[0]
    if stage is None or stage.artifact.exists:
        _show_pool(ready, stage, devices.kind)
    if ready.images.classes is None:
        print("  no labels: the files to label first would be listed; no classifier is trained")
        return
    plans = ready.plans
    passes = total(plans)
    print(f"  cycles: {len(plans)}, labels {plans[0].labeled} to {plans[-1].labeled}")
    print(f"  image passes: {passes}")
    speed = speed_of(ready, devices)
    if speed is None:
        print("  the classifier is solved directly: under a second for hundreds of labels")
        return
    here = f"{devices.kind} ({hardware(devices.kind)}, {devices.precision})"
    print(
        f"  about {duration(passes.seconds(speed))} on this {here}, from a few batches measured now"
        + (", without the query's own model" if ready.query.curves else "")
    )


def _announce(stages: Sequence[Stage]) -> None:
    if not stages:
        return
    from pretext.announce import announce  # their libraries only where a model is needed
    from pretext.stages import survey

    for stage in stages:
        announce(*survey(stage))


def speed_of(ready: Setup, devices: Devices) -> Speed | None:
    """The speed of the run's classifier here; None of one that is solved, not trained in steps."""
    if not ready.learner.steps:
        return None
    classifier = ready.learner.blank(ready.images, ready.dropout)
    return measure(classifier, devices, ready.images.train.shape, ready.learner.batch_size)


def _show_pool(ready: Setup, stage: Stage | None, device: str) -> None:
    candidates = ready.candidates(stage.artifact if stage else None, device)
    selection = ready.choose_initial(candidates)
    shown = ", ".join(ready.images.train.ids[i] for i in selection.indices[:8])
    print(f"  initial pool: {len(selection.indices)} samples, first {shown}")
    labels, num_classes = ready.images.train.labels, len(ready.images.classes or ())
    if labels is not None and num_classes <= 20:
        counts = np.bincount(labels[selection.indices], minlength=num_classes)
        print(f"  its classes: {' '.join(map(str, counts))}")
