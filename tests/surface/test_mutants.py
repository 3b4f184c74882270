"""Prove the differential suite: each way in which userland UDP sockets have been wrong is planted, and it goes red."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "peer_relay_socket"
SUITE = [Path(__file__).with_name(f"test_differential{part}.py") for part in ("_groups", "")]

MUTANTS = {  # what is wrong: (file, right, wrong)
    "nothing": ("surface/receiving.py", "if len(data) <= room:", "if len(data) <= room:"),
    "MSG_PEEK ignored": ("surface/receiving.py", "if flags & _MSG_PEEK:", "if False:"),
    "bufsize exceeded": ("surface/receiving.py", "if len(data) <= room:", "if True:"),
    "bufsize exceeded on the short way": ("surface/receiving.py", "if len(item[0]) <= bufsize else", "if True else"),
    "buffer tail wiped": (
        "surface/receiving.py",
        "    return done\n",
        "    for view in buffers:\n        view[done:] = bytes(len(view[done:]))\n    return done\n",
    ),
    "sendto returns None": (
        "surface/sending.py",
        "address)\n        return len(payload)\n\n    def send(",
        "address)\n        return None\n\n    def send(",
    ),
    "ECONNREFUSED never reported": ("bridge/ports.py", "sender.inbox.fail(errno.ECONNREFUSED)", "pass"),
    "ECONNREFUSED reported twice": ("bridge/inbox.py", "error, self.error = self.error, 0", "error = self.error"),
    "bind ignores the port": ("bridge/ports.py", "        if port == 0:\n", "        if True:\n"),
    "zero-length datagrams dropped": (
        "bridge/inbox.py",
        "            if self._waiting_size + size > self.bound:\n",
        "            datagrams = [*filter(None, datagrams)]\n            if self._waiting_size + size > self.bound:\n",
    ),
    "dup not shared": ("bridge/endpoint.py", "return _by_inode.get((status.st_dev, status.st_ino))", "return None"),
    "truncation not told": ("surface/receiving.py", "told | _MSG_TRUNC", "told"),
    "peer filter forgotten": ("bridge/ports.py", "if endpoint.peer_port != source_port or", "if False and"),
    "groups heard by all": (
        "bridge/ports.py",
        "        if membership is not None:\n            return membership.admits",
        "        if True:\n            return membership is None or membership.admits",
    ),
    "sources of a group ignored": ("bridge/endpoint.py", "(source in self.sources) == self.only", "True"),
    "SO_BROADCAST not wanted": ("surface/sending.py", "and not endpoint.broadcast:", "and False:"),
    "the group not told": ("surface/ancillary.py", "        sent_to = ipaddress.ip_address(group)\n", "        pass\n"),
    "readable for ever": ("bridge/readiness.py", "while self.rung:", "while False:"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_suite_goes_red(name, tmp_path):
    file, right, wrong = MUTANTS[name]
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path / PACKAGE.name / file
    source = target.read_text()
    assert right in source, "the mutant no longer fits the source"
    target.write_text(source.replace(right, wrong))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        *map(str, SUITE),
    ]
    run = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == (0 if name == "nothing" else 1), run.stdout[-2000:]
