"""What processes of tests start with, and what they say."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, AnyStr

from tests.patience import LIMIT


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with no settings of peers but those given."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PEER_RELAY_")} | settings


@contextmanager
def killed_at_end(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """Kill a process at the end of the block: a test that has failed would wait for it for ever."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_line(pipe: IO[Any] | None, limit: float = LIMIT) -> str:
    """Return the next line that a process writes to a pipe; what is left, or "", where it has closed the pipe.

    Read past the pipe's buffer, byte by byte: of a line that waits in a buffer, select says nothing.

    Raises: TimeoutError: there is no whole line within `limit` seconds.
    """
    assert pipe is not None
    line, end = b"", time.monotonic() + limit
    while not line.endswith(b"\n"):
        if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            raise TimeoutError(f"no line within {limit:.0f} s, only {line!r}")
        byte = os.read(pipe.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode()


def line_with(text: str, pipe: IO[Any] | None, limit: float = LIMIT) -> str:
    """Return the next line that has `text` in it.

    Raises: TimeoutError: it does not come within `limit` seconds. EOFError: the process has closed the pipe before.
    """
    end = time.monotonic() + limit
    while text not in (line := read_line(pipe, max(0.0, end - time.monotonic()))):
        if not line:
            raise EOFError(f"nothing more comes, no {text!r}")
    return line
