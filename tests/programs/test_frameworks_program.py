"""Everything that polls a socket for a program, unmodified under `peer-relay run`; first on the kernel's sockets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment

SCRIPT = Path(__file__).with_name("scripts") / "frameworks.py"
REACTORS = ["", "selectreactor", "pollreactor", "epollreactor", "asyncioreactor"]


@pytest.mark.slow
@pytest.mark.needs("anyio", "trio", "twisted")
@pytest.mark.parametrize("how", [[], ["-m", "peer_relay", "run"]], ids=["kernel", "relay"])
@pytest.mark.parametrize("reactor", REACTORS)
def test_frameworks_cannot_tell_the_sockets_apart(reactor: str, how: list[str]) -> None:
    env = environment()
    env["PYTHONWARNINGS"] = "ignore::DeprecationWarning"  # of fork, in ForkingUDPServer
    command = [sys.executable, *how, str(SCRIPT), *filter(None, [reactor])]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
