"""How one process of several ends: well, and with none left waiting for it or cut off by it."""

from __future__ import annotations

import atexit
import gc
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

LOOK_EVERY = 0.5  # seconds
GRACE = 60.0  # seconds that the parent has for its last words
_parents: list[int] = []  # the process that this one ends with, if it does


def end_with_parent() -> None:
    """This process ends soon after the one that started it, and not before.

    Lightning ends the ranks that it launched through the Trainer that did so, which is not the one
    at work; they would wait for rank zero, on their devices, until the strategy's timeout. And
    where an error is everyone's, it kills the parent as soon as a child has ended with it, while
    the parent may be sending what its loggers hold.

    To be called before ranks are connected: at exit Lightning's end of an NCCL connection, which
    needs all of them, then comes before the wait for the parent. Once is enough.
    """
    if not _parents:
        _parents.append(os.getppid())
        threading.Thread(target=_watch, daemon=True).start()
        atexit.register(_outlive, GRACE)


@contextmanager
def leaving() -> Iterator[None]:
    """A rank's last steps: it closes the connection if all went well; an error ends it at once.

    Gloo's threads may still hold the tensors of the last broadcast, and one that lets go of them
    while Python is being torn down aborts the process; Lightning closes NCCL's connection alone.
    After an error closing it would wait for ranks that are still in the step that this one left.
    """
    try:
        yield
        _disconnect()
    except BaseException as error:
        if _connection() is None:
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        _outlive(GRACE)
        sys.stdout.flush()
        sys.stderr.flush()
        code = error.code if isinstance(error, SystemExit) else 1
        os._exit(code if isinstance(code, int) else int(code is not None))


def _connection() -> ModuleType | None:
    distributed = sys.modules.get("torch.distributed")  # an import takes seconds
    return distributed if distributed is not None and distributed.is_initialized() else None


def _disconnect() -> None:
    if distributed := _connection():
        gc.collect()  # wrapped modules in circles would keep the connection, and its threads
        distributed.destroy_process_group()


def _outlive(seconds: float) -> None:
    end = time.monotonic() + seconds
    while _parents and os.getppid() == _parents[0] and time.monotonic() < end:
        time.sleep(LOOK_EVERY)


def _watch() -> None:
    _outlive(math.inf)
    os._exit(1)
