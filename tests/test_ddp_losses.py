"""Losses and test metrics over several processes are those of all samples on one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.processes import SERVER, finish

INPUTS = {
    "shape": [1, 8, 8], "mean": [0.3], "std": [0.4], "num_train": 20, "clusters": 10, "width": 8,
    "stem": 3, "max_pool": False,
}  # fmt: skip


def small_simclr() -> Any:
    """In evaluation mode, because batch norm sees only a rank's own samples on CPUs."""
    from pretext.simclr import SimCLR

    torch.manual_seed(0)
    module = SimCLR(
        INPUTS, 0, max_epochs=1, batch_size=12, optimizer="sgd", lr=0.1, weight_decay=0.0,
        schedule="none", temperature=0.1, projection=16, crop_scale=0.5, flip=False, jitter=0.4,
        gray=0.0, views="auto", features="pooled", bank=20,
    )  # fmt: skip
    return module.eval()


def small_scan() -> Any:
    """Self-labeling of clusters that differ in size, of which some samples are sure."""
    from pretext.scan import SelfLabel

    torch.manual_seed(0)
    module = SelfLabel(
        INPUTS, 0, max_epochs=1, batch_size=12, optimizer="adamw", lr=0.1, weight_decay=0.0,
        schedule="none", threshold=0.5, clusters=3, flip=False,
    )  # fmt: skip
    module.head.weight.data.mul_(40)
    return module.eval()


MAKERS = {"simclr": small_simclr, "scan": small_scan}


def test_the_loss_is_float32_where_the_network_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from datamodules.pretext_data import ViewBatch
    from pretext.losses import nt_xent
    from pretext.simclr import SimCLR

    z = torch.nn.functional.normalize(torch.randn(24, 16), dim=1)
    monkeypatch.setattr(SimCLR, "project", lambda self, pooled: z)
    module = small_simclr()
    module._trainer = SimpleNamespace(world_size=1, global_rank=0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = module.loss(ViewBatch(both_views().flatten(0, 1), torch.arange(12)))
    assert torch.equal(loss, nt_xent(*z.chunk(2), 0.1))


def both_views() -> torch.Tensor:
    """(2, 12, C, H, W): two views of 12 images."""
    return torch.rand(2, 12, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def loss_on_rank(folder: str, rank: int, model: str) -> None:
    """One of two gloo processes: every other image; writes its loss and the averaged gradient."""
    from pytorch_lightning.strategies import DDPStrategy

    from datamodules.pretext_data import ViewBatch

    where = f"file://{folder}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    module = MAKERS[model]()
    module._trainer = SimpleNamespace(world_size=2, global_rank=rank, strategy=DDPStrategy())
    images = both_views()[:, rank::2].flatten(0, 1)
    loss = module.loss(ViewBatch(images, torch.arange(rank, 12, 2)))
    loss.backward()
    gradient = gradient_of(module)
    torch.distributed.all_reduce(gradient)
    torch.save((loss.detach(), gradient / 2), f"{folder}/rank{rank}.pt")


def small_classifier() -> Any:
    from active.classifier import Classifier

    torch.manual_seed(0)
    return Classifier(10, 1, width=8, max_pool=False).eval()


def small_rotation() -> Any:
    from pretext.rotation import Rotation

    torch.manual_seed(0)
    return Rotation(
        INPUTS, 0, max_epochs=1, batch_size=5, optimizer="sgd", lr=0.1, weight_decay=0.0,
        schedule="none", crop_scale=None, flip=False,
    ).eval()  # fmt: skip


UNEVEN = {"classifier": small_classifier, "rotation": small_rotation}


def step_gradient(module: Any, indices: np.ndarray, sampler: Any = None) -> torch.Tensor:
    """Of the second batch, here these samples; on a rank, or alone where there is no sampler."""
    from datamodules.datamodule import Batch

    module._trainer = SimpleNamespace(
        world_size=1 if sampler is None else sampler.world_size,
        train_dataloader=SimpleNamespace(sampler=sampler),
    )
    positions = torch.from_numpy(indices)
    module.training_step(Batch(both_views()[0, positions], positions % 10, positions), 1).backward()
    return gradient_of(module)


@pytest.mark.parametrize("model", UNEVEN)
@pytest.mark.parametrize("world_size", [2, 3])
def test_samples_weigh_the_same_where_ranks_have_unequal_shares(
    model: str, world_size: int
) -> None:
    """Seven samples: 4 and 3, or 3, 2 and 2."""
    from datamodules.samplers import TrainBatches
    from datamodules.seeds import Seeds

    ranks = [TrainBatches(np.arange(12), 5, Seeds(0), 0, r, world_size) for r in range(world_size)]
    shares = [list(rank)[1] for rank in ranks]
    assert sorted(map(len, shares)) == ([3, 4] if world_size == 2 else [2, 2, 3])
    gradients = [step_gradient(UNEVEN[model](), *pair) for pair in zip(shares, ranks, strict=True)]
    whole = step_gradient(UNEVEN[model](), np.concatenate(shares))
    assert whole.abs().max() > 1e-3
    assert torch.allclose(torch.stack(gradients).mean(dim=0), whole, atol=1e-6)


def gradient_of(module: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.requires_grad])


@pytest.mark.parametrize("model", MAKERS)
def test_loss_and_gradient_are_those_of_the_whole_batch(tmp_path: Path, model: str) -> None:
    from datamodules.pretext_data import ViewBatch

    ranks = [SERVER.Process(target=loss_on_rank, args=(str(tmp_path), r, model)) for r in range(2)]
    for process in ranks:
        process.start()
    assert [finish(process) for process in ranks] == [0, 0]
    losses, gradients = zip(*(torch.load(tmp_path / f"rank{r}.pt") for r in range(2)), strict=True)
    module, views = MAKERS[model](), both_views()

    def alone(images: torch.Tensor) -> torch.Tensor:
        return module.loss(ViewBatch(images.flatten(0, 1), torch.arange(images.shape[1])))

    expected = alone(views)
    expected.backward()
    gradient = gradient_of(module)
    assert sum(losses) / 2 == pytest.approx(expected.item(), abs=1e-5)
    assert torch.equal(gradients[0], gradients[1])
    assert gradient.abs().max() > 1e-2
    assert torch.allclose(gradients[0], gradient, atol=1e-5)
    halves = (alone(views[:, 0::2]) + alone(views[:, 1::2])).item() / 2
    assert abs(halves - expected.item()) > 0.02, "the other rank would not be missed"


Part = tuple[torch.Tensor, torch.Tensor]  # logits (N, C), labels (N,)
CUTS = {0: [(0, 9), (16, 20)], 1: [(9, 16), (20, 20)]}  # batches of two ranks; one is empty


def said_and_true() -> Part:
    """20 samples of 6 classes, of which one does not occur and two are guessed right often."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(5, (20,), generator=generator)
    logits = torch.randn(20, 6, generator=generator)
    logits[labels < 2, labels[labels < 2]] += 2
    return logits, labels


def metrics_of(batches: list[Part], strategy: Any) -> dict[str, Any]:
    """What a test of these batches leaves; the logits are given in place of images."""
    from active.predictor import Predictor
    from datamodules.datamodule import Batch

    class Said(Predictor):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images, images

    module = Said(6)
    module._trainer = SimpleNamespace(strategy=strategy)
    module.on_test_epoch_start()
    for logits, labels in batches:
        module.test_step(Batch(logits, labels, labels))
    module.on_test_epoch_end()
    return module.test_metrics


def metrics_on_rank(folder: str, rank: int) -> None:
    from pytorch_lightning.strategies import DDPStrategy

    where = f"file://{folder}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    logits, labels = said_and_true()
    batches = [(logits[i:j], labels[i:j]) for i, j in CUTS[rank]]
    torch.save(metrics_of(batches, DDPStrategy()), f"{folder}/rank{rank}.pt")


def test_metrics_are_those_of_torchmetrics_confusion_matrix(tmp_path: Path) -> None:
    """On one process and on two that have unequal shares."""
    from pytorch_lightning.strategies import SingleDeviceStrategy
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    logits, labels = said_and_true()
    matrix = multiclass_confusion_matrix(logits, labels, 6).double()
    recall = matrix.diagonal() / matrix.sum(dim=1)
    assert recall.isnan().tolist() == [False] * 5 + [True]
    assert len(recall.unique()) > 3
    one = metrics_of([(logits, labels)], SingleDeviceStrategy("cpu"))
    assert one["test/acc_per_class"] == recall.nan_to_num().tolist()
    assert one["test/acc"] == (matrix.trace() / 20).item()
    assert one["test/balanced_acc"] == recall[:5].mean().item()
    ranks = [SERVER.Process(target=metrics_on_rank, args=(str(tmp_path), r)) for r in range(2)]
    for process in ranks:
        process.start()
    assert [finish(process) for process in ranks] == [0, 0]
    recalls = one.pop("test/acc_per_class")
    for rank in range(2):
        two = torch.load(tmp_path / f"rank{rank}.pt")
        assert two.pop("test/acc_per_class") == recalls
        assert two == pytest.approx(one, abs=1e-6)


def statistics_on_rank(folder: str, rank: int) -> None:
    """A training step on images of its own; writes batch norm's statistics before and after."""
    from pytorch_lightning.strategies import DDPStrategy

    where = f"file://{folder}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    module = small_classifier().train()
    module._trainer = SimpleNamespace(world_size=2, global_rank=rank, strategy=DDPStrategy())
    module(both_views()[rank])
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    module.on_train_end()
    torch.save((before, dict(module.named_buffers())), f"{folder}/rank{rank}.pt")


def test_all_ranks_test_and_query_with_the_statistics_that_are_saved(tmp_path: Path) -> None:
    ranks = [SERVER.Process(target=statistics_on_rank, args=(str(tmp_path), r)) for r in range(2)]
    for process in ranks:
        process.start()
    assert [finish(process) for process in ranks] == [0, 0]
    (zero, end_of_zero), (one, end_of_one) = (
        torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)
    )
    assert any(not torch.equal(zero[name], one[name]) for name in zero)
    for name in zero:
        assert torch.equal(end_of_zero[name], zero[name]), name
        assert torch.equal(end_of_one[name], zero[name]), name
