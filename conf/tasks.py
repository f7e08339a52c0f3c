"""Starting the runs of a grid on one of Hydra's launchers, and what became of each."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from conf.compose import composer
from conf.identity import ERROR, ROWS
from conf.jobs import Job, compose_job
from conf.launchers import LAUNCHER, LAUNCHERS, given_of
from conf.quoting import quoted
from datamodules.errors import UserError, user_message

JOBS = "jobs.json"


@dataclass(frozen=True)
class Grid:
    """What a launcher starts: `handler` (`module:function`) on the jobs of the list in `folder`.

    Each task takes the next job, because Ray starts tasks in any order, and a grid goes seed by
    seed. It always returns, so that no launcher sees a failure and the other jobs go on:
    `<place>.done` says that a job has ended, and holds what went wrong. A task whose process died
    is started again and goes on with the job that it had; `attempts` counts those of a job that
    came no further.
    """

    program: str
    handler: str
    folder: Path
    notes: bool  # whether a failure is written into the run's folder, too
    here: Path = field(default_factory=Path.cwd)  # a worker of a Ray cluster is somewhere else
    environment: dict[str, str] = field(default_factory=lambda: wanted_environment())

    def __call__(self, config: DictConfig) -> None:
        os.chdir(self.here)
        os.environ.update(self.environment)
        jobs = json.loads((self.folder / JOBS).read_text(encoding="utf-8"))
        for place in self._mine(config.task, len(jobs)):
            with composer():
                job = compose_job(self.program, jobs[place])
            done, began = self.folder / f"{place}.done", self.folder / f"{place}.began"
            with open(began, "a", encoding="utf-8") as attempts:
                attempts.write(f"{_progress(job)}\n")
            tried = began.read_text(encoding="utf-8").splitlines()
            if tried.count(tried[-1]) > config.attempts:
                failure = f"its process died {config.attempts} times"
            else:
                failure = self._run(job, f"{place + 1}/{len(jobs)}")
            done.write_text(failure, encoding="utf-8")
            if config.one:
                return

    def _mine(self, task: int, count: int) -> Iterator[int]:
        """The jobs that no other task has taken and none has done, one after another."""
        for place in range(count):
            taken = self.folder / f"{place}.taken"
            if self._take(task, taken) and not (self.folder / f"{place}.done").exists():
                yield place

    def _take(self, task: int, taken: Path) -> bool:
        """Whether the job is this task's, of which one rename says at once that it is.

        A folder that holds something is replaced by no other; not every file system has links.
        """
        if not taken.exists():
            mine = self.folder / f"task{task}"
            mine.mkdir(exist_ok=True)
            (mine / f"{task}").touch()
            try:
                os.rename(mine, taken)
            except OSError:
                if not taken.exists():
                    raise
        return (taken / f"{task}").exists()

    def _run(self, job: Job, place: str) -> str:
        """What went wrong, if anything."""
        print(f"[{place}] {job}", flush=True)
        try:
            with _log_lines(place):
                load(self.handler)(job)
        except SystemExit as stop:
            if _told_to_stop(stop):
                raise
            failure = f"it ended itself with status {stop.code}"
        except Exception as error:
            failure = user_message(error) or traceback.format_exc().strip()
        else:
            failure = ""
        if failure:
            print(f"failed: {failure}", file=sys.stderr, flush=True)
        if self.notes:
            note(job, failure)
        return failure

    def outcome(self, place: int) -> str:
        """Empty where all went well, else what went wrong."""
        done = self.folder / f"{place}.done"
        if not done.exists():
            return "its process died, or was never started"
        return done.read_text(encoding="utf-8")


def wanted_environment() -> dict[str, str]:
    """What a run reads of its user's environment; no key, because launchers write files."""
    own = ("WANDB_SERVICE", "WANDB_API_KEY")
    return {
        name: value
        for name, value in os.environ.items()
        if name == "DATA_ROOT" or (name.startswith("WANDB_") and name not in own)
    }


def _progress(job: Job) -> str:
    """How far a run is: bytes of its rows, and when an unfinished pretext model was last saved."""
    file = job.folder / ROWS if job.folder else None
    rows = file.stat().st_size if file and file.exists() else 0
    saved = Path(job.resolved["artifacts_dir"]).glob("*/.*.partial/last.ckpt")
    return f"{rows} {max((file.stat().st_mtime_ns for file in saved), default=0)}"


def _told_to_stop(stop: SystemExit) -> bool:
    """Whether not the run ended its process but Ctrl-C or, at a signal, submitit or Ray; its task
    is not done then, and goes on where these start it again."""
    if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning's way to pass it on
        return True
    *_, (frame, _) = traceback.walk_tb(stop.__traceback__)
    return str(frame.f_globals.get("__name__")).partition(".")[0] in ("ray", "submitit")


@contextlib.contextmanager
def _log_lines(place: str) -> Iterator[None]:
    """Prefixes a job's log lines with its place in the grid and drops its closing table."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(f"[{place}] %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            yield
    finally:
        logging.getLogger().removeHandler(handler)


def load(name: str) -> Callable[..., Any]:
    """The function that `module:function` names, imported only now: it may need torch."""
    module, function = name.split(":")
    return getattr(import_module(module), function)


def note(job: Job, failure: str) -> None:
    """Writes a failure into the folder of a run, which takes it away when it starts again."""
    if failure and job.folder:
        with contextlib.suppress(OSError):  # a full disk must not end the other jobs
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / ERROR).write_text(failure + "\n", encoding="utf-8")


def run_grid(
    program: str, handler: str, jobs: Sequence[Job], launcher: list[str], notes: bool = True
) -> list[str]:
    """Starts `handler` on each of `jobs` and waits for all: what went wrong in each, or nothing.

    Raises:
        UserError: the launcher could not start any.
    """
    home = Path(jobs[0].resolved.get("runs_dir", jobs[0].resolved["artifacts_dir"])).absolute()
    home.mkdir(parents=True, exist_ok=True)
    grid = Grid(program, handler, Path(tempfile.mkdtemp(prefix=".grid-", dir=home)), notes)
    overrides = json.dumps([job.overrides for job in jobs])
    (grid.folder / JOBS).write_text(overrides, encoding="utf-8")
    try:
        _start(grid, len(jobs), launcher)
    except Exception as error:  # of the launcher: jobs themselves always return
        if not any(grid.folder.glob("*.began")):
            raise UserError(f"the runs could not be started: {_first_line(error)}") from error
        print(f"the launcher stopped: {_first_line(error)}", file=sys.stderr)
        _await_slurm(grid.folder / "slurm")
    finally:
        outcomes = [grid.outcome(place) for place in range(len(jobs))]
        if not any(outcomes) or not (grid.folder / "slurm").exists():  # its jobs may go on
            shutil.rmtree(grid.folder)
    for job, outcome in zip(jobs, outcomes, strict=True):
        if notes:
            note(job, outcome)
    return outcomes


def _await_slurm(folder: Path) -> None:
    """Until the last of a Slurm array has ended: hydra-submitit gives up with the first that died,
    and the others go on."""
    submitted = sorted(folder.glob("*_submitted.pkl"))
    if submitted:
        from submitit import SlurmJob

        for file in submitted:
            SlurmJob[Any](folder, file.name.removesuffix("_submitted.pkl")).wait()


def _start(grid: Grid, count: int, launcher: list[str]) -> None:
    import hydra

    given = given_of(launcher)
    kind, asked = LAUNCHERS[given.get(LAUNCHER, "basic")], given.get("processes", "null")
    most = int(asked) if asked.isdigit() and not kind.one else kind.tasks
    tasks = min(count, most)
    words = [
        f"task=range({tasks})",
        f"one={kind.one and tasks == count}",
        f"folder={quoted(str(grid.folder))}",
        *launcher,
    ]
    before, sys.argv = sys.argv, [sys.argv[0], *words, "--multirun"]  # all that Hydra reads
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # a bug shows its real traceback
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # two runs may well say the same
    os.environ.setdefault("RAY_COLOR_PREFIX", str(int(sys.stdout.isatty())))
    os.environ.setdefault("RAY_worker_niceness", "0")  # theirs is 15; `nice` is for the user
    start: Any = hydra.main(config_path="pkg://conf", config_name="grid", version_base="1.3")
    try:
        start(grid)()
    finally:
        sys.argv = before


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
