"""From the prompt to the work: parse, check, run, and tell a user's mistake in one sentence."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

from omegaconf import OmegaConf

from conf.cli import CommandLine, expand, parse
from conf.help import help_text
from conf.identity import ERROR
from conf.jobs import Job
from conf.launchers import check_launcher
from conf.programs import PROGRAMS, Program
from conf.tasks import load, run_grid
from datamodules.ending import leaving
from datamodules.errors import UserError, user_message


def launch(name: str) -> None:
    """Runs a program on `sys.argv`: exit status 2 for a user's mistake, 1 for failed jobs.

    SIGTERM stops it as Ctrl-C does; Lightning alone would note it and go on after its stage.
    """
    with leaving():
        _launch(PROGRAMS[name])


def _launch(program: Program) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # PyTorch then asks Linux for large pages: arrays of features are filled with fewer faults.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        line = parse(sys.argv[1:], program.name)
        if line.help:
            _say(help_text(program.name))
            return
        check_launcher(line.launcher)
        jobs = expand(program.name, line)
        if "--cfg" in line.flags:
            _say(OmegaConf.to_yaml(OmegaConf.create(jobs[0].resolved)).rstrip())
        elif line.grid:
            _run_all(program, line, jobs)
        else:
            load(program.handler)(jobs[0])
    except (UserError, OSError) as error:
        told = user_message(error)
        if told is None:
            raise
        _complain(told)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning turns an interrupt inside its loops into an exit with status 1.
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        print("stopped; the same command goes on from there", file=sys.stderr)
        raise SystemExit(130) from None


def _run_all(program: Program, line: CommandLine, jobs: list[Job]) -> None:
    """A grid: all is checked first, then what its runs share is made, then they are started."""
    if program.check is None:
        raise UserError(f"a {program.name} is one job; leave -m and --launcher out")
    if any(_several_devices(job.config.trainer) for job in jobs):
        raise UserError(
            "a grid cannot use --trainer ddp or several devices: each of its runs would start "
            "the whole grid again on every device; run one command for each instead"
        )
    for job in jobs:
        load(program.check)(job)
    if jobs[0].config.dry_run:
        _outline(program, jobs)
        return
    if program.grid:
        shared: list[Job] = load(f"{program.grid}:missing")(jobs)
        if shared:
            made = run_grid(program.name, f"{program.grid}:make", shared, line.launcher, False)
            for outcome in filter(None, made):
                print(f"a pretext model failed: {outcome.splitlines()[-1]}", file=sys.stderr)
    _report_failures(jobs, run_grid(program.name, program.handler, jobs, line.launcher))


def _outline(program: Program, jobs: list[Job]) -> None:
    if program.grid:
        load(f"{program.grid}:outline")(jobs)
        return
    for job in jobs:
        load(program.handler)(job)


def _several_devices(trainer: Any) -> bool:
    return trainer.strategy != "auto" or trainer.devices != 1 or trainer.num_nodes > 1


def _report_failures(jobs: list[Job], outcomes: list[str]) -> None:
    failed = [(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True) if outcome]
    if failed:
        print(f"{len(failed)} of {len(jobs)} runs failed:", file=sys.stderr)
        for job, outcome in failed:
            where = job.folder / ERROR if job.folder else job
            print(f"  {where}: {outcome.splitlines()[-1]}", file=sys.stderr)
        print("the same command starts these again", file=sys.stderr)
        raise SystemExit(1)


def _say(text: str) -> None:
    """Prints for `| head` too, which may stop to read before the end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # what is left would be written, and fail, once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(told: str) -> NoReturn:
    print(f"error: {told}", file=sys.stderr)
    raise SystemExit(2)
