"""Batches: augmentation, normalization, samplers, memory against streaming."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from datamodules import loading
from datamodules.augment import Augmenter, Normalizer, crop_flip
from datamodules.datamodule import Batch, PoolDataModule, channel_statistics
from datamodules.draws import uniform
from datamodules.images import Images, load_images
from datamodules.pools import Pools
from datamodules.pretext_data import PretextDataModule
from datamodules.samplers import EvalBatches, TrainBatches, split_batches
from datamodules.seeds import Seeds
from datamodules.sources import Digits
from datamodules.views import CropFlipViews


@pytest.mark.parametrize(("padding", "flip"), [(0, True), (4, False), (4, True), (0, False)])
def test_crop_flip_equals_a_loop_over_samples(padding: int, flip: bool) -> None:
    images = torch.randint(0, 256, (40, 3, 10, 12), dtype=torch.uint8)
    draws = uniform(0, torch.arange(40), 3)
    got = crop_flip(images, draws, padding, flip)
    flipped = 0
    for image, (row, column, turn), result in zip(images, draws.tolist(), got, strict=True):
        top, left = int(row * (2 * padding + 1)), int(column * (2 * padding + 1))
        want = F.pad(image, (padding,) * 4)[:, top : top + 10, left : left + 12]
        if flip and turn < 0.5:
            want, flipped = want.flip(2), flipped + 1
        assert torch.equal(result, want)
    assert got.dtype == torch.uint8
    assert (5 < flipped < 35) == flip


def test_augmentation_draws_every_offset_and_both_directions() -> None:
    image = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    image[0, 0, 4, 3] = 255
    seen = set()
    for seed in range(3000):
        moved = Augmenter(crop=2, flip=True)(image, torch.tensor([7]), seed)
        seen.add(tuple(moved[0, 0].nonzero()[0].tolist()))
    rows, columns = {r for r, _ in seen}, {c for _, c in seen}
    assert rows == {2, 3, 4, 5, 6}
    assert columns == {1, 2, 3, 4, 5, 6, 7}  # 3 +- 2, and its mirror image 5 +- 2


def test_normalizer_equals_torchvisions() -> None:
    from torchvision.transforms.v2.functional import normalize, to_dtype

    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    mean, std = [0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]
    want = normalize(to_dtype(images, torch.float32, scale=True), mean, std)
    assert torch.allclose(Normalizer(mean, std)(images), want, atol=1e-5)


def test_split_batches_never_leaves_one_sample() -> None:
    assert [len(b) for b in split_batches(np.arange(200), 96)] == [96, 96, 8]
    assert [len(b) for b in split_batches(np.arange(193), 96)] == [96, 97]
    assert [len(b) for b in split_batches(np.arange(195), 96, world_size=2)] == [96, 99]
    assert [len(b) for b in split_batches(np.arange(1), 96)] == [1]


def train_order(world_size: int, seed: int = 0, epoch: int = 0, cycle: int = 1) -> list[np.ndarray]:
    """Global batches, put together from the ranks' shares."""
    shares = []
    for rank in range(world_size):
        sampler = TrainBatches(np.arange(100, 156), 16, Seeds(seed), cycle, rank, world_size)
        sampler.set_epoch(epoch)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler)
    return [np.sort(np.concatenate(parts)) for parts in zip(*shares, strict=True)]


def test_ranks_share_the_same_global_batches() -> None:
    one, three = train_order(1), train_order(3)
    assert all(np.array_equal(a, b) for a, b in zip(one, three, strict=True))
    assert np.array_equal(np.sort(np.concatenate(one)), np.arange(100, 156))
    for other in (train_order(1, seed=1), train_order(1, epoch=1), train_order(1, cycle=2)):
        assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("world_size", [1, 2, 5])
@pytest.mark.parametrize("size", [0, 1, 3, 101])
def test_every_sample_is_evaluated_once(size: int, world_size: int) -> None:
    indices = np.random.default_rng(0).permutation(size)
    ranks = [list(EvalBatches(indices, 7, rank, world_size)) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1  # all ranks step together
    flat = np.concatenate([b for batches in ranks for b in batches] or [np.array([])])
    assert np.array_equal(np.sort(flat), np.arange(size))
    whole = list(EvalBatches(indices, 7))
    for rank, batches in enumerate(ranks):
        for step, batch in enumerate(batches):
            if len(batch):
                assert np.array_equal(batch, whole[step * world_size + rank])


class Recorder(pl.LightningModule):
    """Keeps the batches of every stage."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[str, list[Batch]] = {"train": [], "val": [], "test": [], "predict": []}

    def _keep(self, stage: str, batch: Batch) -> torch.Tensor:
        self.seen[stage].append(batch)
        return self.weight.sum()

    def training_step(self, batch: Batch) -> torch.Tensor:
        return self._keep("train", batch)

    def validation_step(self, batch: Batch) -> None:
        self._keep("val", batch)

    def test_step(self, batch: Batch) -> None:
        self._keep("test", batch)

    def predict_step(self, batch: Batch) -> None:
        self._keep("predict", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def make(images: Images, workers: int | None = 0) -> PoolDataModule:
    pools = Pools(len(images.train), np.arange(0, 60), [np.arange(100, 151)])
    return PoolDataModule(
        images, pools, Seeds(2), augmenter=Augmenter(2, True), batch_size=16, eval_batch_size=100,
        normalizer=Normalizer([0.3], [0.4]), workers=workers,
    )  # fmt: skip


def record(datamodule: PoolDataModule) -> dict[str, list[Batch]]:
    module = Recorder()
    quiet = {
        "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "accelerator": "cpu", "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
    }  # fmt: skip
    pl.Trainer(max_epochs=2, **quiet).fit(module, datamodule=datamodule)
    pl.Trainer(**quiet).test(module, datamodule=datamodule, verbose=False)
    pl.Trainer(**quiet).predict(module, datamodule=datamodule, return_predictions=False)
    return module.seen


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


def test_stages_see_their_pools(artifacts: Path) -> None:
    images = load_images(Digits(), artifacts)
    seen = record(make(images))

    def indices(stage: str) -> list[int]:
        return torch.cat([batch.indices for batch in seen[stage]]).tolist()

    assert sorted(indices("train")) == sorted(2 * list(range(100, 151)))
    assert indices("val") == 2 * list(range(60))
    assert indices("test") == list(range(len(images.test)))
    assert indices("predict") == [*range(60, 100), *range(151, len(images.train))]
    assert all(batch.labels is None for batch in seen["predict"])
    for stage, part in (("train", images.train), ("val", images.train), ("test", images.test)):
        labels = torch.cat([batch.labels for batch in seen[stage]]).tolist()
        assert labels == part.labels[indices(stage)].tolist()
    clean = Normalizer([0.3], [0.4])
    for stage, part in (("val", images.train), ("predict", images.train), ("test", images.test)):
        for batch in seen[stage]:
            assert torch.equal(batch.images, clean(part.take(batch.indices.numpy())))
    first, again = ({int(i): x for b in seen["train"][k : k + 4] for i, x in
                     zip(b.indices, b.images, strict=True)} for k in (0, 4))  # fmt: skip
    assert first.keys() == again.keys()
    moved = sum(not torch.equal(first[i], again[i]) for i in first)
    assert moved > 40, "the two epochs hardly differ"


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_gives_the_same_batches(
    artifacts: Path, workers: int, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of files, and of images in memory that do not fit on the device."""
    memory = record(make(load_images(Digits(), artifacts)))
    monkeypatch.setattr(loading, "resident", lambda part, device: None)
    monkeypatch.setattr(loading, "_gather", lambda *_: pytest.fail("not taken by a worker"))
    streamed = record(make(load_images(Digits(), artifacts, in_memory), workers))
    for stage, batches in memory.items():
        assert len(batches) == len(streamed[stage])
        for a, b in zip(batches, streamed[stage], strict=True):
            assert torch.equal(a.indices, b.indices)
            assert torch.equal(a.images, b.images)


def test_ranks_share_the_cores_for_their_workers(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "cores", lambda: 12)
    datamodule = make(load_images(Digits(), artifacts, in_memory=False), None)
    assert datamodule.train_dataloader().num_workers == 8
    for ranks, workers in ((1, 8), (4, 3), (16, 1)):
        datamodule.trainer = pl.Trainer(accelerator="cpu", devices=ranks, logger=False)
        assert datamodule.train_dataloader().num_workers == workers
        assert datamodule.train_dataloader().persistent_workers


def test_monitors_take_few_workers(artifacts: Path) -> None:
    """Which do not wait beside the training's own."""
    images, seeds = load_images(Digits(), artifacts, in_memory=False), Seeds(0)
    for workers in (0, 1, 8):
        datamodule = PretextDataModule(images, seeds, held_out=np.arange(9), workers=workers)
        loaders = datamodule.val_dataloader()
        assert [loader.num_workers for loader in loaders] == [min(workers, 2)] * 3
        assert not any(loader.persistent_workers for loader in loaders)
        assert datamodule.predict_dataloader().num_workers == workers


def test_views_are_drawn_anew_in_each_epoch(artifacts: Path) -> None:
    images, indices = load_images(Digits(), artifacts), torch.arange(8)
    views = CropFlipViews(0.2, True)
    datamodule = PretextDataModule(images, Seeds(0), views=views)
    pixels = images.train.take(np.arange(8))
    one, two, again = (datamodule.view(pixels, indices, epoch).images for epoch in (0, 1, 0))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_look_without_a_loader(
    artifacts: Path, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    want = make(load_images(Digits(), artifacts)).validation_sample(9, cpu)
    monkeypatch.setattr(loading, "resident", lambda part, device: None)
    got = make(load_images(Digits(), artifacts, in_memory)).validation_sample(9, cpu)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_all_datamodules_share_one_copy_on_a_device(artifacts: Path) -> None:
    device = torch.device("meta")
    images = load_images(Digits(), artifacts)
    many = [make(images), make(images), PretextDataModule(images, Seeds(0))]
    indices = torch.arange(5, device=device)
    for datamodule in many:
        assert datamodule.raw(images.train, (indices,))[0].shape == (5, 1, 8, 8)
        assert datamodule.labels(images.train, indices).device == device
    first = loading.resident(images.train, device)
    assert first is loading.resident(images.train, device) is not None
    assert loading.resident(images.test, device).shape == images.test.pixels.shape
    copy = weakref.ref(first)
    del first, images, datamodule, many
    gc.collect()
    assert copy() is None, "the copy stays when the images are gone"


def test_what_fits_is_decided_once(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("meta")
    part = load_images(Digits(), artifacts).train
    monkeypatch.setattr(loading, "_free_memory", lambda _: 2 * part.pixels.nbytes - 1)
    assert loading.resident(part, device) is None
    monkeypatch.setattr(loading, "_free_memory", lambda _: 2 * part.pixels.nbytes)
    assert loading.resident(part, device) is None
    assert loading.resident(load_images(Digits(), artifacts).train, device) is not None


def test_memory_that_torch_keeps_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 70)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 20)
    assert loading._free_memory(torch.device("cuda", 0)) == 150


def test_channel_statistics(artifacts: Path) -> None:
    part = load_images(Digits(), artifacts).train
    mean, std = channel_statistics(part)
    pixels = part.pixels.double() / 255
    assert mean == [pytest.approx(pixels.mean().item(), abs=0.01)]
    assert std == [pytest.approx(pixels.std().item(), abs=0.01)]
    object.__setattr__(part, "pixels", None)  # nothing is read again
    assert channel_statistics(part) == (mean, std)


def test_loaders_leave_the_global_generator_alone(artifacts: Path) -> None:
    """Dropout masks come from it, and must not depend on workers or streaming."""
    datamodule = make(load_images(Digits(), artifacts))
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    for _ in range(3):
        list(datamodule.train_dataloader())
    assert torch.equal(torch.rand(1), expected)
