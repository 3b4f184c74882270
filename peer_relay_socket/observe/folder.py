"""Where control sockets are: one file per process, in a folder that is this user's alone (private_folder.py)."""

from __future__ import annotations

import contextlib
import os as environment

from .. import private_folder
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
    with contextlib.suppress(FileExistsError):  # what it is in is the system's to make
        os.mkdir(path, 0o700)
    check(path)
    return path


def check(path: str) -> None:
    """Raises: OSError unless `path` is a folder of this user's that others cannot write to."""
    private_folder.check(path, getuid())
