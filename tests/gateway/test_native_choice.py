"""Which programs `peer-relay run` puts into a namespace, what it refuses, and what it says where that is forbidden."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from peer_relay_socket.cli.native import is_native, locate
from tests.gateway import outer
from tests.gateway.conftest import COMMAND, LIMIT, Run
from tests.processes import environment


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        (["--tcp", "overlay", "--tcp-allow", "http", "true"], "'http' is not a port"),
        (["--tcp-allow", "80", "true"], "--tcp-allow is for --tcp overlay"),
        (["--rate", "0", "true"], "--rate 0: not between"),
        (["--tcp", "both", "true"], "invalid choice: 'both'"),
        (["--dns", "host", "-m", "this"], "--dns is for programs in a namespace: add --native"),
        (["--bootstrap", "http://x", "true"], "http://x"),
        (["--native"], "which program?"),
    ],
)
def test_bad_input_is_refused_in_one_line(run: Run, program: list[str], complaint: str) -> None:
    done = run(*program)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("peer-relay run: ")
    assert complaint in done.stderr


@pytest.mark.parametrize(
    ("before", "complaint"),
    [
        (
            "mount -t tmpfs none /dev/net",
            "/dev/net/tun: No such file or directory: in a container, `--device /dev/net/tun`",
        ),
        (
            "mount -t tmpfs none /dev/net && cd /dev/net && mknod tun c 10 200 && chown 65534 tun && chmod 600 tun",
            "/dev/net/tun: Permission denied: `chmod 666 /dev/net/tun`",
        ),
        ("mount --bind /dev/null /dev/net/tun", "/dev/net/tun: Inappropriate ioctl for device"),
        ("echo 0 > /proc/sys/user/max_user_namespaces", "`sysctl -w user.max_user_namespaces=10000`"),
    ],
)
@pytest.mark.skipif(not outer.SETNS, reason="needs a known number of a system call")
def test_machine_that_forbids_it_is_told_the_way_out_in_one_line(node: str, before: str, complaint: str) -> None:
    """Without setns(2) a pair of Ethernet devices does not stand in for the TUN device."""
    kind = "-Urm" if "sysctl" in complaint else "-m"
    words = ["python3", "-c", outer.FORBID, str(outer.SETNS), "1", *COMMAND, "run", "--bootstrap", node, "true"]
    inside = f"({before}) || exit 77; exec {shlex.join(words)}"
    done = subprocess.run(
        ["unshare", kind, "sh", "-c", inside], env=environment(), capture_output=True, text=True, timeout=LIMIT,
        check=False,
    )  # fmt: skip
    if done.returncode in (1, 77):
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert complaint in done.stderr
    assert "`peer-relay forward`, `expose` and `socks` need none of this" in done.stderr


@pytest.mark.parametrize(
    ("content", "executable", "native"),
    [
        (b"\x7fELF\x02", True, True),
        (b"\x7fELF\x02", False, False),
        (b"#!/bin/sh\n", True, True),
        (b"#!/usr/bin/env node\n", True, True),
        (b"#!/usr/bin/env -S deno run\n", True, True),
        (b"#!/usr/bin/python3\n", True, False),
        (b"#! /usr/bin/env python3.12\n", True, False),
        (b"#!/usr/bin/env -S python3 -u\n", True, False),
        (b"#!/x/.venv/bin/pypy3\n", True, False),
        (b"#!\n", True, False),
        (b"print(1)\n", True, False),
        (b"", True, False),
    ],
)
def test_program_is_native_by_its_first_bytes(tmp_path: Path, content: bytes, executable: bool, native: bool) -> None:
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755 if executable else 0o644)
    assert is_native(str(program)) is native
    assert not is_native(str(tmp_path))
    assert not is_native(str(tmp_path / "absent"))


def test_existing_path_goes_before_the_search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shutil.which("true")
    monkeypatch.chdir(tmp_path)
    assert locate(["true", "-x"]) == [found, "-x"]
    (tmp_path / "true").write_text("print(1)\n")
    assert locate(["true", "-x"]) == ["true", "-x"]
    assert locate(["./absent"]) == ["./absent"]
    assert locate(["absent-program"]) == ["absent-program"]


@pytest.mark.slow
def test_python_console_script_on_the_search_path_runs_as_python(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "greet"
    script.write_text("#!/usr/bin/env python3\nimport socket, sys\nprint(sys.argv[1:], 'peer_relay' in sys.modules)\n")
    script.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert run("greet", "a", PATH=path).stdout == "['a'] True\n"
    assert run("greet", "a", options=("--native",), PATH=path).stdout == "['a'] False\n"
    assert run("-m", "platform", options=("--native",)).stdout.startswith("Linux")
