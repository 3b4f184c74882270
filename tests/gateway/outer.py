"""Worlds around `peer-relay run`: an ordinary user, and machines that forbid things. Root makes them, each in a mount
namespace of its own, so that the machine itself stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.gateway.conftest import COMMAND, LIMIT
from tests.processes import environment

USER = 65_534
PERMITTED = 'mknod -m 0666 "$TESTS_FOLDER/tun" c 10 200 && mount --bind "$TESTS_FOLDER/tun" /dev/net/tun'
ORDINARY = [
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    # This interpreter may lie in root's home: to read files is the one thing that this user may do and others may not.
    *(f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
]
"""Makes an ordinary user of what follows."""

FORBID = """
import ctypes, os, struct, sys
call, error = int(sys.argv[1]), int(sys.argv[2])
words = ((0x20, 0, 0, 0), (0x15, 0, 1, call), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000))
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in words))
program = ctypes.create_string_buffer(struct.pack("=H6xQ", len(words), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Runs a command with one system call forbidden (seccomp), as container engines and AppArmor do."""
SETNS = {"x86_64": 308, "aarch64": 268}.get(os.uname().machine, 0)

needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root: to make the worlds of other users and machines",
)


def words(world: str, *program: str) -> list[str]:
    """Return the command that runs `program` as an ordinary user, after the shell commands `world`."""
    return ["unshare", "--mount", "sh", "-c", f'{world} && exec "$@"', "sh", *ORDINARY, *COMMAND, *program]


def told(folder: str) -> dict[str, str]:
    """Return the environment of such a command. Args: folder: where its world may keep something."""
    return environment(TESTS_FOLDER=folder, HOME="/", TMPDIR="/tmp")


def outcome(folder: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run such a command to its end."""
    return subprocess.run(
        command,
        env=told(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        check=False,
    )
