"""What is said while a command runs: to the terminal, and where wanted to a file."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger("initial_pools")


class _Terminal(logging.Handler):
    """Prints to whatever standard output is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


def log_to_terminal() -> None:
    """From now on everything said is printed; once a process."""
    root = logging.getLogger()
    if not any(isinstance(handler, _Terminal) for handler in root.handlers):
        root.addHandler(_Terminal())
        log.setLevel(logging.INFO)


def log_to_file(file: Path) -> logging.Handler:
    """From now on everything said is also written to `file`, until the handler is removed."""
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler
