"""The processes of this user that hold peers, and what they answer.

Lives here: the asking side of control sockets. May not live here: what is shown of the answers (cli).

Law: every wait has a limit. A socket of a process that is no more is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any, Final

from ..limits import CONTROL_ASK_TIME, CONTROL_LINES
from ..system import AF_UNIX
from .folder import SUFFIX, check, folder

_READ: Final = 65536


class NoProcessError(OSError):
    """A process that cannot be asked; the text says why."""


def found() -> list[int]:
    """Return the pids of processes that have a control socket, in order."""
    path = folder()
    try:
        check(path)
        names = os.listdir(path)
    except OSError:
        return []
    pids = [name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)]
    return sorted(int(pid) for pid in pids if pid.isascii() and pid.isdecimal())


class Process:
    """A connection to a process's control socket."""

    def __init__(self, pid: int) -> None:
        """Raises: NoProcessError where nothing answers there."""
        self.pid = pid
        self._buffer = b""
        path = f"{folder()}/{pid}{SUFFIX}"
        if AF_UNIX is None:
            raise NoProcessError(f"process {pid} cannot be asked: this system has no Unix sockets")
        self._socket = socket.socket(AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(CONTROL_ASK_TIME)
        try:
            check(folder())
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            if isinstance(error, ConnectionRefusedError):
                with contextlib.suppress(OSError):
                    os.unlink(path)
            gone = isinstance(error, ConnectionRefusedError | FileNotFoundError)
            why = "holds no peer" if gone else f"cannot be asked: {error}"
            raise NoProcessError(f"process {pid} {why}") from None

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()

    def send(self, **request: object) -> None:
        """Send a request.

        Raises: NoProcessError when the process is gone.
        """
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise NoProcessError(f"process {self.pid} does not answer: {error}") from None

    def answers(self, limit: float = CONTROL_ASK_TIME) -> Iterator[dict[str, Any]]:
        """Yield the objects of one answer, each of which must come within `limit` seconds; the last has a key "end".

        Raises: NoProcessError when one does not come; ValueError for a request that was refused.
        """
        while True:
            answer = json.loads(self._line(time.monotonic() + limit))
            if answer.get("end") == "error":
                raise ValueError(answer.get("error"))
            yield answer
            if "end" in answer:
                return

    def _line(self, end: float) -> bytes:
        while b"\n" not in self._buffer:
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self._socket.recv(_READ)
            except TimeoutError:
                raise NoProcessError(f"process {self.pid} does not answer; it may be stopped") from None
            except OSError as error:
                raise NoProcessError(f"process {self.pid} does not answer: {error}") from None
            if not data or len(self._buffer) > CONTROL_LINES:
                raise NoProcessError(f"process {self.pid} has ended, is another user's, or is asked by too many")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def ask_all(pids: list[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the records of all peers of these processes, and what is to be said of those that did not answer. All are
    asked before any is waited for."""
    peers: list[dict[str, Any]] = []
    complaints: list[str] = []
    with contextlib.ExitStack() as stack:
        asked: list[Process] = []
        for pid in pids:
            try:
                process = stack.enter_context(Process(pid))
                process.send(ask="status")
                asked.append(process)
            except NoProcessError as error:
                complaints.append(str(error))
        end = time.monotonic() + CONTROL_ASK_TIME
        for process in asked:
            try:
                for answer in process.answers(max(0.01, end - time.monotonic())):
                    peers += answer["peers"]
            except (NoProcessError, ValueError) as error:
                complaints.append(str(error))
    return peers, complaints
