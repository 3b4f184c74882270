"""No bytes, from arbitrary to nearly right, make an engine raise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Kind, LinkOp, Record
from tests.engine.test_hostile_relay import Scene, scene
from tests.sim.bench import Bench


@st.composite
def bundles(draw: st.DrawFn, ids: list[bytes]) -> bytes:
    """Bundles from arbitrary to nearly right."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.one_of(st.sampled_from(list(Kind)), st.integers(0, 255)))
        body = draw(st.one_of(st.binary(max_size=120), st.sampled_from([b"", bytes(4), b"\1" + bytes(8 + 36)])))
        header = bytes((kind, draw(st.integers(0, 255)), draw(st.integers(0, 15)), 0)) + len(body).to_bytes(4)
        parts.append(header + draw(st.sampled_from(ids)) + draw(st.sampled_from(ids)) + body)
    return b"".join(parts)


_SCENE = Scene()
IDS = [node.peer_id for node in _SCENE.bench.nodes] + [bytes(20), b"\xff" * 20]  # the seed gives each scene the same


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), bundles(IDS), st.sampled_from([0.0, 0.01, 1.0])), max_size=8
    )
)
def test_no_bundle_makes_an_engine_raise(steps: list[tuple[int, int, bytes, float]]) -> None:
    stage = scene()
    for to, over, bundle, pause in steps:
        target = stage.bench.nodes[to]
        cables = list(target.cables.values())
        if cables:
            stage.bench.inject(cables[over % len(cables)], target, bundle)
            stage.bench.advance(pause)
            stage.check()


@given(st.lists(st.binary(max_size=300), max_size=4), st.booleans())
def test_no_greeting_makes_an_engine_raise(messages: list[bytes], outbound: bool) -> None:
    bench = Bench()
    node = bench.node("node", serves=True)
    node.engine.link_opened(1, url="ws://x.example" if outbound else None, remote_host="8.8.8.8", now=0.0)
    for message in messages:
        node.engine.receive(1, message, 0.0)
        node.engine.receive(1, bytes((wire.LINK_HANDSHAKE,)) + message, 0.0)
    bench.advance(20.0)
    assert node.engine.neighbours == []


@given(st.integers(0, 255), st.binary(max_size=200))
def test_no_operation_of_an_authentic_neighbour_makes_an_engine_raise(operation: int, operand: bytes) -> None:
    bench = Bench()
    low, high = bench.pair()
    link = next(iter(low.engine._links.all.values()))
    low.engine._links.tell(link, LinkOp.PING)
    low.engine.take_bundles()
    assert link.sealing is not None
    body = link.sealing.seal(bytes((operation,)) + operand)
    bench.inject(next(iter(high.cables.values())), high, wire.packet(Kind.LINK, high.peer_id, low.peer_id, body))
    bench.advance(1.0)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.tuples(st.one_of(st.sampled_from(list(Record)), st.integers(0, 255)), st.binary(max_size=60)), max_size=5
        ).map(lambda records: b"".join(bytes((kind,)) + len(body).to_bytes(4) + body for kind, body in records)),
    )
)
def test_no_plaintext_of_an_authentic_peer_makes_an_engine_raise(plain: bytes) -> None:
    bench = Bench()
    low, high = bench.pair()
    low.send(high, b"x")
    bench.flow()
    session = low.engine._table.get(high.peer_id)
    assert session is not None
    assert session.keys is not None
    body = session.keys.remote + session.keys.sealing.seal(plain)
    bench.inject(next(iter(high.cables.values())), high, wire.packet(Kind.SEALED, high.peer_id, low.peer_id, body))
    bench.advance(1.0)
    low.send(high, b"goes on")
    bench.advance(1.0)
    assert high.heard()[-1] == b"goes on"
