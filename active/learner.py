"""The contract of a learner: what is trained in each cycle, on what, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from active.predictor import Predictor
from active.training import Training
from datamodules.errors import UserError
from datamodules.images import Images
from pretext.artifacts import Artifact

COMMITTEE = 3  # members, the study's


@dataclass(frozen=True)
class Seen:
    """What a learner's classifier is given: images, or features in their place."""

    images: Images
    normalized: bool = False  # else pixels, to be augmented and normalized
    eval_batch_size: int | None = None  # None: the data set's


class Learner:
    """Makes the classifiers of a run.

    Args of every learner:
        dropout: `on`, `off`, or `auto`: where the query draws dropout masks.
        members: classifiers a cycle, or `auto`: 3 where the query asks a committee, else 1.
    """

    predictor: ClassVar[type[Predictor]]
    reads: ClassVar[str] = ""  # of a pretext artifact: "weights" or "features"
    steps: ClassVar[bool] = True  # trained by gradient steps, whose cost can be estimated
    warm_start: bool = False
    batch_size: int
    width: int = 1  # channels of the network's first stage, which the layout depends on

    def __init__(self, dropout: str, members: Any):
        if dropout not in ("auto", "on", "off"):
            raise ValueError(f"dropout must be one of auto, on, off, not {dropout!r}")
        if members != "auto" and (isinstance(members, bool) or not isinstance(members, int)):
            raise ValueError(f"members must be auto or at least 1, not {members!r}")
        self.dropout, self.members = dropout, members

    def has_dropout(self, wanted: bool) -> bool:
        """Whether its classifiers have dropout, for a query that `wanted` it or not."""
        if wanted and self.dropout == "off":
            raise UserError(
                "the query draws dropout masks, and learner.dropout is off; leave it auto"
            )
        return wanted if self.dropout == "auto" else self.dropout == "on"

    def count(self, committee: bool) -> int:
        """Classifiers a cycle, for a query that asks a committee or not."""
        count = (COMMITTEE if committee else 1) if self.members == "auto" else self.members
        least = 2 if committee else 1
        if count < least:
            raise UserError(f"learner.members must be auto or at least {least}, not {count}")
        return count

    def kind(self, dropout: bool, members: int) -> str:
        """Which passive arm is its control: plain, dropout, committee (committee5 of five), or
        committee-dropout."""
        size = "" if members in (1, COMMITTEE) else str(members)
        words = [f"committee{size}"] * (members > 1) + ["dropout"] * dropout
        return "-".join(words) or "plain"

    def validation_labels(self, labeled: int, validation: int) -> int:
        """How many labels of V it uses."""
        return validation

    def fast_precision(self, of_data: str) -> str:
        """What `trainer.precision auto` takes on hardware with bf16 arithmetic."""
        return of_data

    def check(self, num_classes: int, channels: int, validation: int) -> None:
        """Raises UserError for settings that no classifier can be made of."""

    def check_base(self, inputs: dict[str, Any]) -> None:
        """Raises UserError where a pretext model of these `inputs` is none that it can stand on."""

    def training(self, max_epochs: int, val_checks: int) -> Training:
        raise NotImplementedError

    def see(self, images: Images, artifact: Artifact | None) -> Seen:
        """What its classifiers are given in the place of `images`."""
        return Seen(images)

    def blank(self, images: Images, dropout: bool) -> Predictor:
        """A classifier whose steps cost what those of a run do, for an estimate."""
        raise NotImplementedError

    def make(self, seen: Seen, dropout: bool, artifact: Artifact | None) -> Predictor:
        """A fresh classifier; weights are drawn from the global generator, which is seeded."""
        raise NotImplementedError
