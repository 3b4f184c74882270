"""Where control sockets are: one file per process, in a folder that is this user's alone.

Lives here: the folder's name, making it, checking it. May not live here: sockets.

Law: a folder that is not this user's own, or that others may write to, is never used.
"""

from __future__ import annotations

import os as environment
import stat

from ..originals import os
from ..system import getuid

SUFFIX = ".sock"


def folder() -> str:
    """Return the folder's path, whether or not it is there."""
    runtime = environment.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return f"{runtime}/peer-relay"
    names = map(environment.environ.get, ("TMPDIR", "TEMP", "TMP"))
    temporary = next((name for name in names if name), "/tmp")  # noqa: S108  # the folder in it is checked
    return f"{temporary}/peer-relay-{getuid()}"


def make() -> str:
    """Return the folder's path, made if need be.

    Raises: OSError where it cannot be made, or is not this user's alone.
    """
    path = folder()
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        check(path)
    return path


def check(path: str) -> None:
    """Raises: OSError unless `path` is a folder of this user's that others cannot write to."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{path} is not a folder of this user's alone")
