"""An artifact is whole, verified, made once, and the same however often its making was cut off."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from conf.compose import with_floats
from tests.artifact_folder import FILES, assert_same, only, record_of, whole
from tests.conftest import run_cli
from tests.processes import SERVER, die, finish, kill_after

SIMCLR = (
    "--model", "simclr", "--model.max_epochs", "3", "--data.recipe.width", "4", "--logger", "csv",
    "--artifacts_dir", "X",
)  # fmt: skip


def kill_at(place: str) -> None:
    """Makes this process die at one place of the making of an artifact."""
    from pretext import artifacts, making
    from pretext.simclr import SimCLR

    def step(name: str, count: int, before: bool) -> None:
        setattr(SimCLR, name, kill_after(getattr(SimCLR, name), count, before))

    if place == "second epoch":
        step("training_step", 8, False)
    elif place == "scoring":
        step("predict_step", 2, True)
    elif place == "saving":  # the second checkpoint to resume from is written, but not in place
        kill_before_renaming("last.ckpt", 2)
    elif place == "checkpoint":  # written, but not yet read back
        making.load = kill_after(making.load, 1, True)
    elif place == "table":
        artifacts.write_table = kill_after(artifacts.write_table, 1, False)
    elif place == "rename":
        kill_before_renaming("simclr-", 1)
    else:
        raise AssertionError(place)


def kill_before_renaming(start: str, count: int) -> None:
    """Dies at the `count`-th rename to a name that begins with `start`."""
    replace, calls = os.replace, 0

    def wrapped(source: Any, target: Any) -> None:
        nonlocal calls
        calls += Path(target).name.startswith(start)
        if calls == count:
            die()
        replace(source, target)

    os.replace = wrapped


def make(folder: str, place: str = "", barrier: Any = None, once: str = "") -> None:
    """The command in a process of its own; what it printed goes to `<pid>.txt`.

    `barrier` is waited at before the artifact is asked for; with `once` the process dies only if
    it is the first that comes to that place.
    """
    from pretext import job, progress
    from pretext.simclr import SimCLR

    os.chdir(folder)
    progress.SAVE_EVERY = 0
    if place:
        kill_at(place)
    if barrier is not None:
        ensure = job.ensure
        job.ensure = lambda stage: (barrier.wait(60), ensure(stage))[1]
    if once:
        training_step, calls = SimCLR.training_step, 0

        def dying(self: SimCLR, *given: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 8 and not Path(once).exists():
                Path(once).touch()
                die()
            return training_step(self, *given)

        SimCLR.training_step = dying  # type: ignore[method-assign]
    finished = run_cli("pretext", *SIMCLR)
    Path(f"{os.getpid()}.txt").write_text(finished.out, encoding="utf-8")
    assert finished.status == 0, finished.err


def start(*arguments: Any) -> Any:
    process = SERVER.Process(target=make, args=arguments)
    process.start()
    return process


def printed(folder: Path, *processes: Any) -> list[str]:
    return [(folder / f"{process.pid}.txt").read_text() for process in processes]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert finish(start(str(folder))) == 0
    return only(folder)


@pytest.fixture
def copied(reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished artifact, in the current folder."""
    shutil.copytree(reference.parent.parent, tmp_path / "X")
    monkeypatch.chdir(tmp_path)
    return only(tmp_path)


def test_an_artifact_holds_what_it_should(reference: Path) -> None:
    assert {f.name for f in reference.iterdir()} == {*FILES, "record.json"}
    table, record = pq.read_table(reference / "samples.parquet"), record_of(reference)
    assert table.column_names == ["id", "index", "score", "alignment", "density"]
    assert table["index"].to_pylist() == list(range(1433))
    assert table["id"][7].as_py() == "train/00007"
    assert record["sha256"].keys() == set(FILES)
    assert record["config"]["max_epochs"] == 3
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    assert reference.name == f"simclr-{record['fingerprint']}"


@pytest.mark.parametrize(
    ("place", "last"),
    [("second epoch", 1), ("saving", 1), ("checkpoint", 2), ("scoring", 3), ("table", 3),
     ("rename", 3)],
)  # fmt: skip
def test_killed_and_started_again(reference: Path, tmp_path: Path, place: str, last: int) -> None:
    """It goes on after the `last` epoch that was saved, and no epoch is trained twice."""
    assert finish(start(str(tmp_path), place)) == -signal.SIGKILL
    assert whole(tmp_path) == []
    again = start(str(tmp_path))
    assert finish(again) == 0
    (out,) = printed(tmp_path, again)
    assert (f"goes on after epoch {last}" in out) == (last < 3)
    assert ("epoch 3/3" in out) == (last < 3)
    assert_same(only(tmp_path), reference)
    assert not list(tmp_path.glob("X/digits/.*.partial"))
    assert record_of(only(tmp_path))["history"] == record_of(reference)["history"]
    logs = [f.parent / "logs" / f.name / "curves.csv" for f in (only(tmp_path), reference)]
    assert logs[0].read_text() == logs[1].read_text()
    assert len(logs[0].read_text().splitlines()) >= 4


def test_a_whole_number_typed_for_another_is_no_other_model() -> None:
    node = {"_target_": "pretext.rotation.Rotation", "weight_decay": 0, "crop_scale": 1, "lr": 1}
    floats = with_floats(node | {"max_epochs": 3, "flip": False})
    kinds = {name: type(value) for name, value in floats.items() if name != "_target_"}
    assert kinds == {
        "weight_decay": float, "crop_scale": float, "lr": float, "max_epochs": int, "flip": bool,
    }  # fmt: skip


def test_two_processes_train_it_once(reference: Path, tmp_path: Path) -> None:
    barrier = SERVER.Barrier(2)
    both = [start(str(tmp_path), "", barrier) for _ in range(2)]
    assert [finish(process) for process in both] == [0, 0]
    outs = printed(tmp_path, *both)
    assert sorted(out.count("epoch 3/3") for out in outs) == [0, 1]
    assert sorted(out.count("waited for another process") for out in outs) == [0, 1]
    assert_same(only(tmp_path), reference)


def test_a_lock_dies_with_its_process(reference: Path, tmp_path: Path) -> None:
    """Of two processes, the one at work is killed; the one that waits goes on from there."""
    barrier = SERVER.Barrier(2)
    both = [start(str(tmp_path), "", barrier, "died") for _ in range(2)]
    assert sorted(finish(process) for process in both) == [-signal.SIGKILL, 0]
    (survivor,) = [process for process in both if process.exitcode == 0]
    (out,) = printed(tmp_path, survivor)
    assert "waited for another process" in out
    assert "goes on after epoch 1" in out
    assert_same(only(tmp_path), reference)


def test_a_finished_artifact_is_only_found(copied: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in copied.iterdir()}
    finished = run_cli("pretext", *SIMCLR)
    assert finished.status == 0
    assert f"found X/digits/{copied.name}" in finished.out
    assert "epoch" not in finished.out
    assert {f: f.stat().st_mtime_ns for f in copied.iterdir()} == before


def flip(file: Path) -> None:
    """One bit in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    *((name, flip, "is damaged") for name in FILES),
    *((name, Path.unlink, "is missing") for name in FILES),
    ("record.json", lambda file: file.write_text(file.read_text()[:50]), "cannot be read"),
    ("record.json", lambda file: file.write_bytes(b""), "cannot be read"),
    ("record.json", lambda file: file.write_bytes(b"\xff" * 20), "cannot be read"),
    ("record.json", lambda file: file.write_text("{}"), "cannot be read"),
    ("record.json", lambda file: file.write_text("[]"), "cannot be read"),
]


@pytest.mark.parametrize(("name", "damage", "told"), DAMAGES)
def test_damage_is_refused_where_training_is_forbidden(
    copied: Path, name: str, damage: Callable[[Path], object], told: str
) -> None:
    damage(copied / name)
    finished = run_cli("pretext", *SIMCLR, "--pretext.if_missing", "error")
    assert finished.status == 2
    assert f"{name} {told}" in finished.err
    assert finished.err.count("\n") == 1
    assert copied.is_dir(), "what may be worth saving was deleted"


@pytest.mark.parametrize(
    ("name", "damage", "told"), [DAMAGES[i] for i in (0, 1, 2, 5, 8)],
    ids=["weights", "table", "features", "no table", "record"],
)  # fmt: skip
def test_damage_is_mended(
    reference: Path, copied: Path, name: str, damage: Callable[[Path], object], told: str
) -> None:
    damage(copied / name)
    finished = run_cli("pretext", *SIMCLR)
    assert finished.status == 0, finished.err
    assert f"{name} {told}" in finished.out + finished.err
    assert finished.out.count("epoch 3/3") == 1
    assert_same(only(Path.cwd()), reference)


def test_a_missing_artifact_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finished = run_cli("pretext", *SIMCLR, "--pretext.if_missing", "error")
    assert finished.status == 2
    assert "is not there" in finished.err
    assert finished.err.count("\n") == 1
    assert not list(tmp_path.glob("X/digits/*simclr*"))


def test_how_often_monitors_look_changes_no_number(reference: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path)
        assert run_cli("pretext", *SIMCLR, "--trainer.val_checks", "1").status == 0
    assert_same(only(tmp_path), reference)
