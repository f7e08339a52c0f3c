"""The one exception for what a user can get wrong."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can mend, told in one plain sentence without a traceback."""


def unknown(what: str, name: str, allowed: Iterable[str]) -> UserError:
    """`unknown query 'entropi': did you mean 'entropy'? Allowed: ...` with the nearest match.

    >>> print(unknown("query", "margn", ["entropy", "margin"]))
    unknown query 'margn': did you mean 'margin'? Allowed: entropy, margin
    """
    names = sorted(allowed)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else "."
    return UserError(f"unknown {what} {name!r}{hint} Allowed: {', '.join(names)}")


_OS_CAUSES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission was denied",
    errno.EPERM: "permission was denied",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "links lead in a circle",
    errno.ENOTDIR: "a file is in the way",
    errno.EEXIST: "a file is in the way",
    errno.ENOSYS: "the file system has no locks",
    errno.ENOLCK: "the file system has no locks",
    errno.EOPNOTSUPP: "the file system has no locks",
}


def user_message(error: BaseException) -> str | None:
    """What to tell a user about a failure that they can mend; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if not isinstance(error, OSError) or error.errno not in _OS_CAUSES:
        return None
    where = f" at {error.filename}" if error.filename else ""
    return (
        f"could not write: {_OS_CAUSES[error.errno]}{where}; "
        "nothing finished is lost, and the same command goes on from there"
    )
