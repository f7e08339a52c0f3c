"""A committee: several classifiers of one cycle, each with its own weights and batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from active.predictor import Outputs, Predictor
from datamodules.datamodule import Batch
from datamodules.distances import where_exact
from pretext.collect import gather_rows


class Committee(Predictor):
    """All members in one pass: each column of its outputs is theirs, (members, N, ...)."""

    members: Sequence[Predictor]

    def __init__(self, members: Sequence[Predictor]):
        super().__init__(members[0].num_classes)
        self.members = nn.ModuleList(members)  # type: ignore[assignment]

    def predict_step(self, batch: Batch) -> Outputs:
        said = [member.predict_step(batch) for member in self.members]
        _, *columns = zip(*said, strict=True)
        return Outputs(batch.indices, *map(torch.stack, columns))


def load_committee(file: Path, kind: type[Predictor]) -> list[Predictor]:
    """All classifiers of a checkpoint; the first is the single classifier's."""
    first = kind.load_from_checkpoint(file, map_location="cpu", weights_only=True)
    states = torch.load(file, map_location="cpu", weights_only=True).get("members", [])
    members = [first.eval()]
    for state in states:
        member = kind(**first.hparams)
        member.load_state_dict(state)
        members.append(member.eval())
    return members


class Votes(pl.Callback):
    """Sums the members' probabilities of the test part; `close` ends a member's.

    Only the last test of each member counts, that of the weights it keeps.
    """

    def __init__(self) -> None:
        self.count = 0
        self._now: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._sum: Tensor | None = None
        self._truth: Tensor | None = None

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._now, self._labels = [], []

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._now.append(where_exact(outputs).double().softmax(dim=1))
        self._labels.append(batch.labels)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same order of samples for every member: that of the ranks and their batches."""
        self._now = [gather_rows(pl_module, torch.cat(self._now)).cpu()]
        self._truth = gather_rows(pl_module, torch.cat(self._labels)).cpu()

    def close(self) -> None:
        """Adds what the member that was tested last has said."""
        if self._now:
            self._sum = self._now[0] if self._sum is None else self._sum + self._now[0]
            self._now, self.count = [], self.count + 1

    def metrics(self) -> dict[str, float]:
        """Accuracy and nll (nats) of the mean of the members' probabilities."""
        assert self._sum is not None
        assert self._truth is not None
        probs = self._sum / self.count
        own = probs.gather(1, self._truth[:, None]).clamp_min(torch.finfo(torch.float64).tiny)
        return {
            "test/acc_ensemble": (probs.argmax(dim=1) == self._truth).double().mean().item(),
            "test/nll_ensemble": -own.log().mean().item(),
        }


def mean_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of the members' means, so that `test/acc` is what one of them is worth; times add up.

    >>> mean_row([{"test/acc": 0.5, "time/train_s": 1.0}, {"test/acc": 0.7, "time/train_s": 2.0}])
    {'test/acc': 0.6, 'time/train_s': 3.0}
    """

    def merged(name: str) -> Any:
        values = [row[name] for row in rows]
        if values[0] is None:
            return None
        if isinstance(values[0], list):
            return torch.tensor(values, dtype=torch.float64).mean(dim=0).tolist()
        total = sum(values)
        return total if name.startswith("time/") else total / len(values)

    return {name: merged(name) for name in rows[0]}
