"""Folders that are one user's alone, for keys, remembered relays and control sockets.

Lives here: what such a folder is, and making it. May not live here: where it is, and what is in it.

Law: a folder that is another user's, that others may write to, or that is reached by a symbolic link, is never used.
"""

from __future__ import annotations

import contextlib
import stat

from .originals import os


def check(path: str, user: int) -> None:
    """Raises: OSError, ValueError unless a folder is there, is the user's, and can be written to by no other."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o022:
        raise PermissionError(f"{path} is not a folder of this user's alone")


def is_private(path: str, user: int) -> bool:
    """Return whether `check` raises nothing."""
    try:
        check(path, user)
    except (OSError, ValueError):
        return False
    return True


def make(path: str, user: int) -> None:
    """Make a folder, with those that it is in, if it is not there; then `check` it. Raises: OSError, ValueError."""
    missing = []
    above = path
    while above and not _exists(above):
        missing.append(above)
        above = above.rpartition("/")[0]
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(each, 0o700)
    check(path, user)


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True
