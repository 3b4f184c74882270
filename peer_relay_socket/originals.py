"""The interpreter's own functions, whatever a program puts in their place.

Lives here: private copies of the built-in modules behind `os`, `time` and `_thread`, and of `select` and `selectors`.
May not live here: anything else.

Law: a kernel socket asks no Python function for the time or for its descriptor, so neither may ours. Tests of programs
replace such functions (unittest.mock, freezegun, pyfakefs) and event libraries do (gevent, eventlet), before or after
this package is imported, and in every module that they find them in: a private copy of the
module is in the way of none of them.
"""

from __future__ import annotations

import _socket
import socket
import sys
from importlib.machinery import BuiltinImporter, PathFinder
from importlib.util import module_from_spec
from types import BuiltinFunctionType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import _thread
    import os as os
    import select as select
    import selectors as selectors
    import time as time

    thread = _thread
    stdlib_socket = socket.socket
else:

    def _own(name: str) -> SimpleNamespace:
        spec = BuiltinImporter.find_spec(name)
        module = BuiltinImporter.create_module(spec)
        BuiltinImporter.exec_module(module)
        return SimpleNamespace(**vars(module))

    def _fresh(name: str) -> ModuleType:
        spec = BuiltinImporter.find_spec(name) or PathFinder.find_spec(name)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def _unpatched() -> tuple[ModuleType, ModuleType]:
        import select
        import selectors

        if isinstance(select.select, BuiltinFunctionType) and selectors.DefaultSelector.__module__ == "selectors":
            return select, selectors
        patched, sys.modules["select"] = select, _fresh("select")
        try:
            return sys.modules["select"], _fresh("selectors")
        finally:
            sys.modules["select"] = patched

    select, selectors = (SimpleNamespace(**vars(module)) for module in _unpatched())
    os = _own("nt" if sys.platform == "win32" else "posix")
    time = _own("time")
    thread = _own("_thread")

    # The standard library's class, though another stands in its place by now.
    stdlib_socket = next(
        (kind for kind in _socket.socket.__subclasses__() if (kind.__module__, kind.__qualname__) == ("socket",) * 2),
        socket.socket,
    )


def _main_thread() -> int:
    threading = sys.modules.get("threading")  # where nothing has loaded it there is one thread, and it loads us
    if threading is None or threading.get_ident() != thread.get_ident():
        return thread.get_ident()  # an event library takes its identity for a greenlet's, and is loaded by it
    return threading.main_thread().ident or 0


MAIN_THREAD: list[int] = [_main_thread()]
"""One element: the thread in which signal handlers run, as `thread.get_ident` has it."""


def _forked() -> None:
    MAIN_THREAD[0] = thread.get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
