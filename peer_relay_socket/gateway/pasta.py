"""The machine's own TCP for programs in a namespace (`run --tcp real`): pasta(1) carries it, and nothing else.

Lives here: pasta as a process. May not live here: the routes, by which nothing but TCP goes its way (native.py).

Law: pasta is told to carry no UDP, so that even a program that binds itself to its device sends none there.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from ..limits import PASTA_TIME

if sys.platform == "linux":  # mypy asks for this, too
    from .namespace import ForbiddenError

assert sys.platform == "linux"

DEVICE: Final = "real0"
_WORDS: Final = (
    *("--foreground", "--quiet", "--config-net", "--ns-ifname", DEVICE, "--no-udp", "--no-icmp", "--no-dhcp"),
    *("--no-dhcpv6", "--tcp-ports", "auto", "--tcp-ns", "auto", "--udp-ports", "none", "--udp-ns", "none"),
    # Of RFC 2544, so that every address of the machine is reached through pasta, and none is the namespace's own.
    *("--address", "198.18.0.2", "--netmask", "255.255.255.252", "--gateway", "198.18.0.1"),
)


def find() -> str:
    """Return where pasta is. Raises: ForbiddenError."""
    found = shutil.which("pasta")
    if found is None:
        raise ForbiddenError("--tcp real needs `pasta` (Debian, Ubuntu and Fedora: the package passt)")
    return found


class Pasta:
    """One pasta, for the namespaces of one process. It ends with us."""

    def __init__(self, program: str, pid: int) -> None:
        """Start it, and wait until its device is configured. Raises: ForbiddenError."""
        libc = ctypes.CDLL(None)
        user = ["--runas", "0"] if os.geteuid() == 0 else []  # or it becomes nobody, to whom our namespaces are closed
        paths = ["--userns", f"/proc/{pid}/ns/user", "--netns", f"/proc/{pid}/ns/net"]
        with tempfile.TemporaryFile("w+") as output:
            self._process = subprocess.Popen(
                [program, *_WORDS, *user, *paths],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=lambda: libc.prctl(1, int(signal.SIGKILL), 0, 0, 0),  # no thread runs yet
            )
            end = time.monotonic() + PASTA_TIME
            while not self._configured(pid):
                if self._process.poll() is not None or time.monotonic() > end:
                    self.end()
                    output.seek(0)
                    lines = [line for line in output.read().splitlines() if "syslog" not in line]
                    raise ForbiddenError(f"--tcp real: pasta: {(lines or ['did not start'])[-1]}")
                time.sleep(0.005)

    @staticmethod
    def _configured(pid: int) -> bool:
        return any(DEVICE in Path(f"/proc/{pid}/net/{name}").read_text() for name in ("route", "ipv6_route"))

    def end(self) -> None:
        """End it. Idempotent."""
        self._process.kill()
        self._process.wait()
