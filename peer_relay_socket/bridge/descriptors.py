"""Where the second descriptor of a socket lies: past the number of descriptors that the program may have.

Lives here: moving it there. May not live here: what it is for (readiness.py).

Law: a UDP socket costs a program one descriptor, and its numbers stay small enough for select(), as with the kernel's.
Linux refuses new descriptors past the soft limit and keeps those that are there. So the limit is lifted for two system
calls; another thread's socket() or fork() may fall between them and see it. Therefore the first descriptors stay where
they are, which no program misses. So do all where the limit cannot be lifted (the hard one is no higher, or a sandbox
forbids it).
"""

from __future__ import annotations

import sys
from typing import Final

from ..limits import DESCRIPTORS_COUNTED, DESCRIPTORS_SPARED
from ..originals import os, thread

_moving: Final = thread.allocate_lock()
"""Two threads that lift the limit would each put back what the other found. Never waited for."""


if sys.platform == "linux":
    import fcntl
    import resource

    def put_aside(fd: int) -> int:
        """Return a descriptor that is used instead of `fd` from now on, or `fd` itself."""
        if not _moving.acquire(False):
            return fd
        try:
            return _moved(fd)
        finally:
            _moving.release()

    def _moved(fd: int) -> int:
        limit = resource.RLIMIT_NOFILE
        try:
            soft, hard = resource.getrlimit(limit)
            if not 0 < soft <= DESCRIPTORS_COUNTED or 0 <= hard <= soft or fd < min(DESCRIPTORS_SPARED, soft // 16):
                return fd
            resource.setrlimit(limit, (hard, hard))
            try:
                moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, soft)
            finally:
                resource.setrlimit(limit, (soft, hard))
        except (OSError, ValueError):
            return fd
        os.close(fd)
        return moved

else:

    def put_aside(fd: int) -> int:
        return fd
