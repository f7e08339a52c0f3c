"""What a run would do and how long it would take, without training or writing."""

from __future__ import annotations

from pathlib import Path

from active.plan import measure
from active.prepare import Setup
from pretext.devices import Devices, hardware
from pretext.timing import duration


def dry_run(ready: Setup, devices: Devices, folder: Path) -> None:
    """Says what would be done and how long it would take; trains and writes nothing."""
    print(folder)
    selection = ready.choose_initial()
    shown = ", ".join(ready.images.train.ids[i] for i in selection.indices[:8])
    print(f"  initial pool: {len(selection.indices)} samples, first {shown}")
    if ready.images.classes is None:
        print("  no labels: the list of files to label first would be written, nothing trained")
        return
    labels = ready.images.train.labels
    assert labels is not None
    counts = [int((labels[selection.indices] == c).sum()) for c in range(len(ready.images.classes))]
    if len(counts) <= 20:
        print(f"  its classes: {' '.join(map(str, counts))}")
    train_s, forward_s = measure(
        ready.make_classifier(), devices, ready.images.train.shape, ready.config.learner.batch_size
    )
    plans = ready.plans
    train, evaluate, query = (
        sum(getattr(p, n) for p in plans) for n in ("train", "evaluate", "query")
    )
    print(f"  cycles: {len(plans)}, labels {plans[0].labeled} to {plans[-1].labeled}")
    print(f"  image passes: {train:,} training, {evaluate:,} validation and test, {query:,} query")
    seconds = train * train_s + (evaluate + query) * forward_s
    print(
        f"  about {duration(seconds)} on this {devices.kind} ({hardware(devices.kind)}, "
        f"{devices.precision}), from a few batches measured now"
    )
