"""The interpreter's own functions, whatever a program puts in their place.

Lives here: private copies of the built-in modules behind `os`, `time` and `_thread`. May not live here: anything else.

Law: a kernel socket asks no Python function for the time or for its descriptor, so neither may ours. Tests of programs
replace such functions (unittest.mock, freezegun, pyfakefs) and event libraries do (gevent, eventlet), before or after
this package is imported, and in every module that they find them in: a private copy of the
module is in the way of none of them.
"""

from __future__ import annotations

import _socket
import socket
import sys
from importlib.machinery import BuiltinImporter
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import _thread
    import os as os
    import time as time

    thread = _thread
    stdlib_socket = socket.socket
else:

    def _own(name: str) -> SimpleNamespace:
        spec = BuiltinImporter.find_spec(name)
        module = BuiltinImporter.create_module(spec)
        BuiltinImporter.exec_module(module)
        return SimpleNamespace(**vars(module))

    os = _own("nt" if sys.platform == "win32" else "posix")
    time = _own("time")
    thread = _own("_thread")

    # The standard library's class, though another stands in its place by now.
    stdlib_socket = next(
        (kind for kind in _socket.socket.__subclasses__() if (kind.__module__, kind.__qualname__) == ("socket",) * 2),
        socket.socket,
    )
