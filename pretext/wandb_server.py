"""Which Weights & Biases server there is, and whether a run can go there."""

from __future__ import annotations

import contextlib
import netrc
import os
import socket
from pathlib import Path
from urllib.parse import ParseResult, urlparse


def in_sweep() -> bool:
    """Whether a sweep's agent started this process, whose one W&B run is then the agent's."""
    return "WANDB_SWEEP_ID" in os.environ


def server() -> ParseResult:
    """The address that W&B's own settings name, by environment or by `wandb login --host`."""
    import wandb

    return urlparse(wandb.setup().settings.base_url)


def logged_in() -> bool:
    """Whether there is a key for the server; its name in .netrc may have the port."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        known = netrc.netrc(os.environ.get("NETRC") or str(Path.home() / ".netrc"))
        names = (server().netloc, server().hostname or "")
        return any(known.authenticators(name) is not None for name in names)
    return False


def reachable(seconds: float) -> bool:
    """Whether the server takes a connection; a proxy, where one is set, is left to W&B."""
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    port = server().port or (80 if server().scheme == "http" else 443)
    try:
        with socket.create_connection((server().hostname, port), timeout=seconds):
            return True
    except OSError:
        return False
