"""Programs that fork, each in a process of its own: what begins them, and how they are run."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from peer_relay_socket import Peer, Socket
from tests.processes import environment

PREAMBLE = """
import errno, os, select, signal, socket, sys, threading, time, traceback
from peer_relay_socket import Peer, PeerClosedError, Socket

def fork(child):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # a child that hangs dies of it
        status = 70
        try:
            child()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return pid

def reap(pid):
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, status

def refused(call, *args):
    try:
        call(*args)
    except PeerClosedError as error:
        assert error.errno == errno.ENETDOWN, error
    else:
        raise AssertionError(call)

def pair():
    server, client = Socket(), Socket()
    for sock in (server, client):
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
    client.sendto(b"question", server.getsockname())
    return server, client, server.recvfrom(100)[1]
"""


def command(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-X", "dev", "-W", "ignore", "-c", PREAMBLE + textwrap.dedent(program), *arguments]


def run(program: str, *arguments: str, **settings: str) -> str:
    """Run a program that is to succeed. Returns: what it wrote, stdout first."""
    done = subprocess.run(
        command(program, *arguments),
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def relay() -> Iterator[str]:
    with Peer(host="127.0.0.1", port=0) as peer:
        assert peer.url is not None
        yield peer.url


@pytest.fixture
def remote(relay: str) -> Iterator[Socket]:
    with Socket(bootstrap=[relay]) as sock:
        sock.bind(("", 0))
        assert sock.peer.wait_connected(10)
        sock.settimeout(10)
        yield sock
