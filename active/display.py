"""What a person sees while a run goes on, and the table at its end."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytorch_lightning as pl
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from active.plan import TRAIN_WEIGHT, CyclePlan
from active.predictor import Predictor
from pretext.timing import duration

log = logging.getLogger("initial_pools")
EVERY = 1.0  # seconds between refreshes: reading the loss waits for the device
BEAT = 60.0  # seconds between lines, where there is no terminal


class Display(pl.Callback):
    """Cycle, epoch, loss, accuracy and time left: at most once a second on a terminal, elsewhere in
    a line of the log once a minute.

    Args:
        plans: of all cycles, of which the first `done` are complete.
        shown: on rank zero; the others may share its terminal.
    """

    def __init__(self, plans: list[CyclePlan], done: int = 0, shown: bool = True):
        self.console, self.shown = Console(), shown
        self.plans = plans
        self.total = sum(plan.weight for plan in plans[done:])
        self.work, self.cycle = 0.0, done
        self.started = self.refreshed = time.monotonic()
        self._text = ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            console=self.console,
            transient=True,
            auto_refresh=False,
            disable=not (shown and self.console.is_terminal),  # a line of the log instead
        )
        self._task = self._progress.add_task("", total=max(self.total, 1))

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start_cycle(self, cycle: int) -> None:
        self.cycle = cycle
        self.work = float(sum(p.weight for p in self.plans[:cycle])) - (
            sum(p.weight for p in self.plans) - self.total
        )

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        if not isinstance(module, Predictor):  # a query's own model
            return self._refresh(trainer, "train for the query")
        self.work += TRAIN_WEIGHT * self.plans[self.cycle].labeled / trainer.num_training_batches
        return self._refresh(trainer, "train")

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._refresh(trainer, "validate")

    def on_test_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._refresh(trainer, "test")

    def on_predict_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._refresh(trainer, "query")

    def _refresh(self, trainer: pl.Trainer, stage: str) -> None:
        now = time.monotonic()
        if not self.shown or now - self.refreshed < (BEAT if self._progress.disable else EVERY):
            return
        self.refreshed = now
        if trainer.training:
            metrics = trainer.callback_metrics
            values = [
                f"{k} {float(metrics[k]):.4g}" for k in ("train/loss", "val/acc") if k in metrics
            ]
            self._text = (
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {'  '.join(values)}"
            )
        left = (now - self.started) * (self.total / self.work - 1) if self.work else 0.0
        text = f"cycle {self.cycle}/{len(self.plans) - 1}  {stage}  {self._text}"
        if left:
            text += f"  {duration(left)} left"
        if self._progress.disable:
            log.info(text)
            return
        self._progress.update(self._task, description=text, completed=self.work)
        self._progress.refresh()

    def end_cycle(self, row: dict[str, Any]) -> None:
        log.info(
            "cycle %d/%d: %d labeled, test/acc %.4f (last epoch %.4f), train %s, query %s",
            row["cycle"], len(self.plans) - 1, row["pool/labeled"], row["test/acc"],
            row["test/acc_last"], duration(row["time/train_s"]), duration(row["time/query_s"]),
        )  # fmt: skip


COLUMNS = {
    "cycle": ("cycle", "d"),
    "pool/labeled": ("labels", "d"),
    "test/acc": ("test", ".4f"),
    "test/acc_last": ("last", ".4f"),
    "test/balanced_acc": ("balanced", ".4f"),
    "test/nll": ("nll", ".3f"),
    "test/ece": ("ece", ".3f"),
    "val/acc": ("val", ".4f"),
    "time/train_s": ("train s", ".1f"),
    "time/query_s": ("query s", ".2f"),
}


def cycles_table(rows: list[dict[str, Any]]) -> Table:
    """The table of cycles that a run ends with."""
    table = Table(box=box.SIMPLE, padding=0)
    table.caption = "test: best-validation weights; last: weights of the last epoch"
    for head, _ in COLUMNS.values():
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        cells = (
            "-" if row[key] is None else format(row[key], spec)
            for key, (_, spec) in COLUMNS.items()
        )
        table.add_row(*cells)
    return table
