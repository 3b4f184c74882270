"""Where a machine forbids what `peer-relay run PROGRAM` needs: one line names the way out, and the exit status is 2."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.gateway import outer

pytestmark = [pytest.mark.slow, outer.needs_root]

SETTING = "mount -t tmpfs none /proc/sys/kernel && echo 1 > /proc/sys/kernel/"
"""A switch that this kernel may not have, as another one has it."""
UNSHARE, MOUNT = {"x86_64": (272, 165), "aarch64": (97, 40)}.get(os.uname().machine, (0, 0))
EPERM, EACCES = 1, 13


def forbidding(call: int, error: int, command: list[str]) -> list[str]:
    at = command.index("setpriv")
    return [*command[:at], "python3", "-c", outer.FORBID, str(call), str(error), *command[at:]]


def refusal(folder: Path, command: list[str]) -> str:
    """What the one line says."""
    done: subprocess.CompletedProcess[str] = outer.outcome(str(folder), command)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("peer-relay run: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip().endswith("`peer-relay forward`, `expose` and `socks` need none of this")
    return done.stderr


@pytest.mark.skipif(not UNSHARE, reason="needs a known number of a system call")
def test_container_that_forbids_unshare_is_told(tmp_path: Path) -> None:
    told = refusal(tmp_path, forbidding(UNSHARE, EPERM, outer.words(outer.PERMITTED, "run", "true")))
    assert "no user namespaces here (unshare: Operation not permitted)" in told
    assert "in a container, start it with" in told


@pytest.mark.skipif(not MOUNT, reason="needs a known number of a system call")
def test_restriction_of_apparmor_is_told(tmp_path: Path) -> None:
    """Ubuntu since 24.04 lets anybody make a user namespace, in which then nothing is allowed."""
    world = f"{outer.PERMITTED} && {SETTING}apparmor_restrict_unprivileged_userns"
    told = refusal(tmp_path, forbidding(MOUNT, EACCES, outer.words(world, "run", "true")))
    assert "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or an AppArmor profile with `userns,`" in told


@pytest.mark.skipif(not UNSHARE, reason="needs a known number of a system call")
def test_switch_of_debian_is_told(tmp_path: Path) -> None:
    world = f"{outer.PERMITTED} && {SETTING.replace('echo 1', 'echo 0')}unprivileged_userns_clone"
    told = refusal(tmp_path, forbidding(UNSHARE, EPERM, outer.words(world, "run", "true")))
    assert "`sysctl -w kernel.unprivileged_userns_clone=1`" in told
