"""Processes of their own, forked from a clean server in milliseconds, and killed on purpose."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import wraps

SERVER = multiprocessing.get_context("forkserver")
# All that any test's process imports: a second call would replace this list for every test.
SERVER.set_forkserver_preload(
    ["tests.conftest", "active.job", "pretext.job", "pretext.scan", "pretext.simclr"]
)


def die(how: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), how)


def kill_after(function: Callable, count: int, before: bool, how: int = signal.SIGKILL) -> Callable:
    """`function`, whose `count`-th call is the process's last."""
    calls = 0

    @wraps(function)  # Lightning looks at a step's arguments
    def wrapped(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == count and before:
            die(how)
        result = function(*arguments, **named)
        if calls == count:
            die(how)
        return result

    return wrapped


def finish(process: multiprocessing.process.BaseProcess, timeout: float = 120) -> int:
    """The exit status of a process that must end."""
    process.join(timeout)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode
