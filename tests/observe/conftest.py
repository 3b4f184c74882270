"""Programs that hold peers, and a folder of their own for control sockets."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peer_relay_socket import Peer
from tests.observe.programs import ECHO, Program


@pytest.fixture
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """XDG_RUNTIME_DIR; a short name, for the path of a Unix socket has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="observe-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def relay() -> Iterator[Peer]:
    with Peer(port=0, host="127.0.0.1", wrtc=False) as peer:
        yield peer


@pytest.fixture
def start(runtime_folder: Path) -> Iterator[Callable[..., Program]]:
    """Start a program; it is killed at the end."""
    running: list[Program] = []

    def begin(code: str = ECHO, *arguments: str, **environ: str) -> Program:
        running.append(Program(code, *arguments, **environ))
        return running[-1]

    yield begin
    for program in running:
        program.process.kill()
        program.process.wait(20)
        for pipe in (program.process.stdin, program.process.stdout, program.process.stderr):
            if pipe is not None:
                pipe.close()
