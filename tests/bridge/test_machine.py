"""One machine: who is on it is proved, not read off an address, behind which a proxy may bring anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.bridge import make_engine
from peer_relay_socket.bridge.machine import machine_secret
from peer_relay_socket.codec.control import Contact, Hello, contacts, hello, read_hello
from peer_relay_socket.codec.packet import LinkOp
from peer_relay_socket.engine.effects import Dial
from peer_relay_socket.scope import Scope
from tests.patience import LIMIT, until
from tests.sim.bench import Bench


def test_all_programs_of_a_machine_share_a_secret() -> None:
    if not os.path.exists("/proc/sys/kernel/random/boot_id"):
        assert machine_secret() is None
        return
    code = "from peer_relay_socket.bridge.machine import machine_secret; print(machine_secret().hex())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert other.stdout.strip() == (machine_secret() or b"").hex()
    assert len(machine_secret() or b"") > 30


@pytest.mark.parametrize(
    ("ours", "theirs", "scope"),
    [
        (b"here", b"here", Scope.LOOPBACK),
        (b"here", b"there", Scope.GLOBAL),
        (b"here", None, Scope.GLOBAL),
        (None, b"there", Scope.LOOPBACK),
    ],
)
@pytest.mark.parametrize("dialled", [True, False])
@pytest.mark.parametrize("key", [None, b"k" * 32])
def test_a_neighbour_at_a_loopback_address_is_here_only_if_it_proves_it(
    ours: bytes | None, theirs: bytes | None, scope: Scope, dialled: bool, key: bytes | None
) -> None:
    bench = Bench()
    us, them = bench.node("us", serves=not dialled), bench.node("them", serves=dialled)
    us.config.machine, them.config.machine = ours, theirs
    us.config.psk = them.config.psk = key
    cable = bench.join(us, them) if dialled else bench.join(them, us)
    for node in (us, them):
        state = node.engine._links.all[cable.number(node)]
        state.scope, state.host, state.nearby = Scope.LOOPBACK, "", True
    bench.flow()
    link = us.engine._links.by_id[them.peer_id]
    assert (link.scope, link.nearby) == (scope, scope is Scope.LOOPBACK)
    us.effects.clear()
    told = them.engine._links.by_id[us.peer_id]
    contact = Contact(b"\x5a" * 20, ("ws://127.0.0.1:6379",))
    them.engine._links.tell(told, LinkOp.NEIGHBOURS, contacts([contact]))
    bench.flow()
    dialled_here = [dial for dial in us.take(Dial) if "6379" in dial.url]
    assert bool(dialled_here) is (scope is Scope.LOOPBACK)


def test_a_proof_is_one_peers_own() -> None:
    bench = Bench()
    one, other = bench.node("one"), bench.node("other")
    one.config.machine = other.config.machine = b"here"
    proofs = {core.machine_proof(core.peer_id) for core in (one.engine._core, other.engine._core)}
    assert len(proofs) == 2
    assert all(b"here" not in proof for proof in proofs)


def test_fields_of_a_hello_that_nobody_knows_are_skipped() -> None:
    value = Hello(True, Bench().node("x").config.ipv4_network, ("ws://a",), b"p" * 16)
    data = hello(value)
    assert read_hello(data) == value
    head = data[: -(2 + 16)]
    later = head + b"\x07\x03abc" + data[len(head) :] + b"\x09\x00" + b"\x05"
    assert read_hello(later) == value


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A peer that reaches us over loopback, as through a proxy, and is on another machine."""
    with Peer(port=0, host="127.0.0.1", wrtc=False) as node:
        assert node.wait_connected(0) is False
        monkeypatch.setattr(make_engine, "machine_secret", lambda: b"another machine " * 3)
        with Peer(bootstrap=node.url or "", wrtc=False) as stranger:
            assert stranger.wait_connected(LIMIT)
            yield node, stranger


def test_a_stranger_behind_a_proxy_is_no_neighbour_on_this_machine(elsewhere: tuple[Peer, Peer]) -> None:
    node, stranger = elsewhere
    until(lambda: stranger.id in node.peers)
    scopes = [link["scope"] for link in node.status()["links"]] + [link["scope"] for link in stranger.status()["links"]]
    assert scopes == ["global", "global"]
