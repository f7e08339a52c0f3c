"""From the prompt to the work: parse, check, run, and tell a user's mistake in one sentence."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig

from conf.cli import CommandLine, Job, expand, make_job, parse
from conf.help import help_text
from datamodules.errors import UserError, describe_os_error

Handler = Callable[[Job], None]


@dataclass(frozen=True)
class Program:
    """What an entry script runs: `handler` for each job, after `check` of all jobs of a grid.

    Both are named as `module:function` and imported late, because they import torch.
    """

    name: str
    handler: str
    check: str | None = None
    failures: list[Exception] = field(default_factory=list)

    def load(self, name: str) -> Handler:
        module, function = name.split(":")
        return getattr(import_module(module), function)

    def __call__(self, config: DictConfig) -> None:
        """One Hydra job. It always returns, so that no launcher sees a failure and, in a grid, the
        other jobs go on: there the failure is written into the run folder."""
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        hydra = HydraConfig.get()
        job = make_job(self.name, config, list(hydra.overrides.task))
        grid = hydra.mode == RunMode.MULTIRUN
        error_file = _error_file(job)
        if grid:
            print(f"--- {job.name.path or ' '.join(hydra.overrides.task)}", flush=True)
        try:
            self.load(self.handler)(job)
            if error_file:
                error_file.unlink(missing_ok=True)  # of an earlier attempt
        except Exception as error:
            self.failures.append(error)
            if grid:
                text = _sentence(error) or traceback.format_exc()
                print(f"failed: {text}", file=sys.stderr, flush=True)
                if error_file:
                    _note(error_file, text)


def launch(program: Program) -> None:
    """Runs the program on `sys.argv`: exit status 2 for a user's mistake, 1 for failed jobs."""
    try:
        line = parse(sys.argv[1:], program.name)
        if line.help:
            print(help_text(program.name))
            return
        jobs = expand(program.name, line)
        if "--cfg" in line.flags or "--info" in line.flags:
            _hydra(program, line)
            return
        _run(program, line, jobs)
    except (UserError, OSError) as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        _complain(sentence)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning turns an interrupt inside its loops into an exit with status 1.
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        print("stopped; the same command goes on from there", file=sys.stderr)
        raise SystemExit(130) from None


def _run(program: Program, line: CommandLine, jobs: list[Job]) -> None:
    if getattr(jobs[0].config, "dry_run", False):
        for job in jobs:
            program.load(program.handler)(job)
        return
    grid = line.multirun or len(jobs) > 1
    if grid:
        if any(_several_devices(job.config.trainer) for job in jobs):
            raise UserError(
                "a grid cannot use --trainer ddp or several devices: each of its runs would start "
                "the whole grid again on every device; run one command for each instead"
            )
        if program.check:
            for job in jobs:
                program.load(program.check)(job)
    _hydra(program, line)
    if grid:
        _report_failures(jobs)
    if program.failures:
        if grid:
            raise SystemExit(1)
        raise program.failures[0]


def _several_devices(trainer: Any) -> bool:
    return trainer.strategy != "auto" or trainer.devices != 1 or trainer.num_nodes > 1


def _error_file(job: Job) -> Path | None:
    """In the run's folder; reports and pretext models have none."""
    if not job.name.seed:
        return None
    return Path(job.config.runs_dir) / job.name.path / "error.txt"


def _note(file: Path, text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk must not end the other jobs
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


def _report_failures(jobs: list[Job]) -> None:
    files = [_error_file(job) for job in jobs]
    failed = [file for file in files if file and file.exists()]
    if failed:
        print(f"{len(failed)} of {len(jobs)} runs failed:", file=sys.stderr)
        for file in failed:
            print(f"  {file}: {file.read_text().strip().splitlines()[-1]}", file=sys.stderr)
        raise SystemExit(1)


def _hydra(program: Program, line: CommandLine) -> None:
    import hydra

    sys.argv = [sys.argv[0], *line.argv]
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # a bug shows its real traceback
    run: Any = hydra.main(config_path="pkg://conf", config_name=program.name, version_base="1.3")
    run(program)()


def _sentence(error: BaseException) -> str | None:
    if isinstance(error, UserError):
        return str(error)
    return describe_os_error(error) if isinstance(error, OSError) else None


def _complain(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)
