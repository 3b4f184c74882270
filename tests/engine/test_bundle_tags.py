"""A stranger on the path of a link, without keys: nothing put there, changed there or repeated there gets through."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import (
    BUNDLE_TAG,
    COVERED_FRONT,
    HEADER_BYTES,
    SEALED_LEAST,
    TAG_BYTES,
    Kind,
    LinkOp,
)
from peer_relay_socket.engine.effects import CloseLink
from peer_relay_socket.errors import PacketError
from tests.sim.bench import Bench, Node

NOT_THEIRS = "dropped: bundle not the neighbour's, or not new"


class Path:
    """Two linked nodes, and every bundle between them as it travels."""

    def __init__(self, *, unit: int | None = None, psk: bytes | None = None) -> None:
        self.bench = Bench()
        self.low, self.high = sorted(
            (self.bench.node(name, serves=True, psk=psk) for name in ("one", "two")), key=lambda node: node.peer_id
        )
        self.seen: list[tuple[Node, bytes]] = []
        """To whom, what; of the link handshake nothing."""
        for node, url in ((self.low, "ws://two.example"), (self.high, None)):
            far = self.high if node is self.low else self.low
            node.engine.link_opened(
                1, url=url, remote_host="8.8.8.8", now=0.0, peer_id=far.peer_id if unit else None, unit=unit
            )
        self.carry()
        assert self.low.engine.neighbours == [self.high.peer_id]
        self.low.send(self.high, b"first")
        self.carry()
        self.high.heard()

    def carry(self, change: Callable[[Node, bytes], list[bytes]] = lambda _to, bundle: [bundle]) -> None:
        """Let everything arrive, as `change` has it."""
        moved = True
        while moved:
            moved = False
            for node, far in ((self.low, self.high), (self.high, self.low)):
                for _, chunks in node.engine.take_bundles():
                    moved = True
                    data = b"".join(chunks)
                    if data[0] == wire.LINK_HANDSHAKE:
                        far.engine.receive(1, data, self.bench.now)
                        continue
                    self.seen.append((far, data))
                    for each in change(far, data):
                        far.engine.receive(1, each, self.bench.now)
                node.effects += node.engine.take_effects()

    def put(self, to: Node, bundle: bytes) -> list[bytes]:
        """Put a bundle on the path; return what `to` answers."""
        to.engine.receive(1, bundle, self.bench.now)
        to.effects += to.engine.take_effects()
        return [b"".join(chunks) for _, chunks in to.engine.take_bundles()]

    def still_works(self) -> None:
        """The link stands, and carries what its ends say."""
        for node in (self.low, self.high):
            assert not [effect for effect in node.effects if isinstance(effect, CloseLink)]
        self.low.send(self.high, b"still there")
        self.carry()
        assert self.high.heard() == [b"still there"]


QUESTIONS = {
    "RESOLVE": lambda path: wire.packet(Kind.RESOLVE, path.high.peer_id, path.low.peer_id, b"evil\x08"),
    "FIND": lambda path: wire.packet(Kind.FIND, bytes(20), path.low.peer_id, b"evil"),
    "NO_ROUTE": lambda path: wire.packet(Kind.NO_ROUTE, path.high.peer_id, path.low.peer_id, path.low.peer_id),
    "DISCOVER": lambda path: wire.packet(Kind.DISCOVER, path.high.peer_id, path.low.peer_id, b"evil\xa0"),
    "LINK": lambda path: wire.packet(Kind.LINK, path.high.peer_id, path.low.peer_id, bytes(40), hop_limit=1),
    "SEALED": lambda path: wire.packet(Kind.SEALED, path.high.peer_id, path.low.peer_id, bytes(40)),
    "a fragment": lambda path: b"\x11\x00",
    "a handshake": lambda path: bytes((wire.LINK_HANDSHAKE,)),
    "nothing": lambda path: b"",
}


@pytest.mark.parametrize("psk", [None, bytes(range(32))], ids=["open", "keyed"])
@pytest.mark.parametrize("what", QUESTIONS)
def test_what_is_put_on_the_path_is_dropped_without_an_answer(what: str, psk: bytes | None) -> None:
    path = Path(psk=psk)
    packet = QUESTIONS[what](path)
    to, genuine = path.seen[-1]
    forgeries = [packet, packet + bytes(BUNDLE_TAG), packet + genuine[-BUNDLE_TAG:], packet + b"\xff" * BUNDLE_TAG]
    for forgery in forgeries:
        assert path.put(to, forgery) == []
    assert to.engine.counters[NOT_THEIRS] == len(forgeries)
    path.still_works()


def test_no_bundle_passes_twice_however_late() -> None:
    path = Path()
    for number in range(3000):
        path.low.send(path.high, b"%d" % number)
        path.carry()
        path.high.heard()
    for to, bundle in path.seen:
        assert path.put(to, bundle) == []
    assert path.high.heard() == path.low.heard() == []
    assert path.low.engine.counters[NOT_THEIRS] + path.high.engine.counters[NOT_THEIRS] == len(path.seen)
    path.still_works()


def test_a_bundle_that_is_sent_back_to_its_sender_is_dropped() -> None:
    path = Path()
    for to, bundle in list(path.seen):
        assert path.put(path.low if to is path.high else path.high, bundle) == []
    path.still_works()


@pytest.mark.parametrize("position", [*range(COVERED_FRONT), -BUNDLE_TAG - TAG_BYTES, -BUNDLE_TAG, -TAG_BYTES, -1])
def test_a_bundle_that_was_changed_is_dropped(position: int) -> None:
    path = Path()
    path.low.send(path.high, b"changed")

    def change(to: Node, bundle: bytes) -> list[bytes]:
        altered = bytearray(bundle)
        altered[position] ^= 1
        return [bytes(altered)] if to is path.high else [bundle]

    path.carry(change)
    assert path.high.heard() == []
    assert path.high.engine.counters[NOT_THEIRS] == 1
    path.still_works()


def test_ciphertext_that_was_changed_opens_at_no_far_end() -> None:
    path = Path()
    path.low.send(path.high, b"changed")
    path.carry(lambda _to, bundle: [bundle[:COVERED_FRONT] + b"\0" + bundle[COVERED_FRONT + 1 :]])
    assert path.high.heard() == []
    assert path.high.engine.counters["dropped: did not open"] == 1
    path.still_works()


@pytest.mark.parametrize("seed", range(3))
def test_bundles_that_arrive_in_any_order_pass_once(seed: int) -> None:
    path = Path(unit=1320)
    held: list[bytes] = []

    def hold(to: Node, bundle: bytes) -> list[bytes]:
        if to is path.high:
            held.append(bundle)
            return []
        return [bundle]

    for number in range(200):
        path.low.send(path.high, b"%d" % number)
        path.carry(hold)
    twice = held * 2
    Random(seed).shuffle(twice)
    for bundle in twice:
        path.put(path.high, bundle)
    assert sorted(map(int, path.high.heard())) == list(range(200))
    path.still_works()


@given(
    st.lists(st.tuples(st.sampled_from([Kind.SEALED, Kind.FIND, Kind.LINK]), st.binary(max_size=80)), min_size=1),
    st.integers(0),
    st.integers(1, 255),
)
def test_all_but_ciphertext_is_covered(packets: list[tuple[Kind, bytes]], place: int, flip: int) -> None:
    bundle = b"".join(wire.packet(kind, bytes(20), bytes(20), body) for kind, body in packets)
    offset = place % len(bundle)
    altered = bytearray(bundle)
    altered[offset] ^= flip
    start = 0
    ciphertext = False
    for kind, body in packets:
        end = start + HEADER_BYTES + len(body)
        if start <= offset < end:
            inside = start + COVERED_FRONT <= offset < end - TAG_BYTES
            ciphertext = kind is Kind.SEALED and len(body) >= SEALED_LEAST and inside
        start = end
    try:
        same = wire.covered(bytes(altered), len(altered)) == wire.covered(bundle, len(bundle))
    except PacketError:
        same = False
    assert same is ciphertext


@pytest.mark.parametrize("position", [*range(HEADER_BYTES, HEADER_BYTES + 25), -1])
def test_a_link_packet_seals_itself(position: int) -> None:
    path = Path()
    link = next(iter(path.low.engine._links.all.values()))
    path.seen.clear()
    path.low.engine._links.tell(link, LinkOp.PING)
    path.low.send(path.high, b"beside it")
    path.carry(
        lambda to, bundle: (
            [bundle]
            if to is path.low or bundle[0] != Kind.LINK
            else [bundle[:position] + bytes((bundle[position] ^ 1,)) + bundle[position:][1:], bundle, bundle]
        )
    )
    assert len([bundle for to, bundle in path.seen if bundle[0] == Kind.LINK and to is path.low]) == 1, "one PONG"
    assert path.high.heard() == [b"beside it"]
    assert path.high.engine.counters[NOT_THEIRS] == 2
    path.still_works()


def test_a_link_packet_among_others_ends_the_link() -> None:
    path = Path()
    link = next(iter(path.low.engine._links.all.values()))
    assert link.sealing is not None
    assert link.tagging is not None
    body = link.sealing.seal(bytes((LinkOp.PING,)))
    packets = wire.packet(Kind.FIND, bytes(20), path.low.peer_id, b"ask!") + wire.packet(
        Kind.LINK, path.high.peer_id, path.low.peer_id, body
    )
    path.put(path.high, packets + link.tagging.tag(wire.covered(packets, len(packets))))
    assert [effect.reason for effect in path.high.effects if isinstance(effect, CloseLink)] == [
        "a link packet among others"
    ]
