"""Features of all ranks, gathered batch by batch on rank zero."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from pretext.collect import rows_on_zero
from tests.processes import SERVER, finish

SAMPLES, BATCH, WIDTH = 23, 4, 6  # six batches: three for each rank, one of them short


def all_features() -> torch.Tensor:
    return torch.randn(SAMPLES, WIDTH, generator=torch.Generator().manual_seed(0))


def collect_on_rank(folder: str, rank: int, count: int) -> None:
    """One of two gloo processes, with every other batch of every third sample index."""
    import pytorch_lightning as pl
    from pytorch_lightning.strategies import DDPStrategy

    from datamodules.samplers import EvalBatches
    from pretext import collect
    from pretext.module import Scored

    where = f"file://{folder}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    module: Any = pl.LightningModule()
    module._trainer = SimpleNamespace(world_size=2, global_rank=rank, strategy=DDPStrategy())
    rows: list[int] = []
    plain = collect.gather_rows

    def gather(module: Any, values: torch.Tensor) -> torch.Tensor:
        found = plain(module, values)
        rows.append(len(found) if found.ndim > 1 else 0)
        return found

    collect.gather_rows = gather
    callback = collect.Collect()
    for batch in EvalBatches(np.arange(count), BATCH, rank, 2):
        indices = torch.from_numpy(batch)
        scored = Scored(3 * indices, {"score": indices.float()}, all_features()[indices])
        callback.on_predict_batch_end(module.trainer, module, scored, None, 0)
    callback.on_predict_epoch_end(module.trainer, module)
    found = callback.columns["score"], callback.features, max(rows)
    torch.save(found, f"{folder}/rank{rank}.pt")


def collected(folder: Path, count: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    ranks = [SERVER.Process(target=collect_on_rank, args=(str(folder), r, count)) for r in range(2)]
    for process in ranks:
        process.start()
    assert [finish(process) for process in ranks] == [0, 0]
    return [torch.load(folder / f"rank{r}.pt", weights_only=False) for r in range(2)]


def test_rank_zero_alone_has_the_features(tmp_path: Path) -> None:
    """In order, each once; no device ever holds more of them than a batch of each rank."""
    zero, one = collected(tmp_path, SAMPLES)
    for scores, _, most in (zero, one):
        assert scores.tolist() == list(range(SAMPLES))
        assert most == 2 * BATCH
    assert np.array_equal(zero[1], all_features().numpy())
    assert one[1].shape == (0, WIDTH)


def test_a_rank_without_samples(tmp_path: Path) -> None:
    zero, one = collected(tmp_path, 3)
    assert np.array_equal(zero[1], all_features()[:3].numpy())
    assert one[0].tolist() == [0, 1, 2]


def on_zero(folder: str, rank: int, counts: list[int]) -> None:
    """One of two gloo processes; its rows hold rank and number."""
    import pytorch_lightning as pl
    from pytorch_lightning.strategies import DDPStrategy

    from pretext import collect

    where = f"file://{folder}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    module: Any = pl.LightningModule()
    module._trainer = SimpleNamespace(world_size=2, global_rank=rank, strategy=DDPStrategy())
    gathered, largest = module.all_gather, [0]

    def all_gather(values: torch.Tensor) -> torch.Tensor:
        largest[0] = max(largest[0], values.numel())
        return gathered(values)

    module.all_gather = all_gather
    collect.PART = 2 * 3 * 8  # two rows of three
    rows = 100.0 * rank + torch.arange(counts[rank]).double()[:, None].expand(-1, 3).contiguous()
    places = torch.arange(sum(counts)).flip(0)
    found = collect.rows_on_zero(module, rows), collect.rows_on_zero(module, rows, places)
    torch.save((*found, largest[0]), f"{folder}/rank{rank}.pt")


@pytest.mark.parametrize("counts", [[5, 3], [0, 4], [3, 0], [2, 2]])
def test_rows_come_to_rank_zero_in_parts(counts: list[int], tmp_path: Path) -> None:
    args = [(str(tmp_path), rank, counts) for rank in range(2)]
    ranks = [SERVER.Process(target=on_zero, args=given) for given in args]
    for process in ranks:
        process.start()
    assert [finish(process) for process in ranks] == [0, 0]
    first, placed, largest = torch.load(tmp_path / "rank0.pt")
    expected = [*range(counts[0]), *range(100, 100 + counts[1])]
    assert first[:, 0].tolist() == expected
    assert placed[:, 2].tolist() == expected[::-1]
    none, nothing, others = torch.load(tmp_path / "rank1.pt")
    assert none.shape == nothing.shape == (0, 3)
    assert max(largest, others) == 2 * 3


def test_rows_of_one_device_go_to_their_places() -> None:
    module, rows = pl.LightningModule(), torch.tensor([[3.0], [1.0], [2.0]])
    assert rows_on_zero(module, rows) is rows
    placed = rows_on_zero(module, rows, torch.tensor([2, 0, 1]))
    assert placed[:, 0].tolist() == [1, 2, 3]
