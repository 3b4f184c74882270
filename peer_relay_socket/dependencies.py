"""Our dependencies, where a program has modules of the same names.

Lives here: loading what we need past the program's own folder. May not live here: what is loaded.

Law: a module of the program's is neither imported by us nor hidden from the program by one of ours: a script's folder
is first in sys.path, and may hold a websockets.py.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Final

_ROOTS: Final = (
    *("websockets", "cryptography", "janus", "pyee", "dns"),
    *("aiortc", "aioice", "av", "OpenSSL", "cffi", "ifaddr"),
)
_set_aside: Final[dict[str, ModuleType]] = {}
"""Ours, that the program has its own of."""


@contextlib.contextmanager
def unshadowed() -> Iterator[None]:
    """Import what is ours within: where the program's folder has a module of such a name, that folder does not count,
    and afterwards the program's own is what its imports find."""
    folder = None if sys.flags.safe_path or not sys.path else sys.path[0]
    shadowed = [] if folder is None else [root for root in _ROOTS if _holds(folder, root)]
    if folder is None or not shadowed:
        yield
        return
    theirs: dict[str, ModuleType] = {}
    for name in list(sys.modules):
        if name.partition(".")[0] in shadowed and _lies_in(sys.modules[name], folder):
            theirs[name] = sys.modules.pop(name)
    sys.modules.update(_set_aside)
    sys.path.remove(folder)
    try:
        yield
    finally:
        sys.path.insert(0, folder)
        for root in shadowed:  # what lies below stays: functions of ours may import from there later
            if root in sys.modules:
                _set_aside[root] = sys.modules.pop(root)
        sys.modules.update(theirs)


def _holds(folder: str, root: str) -> bool:
    path = os.path.join(folder, root)
    return os.path.exists(f"{path}.py") or (os.path.isdir(path) and not _is_installed(folder, root))


def _is_installed(folder: str, root: str) -> bool:
    """Return whether `folder` is where packages are installed, ours among them."""
    return any(name.lower().startswith(f"{root.lower()}-") for name in os.listdir(folder or "."))


def _lies_in(module: ModuleType, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and os.path.abspath(file).startswith(os.path.abspath(folder) + os.sep)
