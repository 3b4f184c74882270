"""Peers that are about to take the short way, and the two ways of one packet into an engine."""

from __future__ import annotations

from typing import NamedTuple

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import HEADER_BYTES
from peer_relay_socket.engine.effects import Effect
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.engine.fast_path import Run
from peer_relay_socket.engine.link import LinkState
from peer_relay_socket.engine.session import Session
from tests.sim.bench import Bench, Node, talking
from tests.sim.tags import tagged, untagged

FIRST_CONTENT = HEADER_BYTES + 4 + 8
"""Where a SEALED packet's ciphertext begins."""


def session_of(node: Node, other: Node) -> Session:
    """What `node` knows of its session with `other`."""
    session = node.engine._table.get(other.peer_id)
    assert session is not None
    return session


def sealed(sender: Node, receiver: Node, plain: bytes, *, alternate: int = 0) -> bytes:
    """A packet of `sender`'s with any records."""
    keys = session_of(sender, receiver).keys
    assert keys is not None
    return wire.sealed(receiver.peer_id, sender.peer_id, keys.remote, keys.sealing.seal(plain), alternate)


def datagram(sender: Node, receiver: Node, data: bytes, *, alternate: int = 0) -> bytes:
    """A packet of `sender`'s with one datagram."""
    return sealed(sender, receiver, wire.datagrams_record(4, 9, 5, [data]), alternate=alternate)


def number_of(node: Node, far: Node) -> int:
    """The number by which `node` knows its link to `far`."""
    return next(number for number, cable in node.cables.items() if far in cable.ends.values())


def link_of(node: Node, far: Node) -> LinkState:
    return node.engine._links.all[number_of(node, far)]


class Came(NamedTuple):
    """What an input made an engine say and do."""

    bundles: list[tuple[int, bytes]]
    effects: list[Effect]


def taken(engine: Engine) -> Came:
    bundles = engine.take_bundles()
    effects = engine.take_effects()
    return Came([(number, untagged(b"".join(chunks))) for number, chunks in bundles + engine.take_bundles()], effects)


def receive(node: Node, number: int, packet: bytes) -> Came:
    """The common way."""
    return receive_bundle(node, number, tagged(node.engine, number, packet))


def receive_bundle(node: Node, number: int, bundle: bytes) -> Came:
    node.engine.receive(number, bundle, node.bench.now)
    return taken(node.engine)


def hear(node: Node, number: int, packet: bytes) -> Came | None:
    """The short way; None where it is not for it."""
    return hear_bundle(node, number, tagged(node.engine, number, packet))


def hear_bundle(node: Node, number: int, bundle: bytes) -> Came | None:
    heard = node.engine.fast_path.hear(number, bundle, node.bench.now)
    if heard is None:
        return None
    assert taken(node.engine) == ([], []), "the short way leaves nothing to be done"
    if not heard:
        return Came([], [])
    what, data = heard
    return Came([], [what.deliver(data)]) if isinstance(what, Run) else Came([(what, untagged(data))], [])


def state(node: Node) -> object:
    """All that an engine knows of its links and sessions and that what it hears may change."""
    engine = node.engine
    links = [
        (
            link.number,
            link.received_at,
            link.traffic.bytes.level,
            link.traffic.packets.level,
            link.up,
            link.out,
            link.watch is None,
        )
        for link in engine._links.all.values()
    ]
    sessions = [
        (
            session.peer_id,
            (session.unacked, session.ack_timer is None, session.state, session.attempt is None),
            (session.alternate,),
            (session.heard_at, session.idle_since, session.silent_since, session.acked_at, session.missed_probes),
            (session.in_flight, list(session.flights), session.heard_under is session.keys),
            [
                (keys.highest, keys.opening.newest, keys.opening.missing, keys.sealing.counter)
                for keys in [session.keys, *session.older]
                if keys is not None
            ],
        )
        for session in engine._table.by_id.values()
    ]
    hops = [dict(cache) for cache in engine._router.hops]
    return links, sessions, [{to: via.number for to, via in hop.items()} for hop in hops], engine.counters


def listening(bench: Bench) -> tuple[Node, Node, int]:
    """`talking`, and the second has just heard something, so that it owes an acknowledgement; and its link's number."""
    low, high = talking(bench)
    low.send(high, b"hello")
    bench.flow()
    assert high.heard() == [b"hello"]
    return low, high, number_of(high, low)


def star(bench: Bench, *, serves: bool = False) -> tuple[Node, Node, Node]:
    """A relay and two peers linked to it that talk with it and, across it, with each other; all have just been heard.

    Args: serves: whether the first of them relays, too.
    """
    hub = bench.node("hub", serves=True)
    left, right = bench.node("left", serves=serves), bench.node("right")
    for node in (left, right):
        bench.join(node, hub)
    bench.flow()
    for _ in range(2):
        left.send(right, b"across")
        right.send(left, b"across")
        for node in (left, right):
            node.send(hub, b"to the hub")
        hub.send(left, b"from the hub")
        bench.flow()
    for node in bench.nodes:
        node.effects.clear()
    return hub, left, right


def wait(node: Node, seconds: float) -> Came:
    """Let time pass for `node` alone."""
    node.bench.now += seconds
    node.engine.handle_timer(node.bench.now)
    return taken(node.engine)
