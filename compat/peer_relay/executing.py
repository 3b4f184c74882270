"""A program that replaces itself by os.exec* is the same process, and stays the same peer.

Lives here: how an identity gets from one interpreter to the next in one process. May not live here: children, which are
peers of their own.

Law: the key goes through an anonymous file whose number the environment names together with the process that it is for;
never through the environment, and only where an interpreter comes next.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from peer_relay_socket.bridge import runtime
from peer_relay_socket.surface.peer import default_identity, take_over

_VARIABLE: Final = "PEER_RELAY_EXEC"
"""<process id>:<descriptor of the key, or -1 where there is none to hand on>."""
_PYTHON: Final = re.compile(r"python[\d.]*$")


def arrive() -> bool:
    """Take over what the program that was here before handed on. Returns: whether this process was in the network."""
    process, _, number = os.environ.pop(_VARIABLE, "").partition(":")
    if process != str(os.getpid()):
        return False
    with contextlib.suppress(OSError, ValueError):
        descriptor = int(number)
        if descriptor >= 0:
            with open(descriptor, "rb") as file:
                handed_on = file.read()
            from peer_relay_socket.identity import Identity

            take_over(Identity.from_seed(handed_on[1:], pinned=handed_on[:1] == b"\1"))
    return True


def stay_over_exec() -> None:
    """From now on have this process, if it replaces its program, hand its identity on."""
    ours = os.getpid()

    def wrap(plain: Callable[..., Any], *, has_environment: bool) -> Callable[..., Any]:
        def replace(path: Any, arguments: Any, environment: Mapping[Any, Any] | None = None) -> None:
            if not os.access(path, os.X_OK) or not (os.getpid() == ours or default_identity()):
                plain(path, arguments, *([environment] if has_environment else []))
            else:
                runtime.stop_current()  # what was sent leaves first
                with _handed_on(path) as more:
                    target = dict(os.environ if environment is None else environment)
                    os_execve(path, arguments, target | more)

        replace.__name__, replace.__doc__ = plain.__name__, plain.__doc__
        return replace

    os_execve = os.execve
    os.execve = wrap(os.execve, has_environment=True)
    os.execv = wrap(os.execv, has_environment=False)


@contextlib.contextmanager
def _handed_on(path: Any) -> Any:
    """Give what is to be in the environment. If the program comes back from within, it was not replaced."""
    descriptor = -1
    identity = default_identity()
    if identity is not None and _is_interpreter(os.fspath(path)):
        descriptor = os.memfd_create("peer-relay", 0) if hasattr(os, "memfd_create") else -1
        if descriptor >= 0:
            os.write(descriptor, bytes([identity.pinned]) + identity.seed())
            os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        yield {_VARIABLE: f"{os.getpid()}:{descriptor}"}
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _is_interpreter(path: str | bytes) -> bool:
    text = os.fsdecode(path)
    return os.path.realpath(text) == os.path.realpath(sys.executable) or bool(_PYTHON.match(os.path.basename(text)))
