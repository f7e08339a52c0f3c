"""Ratios to bare loops that do the same arithmetic; run with `pytest -m benchmark -s`.

Each ratio compares two loops in one process, in turn, so that a machine's drift hits both. Nothing
is asserted on seconds; the table goes into the README with its hardware.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from active.classifier import Classifier
from active.queries.entropy import Entropy
from conf.cli import expand, parse
from datamodules.augment import Augmenter, Normalizer
from datamodules.datamodule import PoolDataModule
from datamodules.images import Images, Part, load_images
from datamodules.pools import Pools
from datamodules.seeds import Seeds
from pretext.devices import Devices
from pretext.setup import inputs_of
from tests.conftest import ROOT

pytestmark = pytest.mark.benchmark
ROUNDS = 3
DATA = {"cifar10": 10, "mnist": 30, "digits": 200}  # training steps a round
POOL = {"cifar10": 3000, "mnist": 8000, "digits": 40_000}  # images scored a round


def make(name: str, labeled: int, unlabeled: int) -> tuple[Classifier, PoolDataModule, Devices]:
    """The real network, loader and settings of a data set, on random pixels of its shape."""
    config = expand("active", parse(["--data", name]))[0].config
    shape = {"cifar10": (3, 32, 32), "mnist": (1, 32, 32), "digits": (1, 8, 8)}[name]
    total = labeled + unlabeled
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (total, *shape), dtype=np.uint8))
    labels = rng.integers(0, 10, total)
    part = Part([str(i) for i in range(total)], labels, shape, pixels, None)
    images = Images(name, part, part, tuple("0123456789"), "random")
    pools = Pools(total, np.array([], dtype=np.int64), [np.arange(labeled)])
    devices = Devices(
        fast_precision=config.data.recipe.fast_precision, threads=config.trainer.threads
    )
    learner = config.learner
    classifier = Classifier(
        10, shape[0], learner.width, learner.stem, learner.max_pool, optimizer=learner.optimizer,
        lr=learner.lr, schedule=learner.schedule,
    )  # fmt: skip
    if devices.channels_last:
        classifier.to(memory_format=torch.channels_last)
    inputs = inputs_of(config.data, images)
    datamodule = PoolDataModule(
        images, pools, Seeds(0), augmenter=Augmenter(config.data.crop, config.data.flip),
        normalizer=Normalizer(inputs["mean"], inputs["std"]), batch_size=learner.batch_size,
        channels_last=devices.channels_last,
    )  # fmt: skip
    return classifier, datamodule, devices


def bare_batches(datamodule: PoolDataModule, batch_size: int) -> list[tuple]:
    """Batches as the loop would see them, made before the clock starts."""
    part = datamodule.images.train
    out = []
    for start in range(0, len(datamodule.pools.labeled), batch_size):
        index = np.arange(start, min(start + batch_size, len(datamodule.pools.labeled)))
        x = datamodule.normalizer(part.take(index))
        if datamodule.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        out.append((x, torch.from_numpy(part.labels[index])))
    return out


class Clock(pl.Callback):
    """Seconds of one epoch after a first that warms up."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.started


def compare(ours: Callable[[], float], bare: Callable[[], float]) -> tuple[float, float, float]:
    """Median seconds of both and the median ratio bare / ours, pair by pair."""
    pairs = [(ours(), bare()) for _ in range(ROUNDS)]
    ratio = statistics.median(b / a for a, b in pairs)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), ratio


@pytest.mark.parametrize("name", DATA)
def test_training_throughput(name: str) -> None:
    config = expand("active", parse(["--data", name]))[0].config
    batch_size, steps = config.learner.batch_size, DATA[name]
    classifier, datamodule, devices = make(name, batch_size * steps, 10)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=devices.precision == "bf16-mixed")

    def ours() -> float:
        clock = Clock()
        trainer = devices.trainer(max_epochs=2, limit_val_batches=0, callbacks=[clock])
        trainer.fit(classifier, datamodule=datamodule)
        return clock.seconds

    batches = bare_batches(datamodule, batch_size)
    optimizer = classifier_optimizer(classifier, config)

    def bare() -> float:
        classifier.train()
        for warm in (True, False):
            started = time.perf_counter()
            for x, y in batches[: 3 if warm else None]:
                with autocast:
                    loss = F.cross_entropy(classifier(x)[1], y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return time.perf_counter() - started

    a, b, ratio = compare(ours, bare)
    print(f"\n| training {name}, batch {batch_size}, {devices.precision} | "
          f"{1e3 * a / steps:.1f} | {1e3 * b / steps:.1f} | {ratio:.3f} |")  # fmt: skip


def classifier_optimizer(classifier: Classifier, config: object) -> torch.optim.Optimizer:
    from active.classifier import Classifier

    learner = config.learner  # type: ignore[attr-defined]
    make = Classifier.makers[learner.optimizer]
    return make(classifier.parameters(), lr=learner.lr, weight_decay=3e-4, fused=True)


@pytest.mark.parametrize("name", POOL)
def test_pool_scoring_throughput(name: str) -> None:
    classifier, datamodule, devices = make(name, 10, POOL[name])
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=devices.precision == "bf16-mixed")
    part, size = datamodule.images.train, datamodule.eval_batch_size
    indices = [datamodule.pools.unlabeled[i : i + size] for i in range(0, POOL[name], size)]
    inputs = [datamodule.normalizer(part.take(i)) for i in indices]
    if datamodule.channels_last:
        inputs = [x.contiguous(memory_format=torch.channels_last) for x in inputs]

    def ours() -> float:
        trainer = devices.trainer(callbacks=[Entropy()])
        started = time.perf_counter()
        trainer.predict(classifier, datamodule=datamodule, return_predictions=False)
        return time.perf_counter() - started

    def bare() -> float:
        classifier.eval()
        started = time.perf_counter()
        with torch.inference_mode(), autocast:
            for x in inputs:
                classifier(x)
        return time.perf_counter() - started

    ours(), bare()
    a, b, ratio = compare(ours, bare)
    print(f"\n| scoring {name}, {devices.precision} | {1e6 * a / POOL[name]:.1f} us | "
          f"{1e6 * b / POOL[name]:.1f} us | {ratio:.3f} |")  # fmt: skip


def test_seconds_to_the_first_step(tmp_path: Path) -> None:
    """From the prompt to the first training step on the digits, over the bare imports."""
    code = (
        "import sys, runpy, os\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from active import classifier\n"
        "classifier.Classifier.training_step = lambda *_: os._exit(7)\n"
        "sys.argv = ['run.py', '--logger', 'csv', '--runs_dir', sys.argv[1]]\n"
        f"sys.path.insert(0, {str(ROOT / 'active')!r})\n"
        f"runpy.run_path({str(ROOT / 'active/run.py')!r}, run_name='__main__')\n"
    )
    load_images_once(tmp_path)
    imports = "import torch, pytorch_lightning, torchmetrics, os; os._exit(0)"  # ours ends so too
    count = 0

    def ours() -> float:
        nonlocal count
        count += 1
        started = time.perf_counter()
        command = [sys.executable, "-c", code, f"runs{count}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True)
        assert done.returncode == 7, done.stderr
        return time.perf_counter() - started

    def bare() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", imports], check=True)
        return time.perf_counter() - started

    ours(), bare()
    a, b, ratio = compare(ours, bare)
    print(f"\n| prompt to first step, digits | {a:.2f} s | {b:.2f} s | {1 / ratio:.2f} times |")


def load_images_once(folder: Path) -> None:
    from datamodules.sources import Digits

    load_images(Digits(), folder / "artifacts")


@pytest.mark.parametrize("arguments", [["--help"], ["--query", "entropi"]])
def test_seconds_to_an_answer(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "active/run.py"), *arguments]
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run(command, cwd=tmp_path, capture_output=True)
        seconds.append(time.perf_counter() - started)
    print(f"\n| {' '.join(arguments)} | {statistics.median(seconds):.2f} s |")
