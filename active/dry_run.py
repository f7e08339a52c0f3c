"""What a run would do and how long it would take, without training or writing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from active.plan import measure
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
    for needed in stages:
        if needed is not None:
            from pretext.announce import announce  # their libraries only where a model is needed
            from pretext.stages import survey

            announce(*survey(needed))
    stage = stages[0]
    if stage is None or stage.artifact.exists:
        _show_pool(ready, stage, devices.kind)
    if ready.images.classes is None:
        print("  no labels: the list of files to label first would be written, nothing trained")
        return
    plans = ready.plans
    train, evaluate, query = (
        sum(getattr(p, n) for p in plans) for n in ("train", "evaluate", "query")
    )
    print(f"  cycles: {len(plans)}, labels {plans[0].labeled} to {plans[-1].labeled}")
    print(f"  image passes: {train:,} training, {evaluate:,} validation and test, {query:,} query")
    if not ready.learner.steps:
        print("  a classifier is solved on features: of hundreds of labels in under a second")
        return
    classifier = ready.learner.blank(ready.images, ready.dropout)
    train_s, forward_s = measure(
        classifier, devices, ready.images.train.shape, ready.learner.batch_size
    )
    seconds = train * train_s + (evaluate + query) * forward_s
    print(
        f"  about {duration(seconds)} on this {devices.kind} ({hardware(devices.kind)}, "
        f"{devices.precision}), from a few batches measured now"
        + (", without the query's own model" if ready.query.curves else "")
    )


def _show_pool(ready: Setup, stage: Stage | None, device: str) -> None:
    selection = ready.choose_initial(stage.artifact if stage else None, device)
    shown = ", ".join(ready.images.train.ids[i] for i in selection.indices[:8])
    print(f"  initial pool: {len(selection.indices)} samples, first {shown}")
    labels, num_classes = ready.images.train.labels, len(ready.images.classes or ())
    if labels is not None and num_classes <= 20:
        counts = np.bincount(labels[selection.indices], minlength=num_classes)
        print(f"  its classes: {' '.join(map(str, counts))}")
