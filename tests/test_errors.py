"""What a user can get wrong, and what a disk can: one sentence, status 2, nothing lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from active import folder as files
from tests.conftest import TINY, only_run, rows_of, run_cli, selected_of, write_images

Cli = Callable[..., object]


def refused(finished: object, *words: str) -> str:
    """Status 2, one sentence, no traceback."""
    assert finished.status == 2, finished.err
    lines = [line for line in finished.err.splitlines() if line]
    assert len(lines) == 1, finished.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "700"], ["20 + 2 cycles x budget 700 = 1420", "only 1290 can be labeled"]),
        (["--init_budget", "1291", "--cycles", "0"], ["only 1290 can be labeled"]),
        (["--budget", "-5"], ["budget must be", "-5"]),
        (["--budget", "0"], ["budget must be", "0"]),
        (["--init_budget", "0"], ["init_budget must be"]),
        (["--init_budget", "1"], ["init_budget must be at least 2"]),
        (["--init_budget", "2.5"], ["whole number"]),
        (["--cycles", "-1"], ["cycles must be 0 or more"]),
        (["--data.val", "2000"], ["data.val", "1433"]),
        (["--data.val", "-1"], ["data.val"]),
        (["--data.val", "1.5"], ["data.val must be a whole number or a fraction below 1"]),
        (["--budget", "nan"], ["budget must be a finite number"]),
        (["--learner.lr", "inf"], ["learner.lr must be a finite number"]),
        (["--data.mean", "[nan]"], ["data.mean must be a finite number"]),
        (["--data.imbalance", "0.5"], ["data.imbalance must be at least 1"]),
        (["--trainer.max_epochs", "0"], ["max_epochs must be at least 1"]),
        (["--trainer.val_checks", "0"], ["val_checks must be at least 1"]),
        (["--trainer.threads", "0"], ["threads must be at least 1"]),
        (["--trainer.precision", "8-bit"], ["trainer.precision must be one of", "8-bit"]),
        (["--trainer.precision", "bf16-true"], ["trainer.precision must be one of"]),
        (["--data.std", "[0]"], ["data.std must be positive"]),
        (["--trainer.accelerator", "gpuu"], ["trainer", "gpuu"]),
        (["--trainer.keep_checkpoints", "none"], ["must be one of last, all"]),
        (["--learner.dropout", "maybe"], ["must be one of auto, on, off"]),
        (["--learner.optimizer", "adamax"], ["must be one of sgd, adam, adamw"]),
        (["--learner.lr", "-1"], ["lr must be positive"]),
        (["--learner.batch_size", "1"], ["batch_size must be at least 2"]),
        (["--learner.stem", "5"], ["stem must be 3 or 7"]),
        (["--data.crop", "-1"], ["data.crop must be at least 0"]),
        (["--learner.width", "0"], ["learner.width must be at least 1"]),
        (["--data.workers", "-1"], ["data.workers must be at least 0"]),
        (["--data.mean", "[0.1,0.2]"], ["data.mean must have 1 numbers"]),
    ],
)
def test_wrong_values(arguments: list[str], words: list[str], cli: Cli, tmp_path: Path) -> None:
    refused(cli(*TINY, *arguments), *words)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data.eval_batch_size", "0"], ["data.eval_batch_size must be at least 1"]),
        (["--data.mean", "[0.1,0.2]"], ["data.mean must have 1 numbers"]),
        (["--data.std", "[0]"], ["data.std must be positive"]),
        (["--data.recipe.width", "0"], ["data.recipe.width must be at least 1"]),
        (["--trainer.val_checks", "-3"], ["trainer.val_checks must be at least 1"]),
        (["--trainer.keep_checkpoints", "foo"], ["must be one of last, all"]),
        (["--model.lr", "nan"], ["model.lr must be a finite number"]),
    ],
)
def test_wrong_values_of_a_pretext_model(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run_cli("pretext", "--model", "rotation", *arguments), *words)
    assert not list(tmp_path.glob("artifacts/digits/rotation*"))


@pytest.mark.parametrize("bad", ["--budget=700,20", "--budget=20,-1", "--trainer.max_epochs=3,0"])
def test_all_jobs_of_a_grid_are_checked_first(cli: Cli, tmp_path: Path, bad: str) -> None:
    refused(cli(*TINY, bad, "-m"))
    assert not (tmp_path / "runs").exists()


def test_missing_data_without_network(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def offline(*_: object, **__: object) -> None:
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    for data in ("mnist", "cifar10", "cifar100", "tiny_imagenet"):
        refused(cli("--data", data, "--data.root", "nowhere"), "nowhere", "--data.root")


def test_folders(cli: Cli, tmp_path: Path) -> None:
    command = (*TINY, "--data", "folder", "--data.root", "x", "--init_budget", "4", "--budget", "2")
    refused(cli(*command), "does not exist")
    (tmp_path / "x").mkdir()
    refused(cli(*command), "there are no images")
    write_images(tmp_path / "x/only", 4)
    refused(cli(*command), "at least two classes, found only 'only'")
    write_images(tmp_path / "x/other", 4)
    (tmp_path / "x/other/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF cut")
    refused(cli(*command), "unreadable images", "broken.jpg")
    assert not (tmp_path / "runs").exists()


def break_disk(monkeypatch: pytest.MonkeyPatch, code: int, after: int) -> None:
    """Every rename fails with `code`, from the `after`-th on."""
    calls, replace = 0, os.replace

    def failing(source: object, target: object) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(code, os.strerror(code), str(target))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", failing)


@pytest.mark.parametrize("after", range(8))
@pytest.mark.parametrize(
    ("code", "cause"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")]
)
def test_a_disk_that_fails_loses_nothing(
    cli: Cli, tmp_path: Path, code: int, cause: str, after: int
) -> None:
    command = (*TINY, "--query", "margin", "--cycles", "1", "--trainer.max_epochs", "1")
    with pytest.MonkeyPatch.context() as monkeypatch:
        break_disk(monkeypatch, code, after)
        refused(cli(*command), cause, "the same command goes on")
    if after % 4 == 0:
        assert cli(*command).status == 0
        assert len(rows_of(only_run(tmp_path))) == 2


def test_a_full_disk_while_a_row_is_written(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*TINY, "--query", "margin", "--cycles", "1")
    sync, calls = os.fsync, []

    def failing(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith(files.ROWS):
            calls.append(name)
            if len(calls) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(files.os, "fsync", failing)
    refused(cli(*command), "disk is full")
    run = only_run(tmp_path)
    assert len(rows_of(run)) == 1
    monkeypatch.setattr(files.os, "fsync", sync)
    assert cli(*command).status == 0
    assert len(rows_of(run)) == 2


def test_a_really_read_only_folder(cli: Cli, tmp_path: Path) -> None:
    """A read-only bind mount: permission bits mean nothing to root."""
    (tmp_path / "locked").mkdir()
    mounted = os.system(
        f"mount --bind {tmp_path}/locked {tmp_path}/locked 2>/dev/null && "
        f"mount -o remount,ro,bind {tmp_path}/locked 2>/dev/null"
    )
    if mounted != 0:
        pytest.skip("this system does not allow a bind mount; the injected EROFS is tested above")
    try:
        refused(cli(*TINY, "--runs_dir", "locked"), "read-only")
    finally:
        os.system(f"umount {tmp_path}/locked")


def test_a_corrupt_checkpoint(cli: Cli, tmp_path: Path) -> None:
    command = (*TINY, "--query", "margin")
    assert cli(*command).status == 0
    run = only_run(tmp_path)
    rows, chosen = rows_of(run), selected_of(run)
    file = run / "cycle_2/model.ckpt"
    whole = file.read_bytes()
    file.write_bytes(whole[:5000] + b"x" + whole[5001:])
    refused(cli(*command, "--cycles", "3"), "model.ckpt is damaged", "checksum")
    file.unlink()
    refused(cli(*command, "--cycles", "3"), "model.ckpt is missing")
    assert rows_of(run) == rows
    assert selected_of(run) == chosen
    file.write_bytes(whole)
    assert cli(*command, "--cycles", "3").status == 0
    assert rows_of(run)[:3] == rows


@pytest.mark.parametrize("damage", ["garbage", "order", "missing key", "not an object"])
def test_a_corrupt_cycles_file(cli: Cli, tmp_path: Path, damage: str) -> None:
    assert cli(*TINY).status == 0
    file = only_run(tmp_path) / "cycles.jsonl"
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    lines[1] = {"garbage": b"\x00\xff{\n", "order": lines[2], "missing key": b"{}\n",
                "not an object": b"7\n"}[damage]  # fmt: skip
    file.write_bytes(b"".join(lines))
    refused(cli(*TINY, "--cycles", "3"), "cycles.jsonl is damaged at line 2")
    assert file.read_bytes() == b"".join(lines), "what is there is left as it is"
    file.write_bytes(whole)
    assert cli(*TINY, "--cycles", "3").status == 0


@pytest.mark.parametrize("name", ["config.yaml", "cycle_1/selected.parquet"])
def test_other_corrupt_files(cli: Cli, tmp_path: Path, name: str) -> None:
    assert cli(*TINY).status == 0
    file = only_run(tmp_path) / name
    file.write_bytes(b"\x00\x01: [")
    refused(cli(*TINY, "--cycles", "3"), f"{file.relative_to(tmp_path)} is damaged")


def test_a_bad_wandb_project(cli: Cli) -> None:
    project = ("--logger", "wandb", "--logger.wandb.project", "a/b", "--cycles", "0")
    refused(cli(*TINY, *project), "W&B refused the run", "project")


def test_an_interrupt_says_how_to_go_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from active.classifier import Classifier

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "training_step", lambda *_: interrupt())
    stopped = cli(*TINY)
    assert stopped.status == 130
    assert "the same command goes on" in stopped.err


def test_a_diverged_run_says_so(cli: Cli, tmp_path: Path) -> None:
    command = (*TINY, "--query", "margin", "--learner.lr", "1e30", "--learner.optimizer", "sgd")
    refused(cli(*command), "NaN", "smaller --learner.lr")
    assert len(rows_of(only_run(tmp_path))) == 1
