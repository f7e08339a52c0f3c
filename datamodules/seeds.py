"""Named random streams, all derived from a run's one seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True)
class Seeds:
    """Random streams of a run; each can be given a seed of its own.

    A stream's generators depend on its name and keys alone, so that arms which share a seed share
    the validation set, the fresh weights of each cycle and so on (common random numbers), and a run
    that starts again at cycle c draws what it would have drawn.
    """

    seed: int = 0
    split: int | None = None
    init: int | None = None
    weights: int | None = None
    batches: int | None = None
    augmentation: int | None = None
    query: int | None = None
    member: int = 0

    def of(self, member: int) -> Seeds:
        """The streams of a committee's member; those of member 0 are the single classifier's."""
        return replace(self, member=member)

    def stream(self, name: str, *keys: int) -> int:
        """A seed of 63 bits for stream `name` at `keys` (a cycle, an epoch, ...)."""
        own = getattr(self, name, None)
        base = self.seed if own is None else own
        words = (name, base, *keys, *([f"member{self.member}"] if self.member else []))
        text = "/".join(map(str, words))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def numpy(self, name: str, *keys: int) -> np.random.Generator:
        return np.random.default_rng(self.stream(name, *keys))

    def torch(self, name: str, *keys: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.stream(name, *keys))
