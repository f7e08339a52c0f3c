"""Entry: one active-learning run, or a grid of them. `python active/run.py --help`."""

import sys
from pathlib import Path

# Python puts this file's folder on the path; the project's root belongs there instead.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from conf.launch import launch  # noqa: E402

if __name__ == "__main__":
    launch("active")
