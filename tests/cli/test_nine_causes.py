"""Nine causes of "it does not answer", and what ping, doctor and status print of each within five seconds.

`python -m pytest -m slow -s -n 0 tests/cli/test_nine_causes.py` shows it all as text.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from peer_relay_socket import Peer, Socket
from tests.loopback import free_port
from tests.observe.conftest import runtime_folder
from tests.observe.programs import ECHO, Program
from tests.patience import LIMIT, until
from tests.processes import environment

__all__ = ["runtime_folder"]
pytestmark = pytest.mark.slow

SENDS = """
import sys, time
from peer_relay_socket import Socket
sock = Socket(bootstrap=sys.argv[1], wrtc=False)
print("ready", flush=True)
while True:
    sock.sendto(b"?", (sys.argv[2], int(sys.argv[3])))
    time.sleep(0.5)
"""
NOBODY, NETWORK = "100.64.1.1", "PEER_RELAY_IPV4_NETWORK"


class Case(NamedTuple):
    """Where a program is linked to, whom it sends to, and what is to be said of that."""

    url: str
    peer: str
    port: str
    ping: str
    """In the last line of ping."""
    doctor: str
    """In what doctor prints."""
    status: str
    """In what status prints of a program that sends there."""
    environ: dict[str, str]


@contextmanager
def deaf() -> Iterator[str]:
    """A port as behind a firewall that drops: Linux drops what finds no room in a listener's backlog."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


def relay(stack: ExitStack, **settings: object) -> Peer:
    return stack.enter_context(Peer(port=0, host="127.0.0.1", wrtc=False, **settings))  # type: ignore[arg-type]


def echo(stack: ExitStack, url: str) -> Program:
    program = Program(ECHO, url)
    stack.callback(program.process.communicate)
    stack.callback(program.process.kill)
    stack.callback(program.process.send_signal, signal.SIGCONT)
    return program


def nothing_listens(stack: ExitStack) -> Case:
    url = f"ws://127.0.0.1:{free_port()}"
    refused = f"{url}: Connection refused"
    return Case(url, NOBODY, "", f"no relay linked: {refused}", "start the relay", "failed: Connection refused", {})


def a_firewall_drops(stack: ExitStack) -> Case:
    url = stack.enter_context(deaf())
    # Of status: "dialling, no answer so far", and from the second try on what became of the first.
    return Case(url, NOBODY, "", f"no relay linked: {url}: no answer", "a firewall drops it", "no answer", {})


def not_admitted(stack: ExitStack) -> Case:
    url = relay(stack, allow_links=lambda _peer_id: False).url or ""
    said = "is not admitted: see allow_links and deny_links there"
    return Case(url, NOBODY, "", f"no relay linked: {url}: it refuses us: ", said, said, {})


def another_ipv4_network(stack: ExitStack) -> Case:
    url = relay(stack, ipv4_network="100.64.0.0/12").url or ""
    said = "the IPv4 networks differ"
    return Case(url, NOBODY, "", f"no relay linked: {url}: it refuses us: {said}", said, said, {})


def another_network_key(stack: ExitStack) -> Case:
    url = relay(stack, network_key="theirs").url or ""
    told = {"PEER_RELAY_NETWORK_KEY": "ours"}
    return Case(url, NOBODY, "", f"no relay linked: {url}: ", "network key", "network key", told)


def nobody_has_it(stack: ExitStack) -> Case:
    url = relay(stack).url or ""
    return Case(
        url, NOBODY, "", "nobody has this address: we are linked to 1 relay", "good     link", "nobody has this", {}
    )


def its_process_is_stopped(stack: ExitStack) -> Case:
    url = relay(stack).url or ""
    program = echo(stack, url)
    program.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)
    said = "found, but does not answer"
    return Case(url, program.words[1], "", "found, does not answer: ", "good     link", said, {})


def it_refuses_us(stack: ExitStack) -> Case:
    url = relay(stack).url or ""
    strict = stack.enter_context(Socket(bootstrap=url, wrtc=False, allow_datagrams=lambda _peer_id: False))
    assert strict.peer.wait_connected(LIMIT)
    return Case(url, strict.peer.id.hex(), "", "refuses us: ", "good     link", "it refuses us", {})


def nothing_is_bound(stack: ExitStack) -> Case:
    url = relay(stack).url or ""
    program = echo(stack, url)
    lost = "refused by the peer: nothing listens on the port"
    return Case(url, program.words[0], "5001", "port refused: ", "good     link", lost, {})


CAUSES = [
    nothing_listens,
    a_firewall_drops,
    not_admitted,
    another_ipv4_network,
    another_network_key,
    nobody_has_it,
    its_process_is_stopped,
    it_refuses_us,
    nothing_is_bound,
]


def timed(*arguments: str, **environ: str) -> tuple[str, float]:
    """Return what a command prints, and after how many seconds it had."""
    began = time.monotonic()
    argv = [sys.executable, "-m", "peer_relay", *arguments]
    done = subprocess.run(argv, env=environment(**environ), capture_output=True, text=True, timeout=60, check=False)
    print(
        f"\n$ peer-relay {' '.join(arguments)}   # {time.monotonic() - began:.1f} s\n{done.stdout}{done.stderr}", end=""
    )
    return done.stdout, time.monotonic() - began


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_named_within_five_seconds(runtime_folder: Path, cause: object) -> None:
    assert callable(cause)
    with ExitStack() as stack:
        case = cause(stack)
        print(f"\n=== {cause.__name__.replace('_', ' ')}")
        sender = Program(SENDS, case.url, case.peer, case.port or "5000", **case.environ)
        stack.callback(sender.process.communicate)
        stack.callback(sender.process.kill)
        began = time.monotonic()
        argv = [case.peer, *([case.port] if case.port else []), "-c", "1", "--bootstrap", case.url]
        pinged, pinging = timed("ping", *argv, **case.environ)
        assert pinged.splitlines()[-1].startswith(case.ping), pinged
        examined, examining = timed("doctor", "--bootstrap", case.url, **case.environ)
        assert case.doctor in examined
        until(lambda: case.status in peer_status(sender.pid))
        assert time.monotonic() - began < 30
        shown, _ = timed("status", str(sender.pid))
        assert case.status in shown
        assert max(pinging, examining) < 9  # 5 on a machine that does nothing else


def peer_status(pid: int) -> str:
    argv = [sys.executable, "-m", "peer_relay", "status", str(pid)]
    return subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=60, check=False).stdout
