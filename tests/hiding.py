"""Takes away what only Linux has, so that the portable branches run here: pytest -p tests.hiding.

TESTS_SYSTEM=darwin: as the package is on macOS; win32: as it is on Windows. The names are gone while the package is
imported, and out of its own copies of modules for good; the standard library and the tests keep theirs.

Law: it hides names and does nothing else. A test whose subject a system lacks asks peer_relay_socket.system, and is
skipped.
"""

from __future__ import annotations

import _socket
import contextlib
import importlib
import os
import pkgutil
import select
import selectors
import signal
import socket
from importlib.machinery import BuiltinImporter
from types import ModuleType
from typing import Any, Final

SYSTEM: Final = os.environ.get("TESTS_SYSTEM", "")

_NOT_DARWIN: Final = {
    **dict.fromkeys(("epoll", "EPOLLIN"), "select"),
    **dict.fromkeys(("eventfd", "eventfd_read", "eventfd_write", "EFD_CLOEXEC", "EFD_NONBLOCK"), "os"),
    **dict.fromkeys(("pipe2", "memfd_create"), "os"),
    **dict.fromkeys(("SOCK_NONBLOCK", "SOCK_CLOEXEC", "MSG_MORE", "MSG_NOSIGNAL", "MSG_CMSG_CLOEXEC"), "socket"),
    **dict.fromkeys(("AF_PACKET", "AF_NETLINK", "SO_MARK", "SO_BINDTODEVICE", "SO_PEERCRED"), "socket"),
    "IPPROTO_UDPLITE": "socket",
    "sigwaitinfo": "signal",
}
_NOT_WIN32: Final = {
    **_NOT_DARWIN,
    **dict.fromkeys(("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "getgid", "getegid"), "os"),
    **dict.fromkeys(("get_blocking", "set_blocking", "readv", "writev", "O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW"), "os"),
    **dict.fromkeys(("AF_UNIX", "MSG_DONTWAIT", "SO_REUSEPORT"), "socket"),
    **dict.fromkeys(("pthread_sigmask", "sigwait", "SIGHUP", "SIGKILL"), "signal"),
    "socketpair": "_socket",  # `socket` makes one of TCP there
}
_HIDDEN: Final = {"": {}, "darwin": _NOT_DARWIN, "win32": _NOT_WIN32}[SYSTEM]
_MODULES: Final = {
    "os": (os,),
    "select": (select,),
    "socket": (socket, _socket),
    "_socket": (_socket,),
    "signal": (signal,),
}


def _import_without() -> None:
    taken: list[tuple[ModuleType, str, Any]] = []
    fill = BuiltinImporter.exec_module

    def fill_less(module: ModuleType) -> None:
        fill(module)
        for name in _HIDDEN:
            vars(module).pop(name, None)

    selector = selectors.DefaultSelector
    for name, module_name in _HIDDEN.items():
        for module in _MODULES[module_name]:
            if hasattr(module, name):
                taken.append((module, name, getattr(module, name)))
                delattr(module, name)
    BuiltinImporter.exec_module = staticmethod(fill_less)  # type: ignore[method-assign]
    selectors.DefaultSelector = selectors.PollSelector  # type: ignore[misc]  # for select() descriptors end at 1023 here
    try:
        package = importlib.import_module("peer_relay_socket")
        for found in pkgutil.walk_packages(package.__path__, "peer_relay_socket."):
            if not {"gateway", "conformance", "__main__"} & set(found.name.split(".")):
                importlib.import_module(found.name)
    finally:
        BuiltinImporter.exec_module = fill  # type: ignore[method-assign]
        selectors.DefaultSelector = selector  # type: ignore[misc]
        for module, name, value in taken:
            setattr(module, name, value)


if SYSTEM:
    with contextlib.suppress(ImportError):  # what others import is none of this
        importlib.import_module("dns.asyncresolver")
    _import_without()
