"""Links from which more is read than their share."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.effects import Note, Throttle
from tests.sim.bench import Bench
from tests.sim.tags import receive


def test_a_link_that_sends_too_much_is_not_read_for_a_while_and_told_so_once() -> None:
    bench = Bench()
    relay, leaf, other = bench.node("relay", serves=True), bench.node("leaf"), bench.node("other")
    relay.config.link_bytes = 1e6
    relay.config.link_packets = 1e3
    cable = bench.join(leaf, relay)
    bench.join(other, relay)
    bench.flow()
    for node in (relay, leaf):
        node.effects.clear()
    big = wire.packet(Kind.SEALED, other.peer_id, leaf.peer_id, bytes(60_000))
    for _ in range(30):
        receive(relay.engine, cable.number(relay), big, bench.now)
    bench.flow()
    pauses = relay.take(Throttle)
    assert [pause.link for pause in pauses] == [cable.number(relay)]  # one for all that was read at once
    assert pauses[-1].seconds == pytest.approx(30 * len(big) / 1e6 - 1.0, abs=0.05)
    assert [note.text for note in leaf.take(Note)] == [
        f"{relay.peer_id.hex()[:8]} reads at most 1000 packets/s and 1000000 bytes/s from us"
    ]
    bench.advance(5.0)
    relay.take(Throttle)
    small = b"".join(wire.packet(Kind.SEALED, other.peer_id, leaf.peer_id, b"") for _ in range(3000))
    bench.inject(cable, relay, small)
    (pause,) = relay.take(Throttle)
    assert 0.9 <= pause.seconds <= 2.0  # 3 s worth, less one, less what time brought since it was last counted
    assert [note for note in leaf.take(Note) if note.level > 10] == []
