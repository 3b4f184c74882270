"""Names that not every system has, and what stands for each where it is missing.

Lives here: one value or function per name, looked up once at import. May not live here: what a room does without it.

Law: nothing else in the package names what only Linux has, but files that begin with `assert sys.platform`. The table
of what each system has stands in compat/README.md; tests/hiding.py takes the names away.
"""

from __future__ import annotations

import _socket
import signal
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from .originals import os as _os
from .originals import select as _select

LINUX: Final = sys.platform.startswith("linux")
"""Whether the numbers of socket options and of ioctls are Linux's."""


def without_gil(module: Any, gil: bool) -> Any:
    """Return `module`, or where threads run without a GIL a copy without epoll.

    With epoll a caller's thread does the loop's reading, and Python code there relies on the GIL; peer_relay_socket's
    README lists where. Without, the relay thread reads everything.
    """
    if gil:
        return module
    return SimpleNamespace(**{name: value for name, value in vars(module).items() if "epoll" not in name.lower()})


os: Final[Any] = _os
select: Final[Any] = without_gil(_select, getattr(sys, "_is_gil_enabled", lambda: True)())
"""The interpreter's own modules, for what asks `hasattr` before it uses a name that only Linux has."""
readv: Final[Any] = getattr(_os, "readv", None)

AF_UNIX: Final[int | None] = getattr(_socket, "AF_UNIX", None)
"""None (Windows): sockets are told apart from files there, and pairs are made of UDP on loopback."""
socketpair: Final[Any] = getattr(_socket, "socketpair", None)
MSG_DONTWAIT: Final[int] = getattr(_socket, "MSG_DONTWAIT", 0x40)
"""Overlay sockets know it everywhere."""
KERNEL_DONTWAIT: Final[int] = getattr(_socket, "MSG_DONTWAIT", 0)
"""The same for the kernel's sockets; 0 where these cannot be told: then one is read when it is known to have something.
"""
MSG_NOSIGNAL: Final[int] = getattr(_socket, "MSG_NOSIGNAL", 0)
"""0 is as good: Python ignores SIGPIPE."""
MSG_MORE: Final[int] = getattr(_socket, "MSG_MORE", 0)
MSG_CMSG_CLOEXEC: Final[int] = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)
SOCK_NONBLOCK: Final[int] = getattr(_socket, "SOCK_NONBLOCK", 0)
SOCK_CLOEXEC: Final[int] = getattr(_socket, "SOCK_CLOEXEC", 0)
IPPROTO_UDPLITE: Final[int] = getattr(_socket, "IPPROTO_UDPLITE", 136)
O_CLOEXEC: Final[int] = getattr(_os, "O_CLOEXEC", 0)
O_NOFOLLOW: Final[int] = getattr(_os, "O_NOFOLLOW", 0)
O_NONBLOCK: Final[int] = getattr(_os, "O_NONBLOCK", 0)
SIGKILL: Final[signal.Signals] = getattr(signal, "SIGKILL", signal.SIGTERM)
"""On Windows os.kill ends the process with either."""

get_blocking: Final[Callable[[int], bool] | None] = getattr(_os, "get_blocking", None)
"""None where a descriptor's O_NONBLOCK cannot be asked for: then the socket object's timeout is all there is."""


def _nobody() -> int:
    return 0


getuid: Final[Callable[[], int]] = getattr(_os, "getuid", _nobody)
"""0 where users have no numbers, as in os.stat's answers there."""
geteuid: Final[Callable[[], int]] = getattr(_os, "geteuid", _nobody)
getgid: Final[Callable[[], int]] = getattr(_os, "getgid", _nobody)
getegid: Final[Callable[[], int]] = getattr(_os, "getegid", _nobody)
