"""Which samples make a batch, on one device or on many.

Lightning's injected samplers ignore a run's seed, count samples twice in a test and hand out
unequal shares in predict; these take a rank's share of one order that all ranks know.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch.utils.data import Sampler

from datamodules.draws import uniform
from datamodules.seeds import Seeds


def split_batches(order: np.ndarray, batch_size: int, world_size: int = 1) -> list[np.ndarray]:
    """Global batches of `order`; the last partial one is kept.

    A last batch with fewer than two samples a rank joins the one before it, because batch
    normalization cannot train on one sample.
    """
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if len(batches) > 1 and len(batches[-1]) < 2 * world_size:
        last = batches.pop()
        batches[-1] = np.concatenate([batches[-1], last])
    return batches


class TrainBatches(Sampler[np.ndarray]):
    """Shuffled global batches of L, of which each rank takes every world_size-th sample.

    The order of an epoch depends on the `batches` stream, the cycle and the epoch alone. With
    `drop_last` all batches are full, unless there are fewer samples than one batch holds.
    """

    def __init__(
        self,
        indices: np.ndarray,
        batch_size: int,
        seeds: Seeds,
        cycle: int,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
    ):
        self.indices, self.batch_size = indices, batch_size
        self.seeds, self.cycle, self.epoch = seeds, cycle, 0
        self.rank, self.world_size, self.drop_last = rank, world_size, drop_last

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def sizes(self) -> list[int]:
        """Of the global batches of an epoch."""
        return [len(batch) for batch in self._batches(self.indices)]

    def _batches(self, order: np.ndarray) -> list[np.ndarray]:
        if self.drop_last:
            order = order[: max(len(order) // self.batch_size, 1) * self.batch_size]
        return split_batches(order, self.batch_size, self.world_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        order = self.seeds.numpy("batches", self.cycle, self.epoch).permutation(self.indices)
        for batch in self._batches(order):
            yield batch[self.rank :: self.world_size]


class PartnerBatches(Sampler[np.ndarray]):
    """Batches of anchors followed by a partner of each, drawn from its row of `neighbors`.

    Which one depends on (seed, epoch, sample index) alone.

    Args:
        neighbors: (N, k) int64 sample indices.
    """

    def __init__(self, anchors: TrainBatches, neighbors: np.ndarray):
        self.anchors, self.neighbors = anchors, neighbors

    def set_epoch(self, epoch: int) -> None:
        self.anchors.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.anchors)

    def __iter__(self) -> Iterator[np.ndarray]:
        seed = self.anchors.seeds.stream("partners", self.anchors.epoch)
        for batch in self.anchors:
            draws = uniform(seed, torch.from_numpy(batch), 1)[:, 0].numpy()
            column = (draws * self.neighbors.shape[1]).astype(np.int64)
            yield np.concatenate([batch, self.neighbors[batch, column]])


class PairBatches(Sampler[np.ndarray]):
    """Full batches of as many labeled as unlabeled samples, the labeled ones first.

    Each pool is walked through in one random order after another, so that a small one comes round
    as often as it must. A rank takes every world_size-th sample of both halves.

    Args:
        batch_size: samples of each pool in a global batch.
    """

    def __init__(
        self,
        labeled: np.ndarray,
        unlabeled: np.ndarray,
        batch_size: int,
        seeds: Seeds,
        cycle: int,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.pools, self.batch_size = (labeled, unlabeled), batch_size
        self.seeds, self.cycle, self.epoch = seeds, cycle, 0
        self.rank, self.world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return max(sum(map(len, self.pools)) // self.batch_size, 1)

    def __iter__(self) -> Iterator[np.ndarray]:
        generator = self.seeds.numpy("pairs", self.cycle, self.epoch)
        size = len(self) * self.batch_size
        orders = [_rounds(pool, size, generator) for pool in self.pools]
        for start in range(self.rank, size, self.batch_size):
            end = start - self.rank + self.batch_size
            yield np.concatenate([order[start : end : self.world_size] for order in orders])


def _rounds(pool: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """The first `size` of one permutation of `pool` after another."""
    rounds = [generator.permutation(pool) for _ in range(-(-size // len(pool)))]
    return np.concatenate(rounds)[:size]


class EvalBatches(Sampler[np.ndarray]):
    """Fixed batches of sorted indices, whole batches round-robin over ranks.

    Every sample is counted once and a batch's arithmetic is the same on one device and on eight.
    A rank without a batch of its own runs an empty one, because all ranks must step together.
    """

    def __init__(self, indices: np.ndarray, batch_size: int, rank: int = 0, world_size: int = 1):
        ordered = np.sort(indices)
        batches = [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
        self.batches = batches[rank::world_size]
        steps = -(-len(batches) // world_size)
        self.batches += [ordered[:0]] * (steps - len(self.batches))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.batches)
