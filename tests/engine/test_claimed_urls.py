"""URLs that a neighbour names: which of them others hear of, and how often they are dialled."""

from __future__ import annotations

from collections import Counter

import pytest

from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind, LinkOp
from peer_relay_socket.engine.effects import Dial, DialBack
from peer_relay_socket.limits import CLAIM_AGAIN, CLAIM_HOSTS, CLAIM_TRIES, FIND_PADDING
from tests.sim.bench import Bench, Node

VICTIM = "ws://victim.example:443"


def _relay_and(bench: Bench, *urls: str, name: str = "peer") -> tuple[Node, Node]:
    relay, peer = bench.node("relay", serves=True), bench.node(name, serves=True)
    peer.config.urls = urls
    bench.join(peer, relay)
    bench.flow()
    return relay, peer


def _told(bench: Bench, relay: Node) -> set[str]:
    """Return the URLs that a newcomer hears from `relay`."""
    newcomer = bench.node(f"newcomer{len(bench.nodes)}")
    cable = bench.join(newcomer, relay)
    bench.advance(5.0)
    question = bytes(4 + FIND_PADDING)
    bench.inject(cable, relay, wire.packet(Kind.FIND, newcomer.peer_id, newcomer.peer_id, question, hop_limit=1))
    own = [data for data in bench.sent(Kind.FOUND, relay) if data[28:48] == relay.peer_id]
    answers = [control.read_contacts(data[HEADER_BYTES + 4 :]) for data in own]
    return {url for answer in answers for contact in answer for url in contact.urls}


def _known(relay: Node, peer: Node) -> tuple[str, ...]:
    return relay.engine._links.by_id[peer.peer_id].known_urls


def test_a_url_that_leads_to_the_neighbour_is_passed_on_once_it_was_tried() -> None:
    bench = Bench()
    relay, peer = _relay_and(bench, "ws://peer.example")
    assert _known(relay, peer) == ("ws://peer.example",)
    assert "ws://peer.example" in _told(bench, relay)


def test_a_url_of_a_third_party_is_tried_twice_and_passed_on_never() -> None:
    bench = Bench()
    relay, peer = _relay_and(bench, VICTIM)
    bench.advance(100.0)
    assert [effect.url for effect in relay.take(DialBack)] == [VICTIM] * CLAIM_TRIES
    assert _known(relay, peer) == ()
    told = _told(bench, relay)
    assert told
    assert VICTIM not in told


def test_a_url_of_another_peer_does_not_become_ours() -> None:
    bench = Bench()
    relay = bench.node("relay", serves=True)
    other = bench.node("other", serves=True)
    bench.join(other, relay)
    thief = bench.node("thief", serves=True)
    thief.config.urls = ("ws://other.example",)
    bench.join(thief, relay)
    bench.advance(30.0)
    assert _known(relay, other) == ("ws://other.example",)
    assert _known(relay, thief) == ()
    assert other.engine.counters["dropped: nobody asked to be dialled"] >= 1


@pytest.mark.parametrize("host", ["8.0.0.2", "[::ffff:8.0.0.2]"])
def test_the_address_of_the_link_needs_no_try(host: str) -> None:
    bench = Bench()
    relay, peer = _relay_and(bench, f"ws://{host}:443")
    known = _known(relay, peer)
    assert (known == (f"ws://{host}:443",)) is (host == "8.0.0.2")


def test_what_we_dialled_needs_no_try() -> None:
    bench = Bench()
    one, other = bench.node("one", serves=True), bench.node("other", serves=True)
    other.config.urls = ("wss://Other.example/relay/",)
    bench.join(one, other, url="wss://other.example/relay#" + other.peer_id.hex())
    bench.flow()
    assert _known(one, other) == other.config.urls
    assert one.take(DialBack) == []


@pytest.mark.parametrize("links", [1, 12])
def test_a_stranger_has_a_third_party_dialled_twice_for_each_of_its_links(links: int) -> None:
    bench = Bench(15)
    relays = [bench.node(f"r{number}", serves=True) for number in range(12)]
    for number, relay in enumerate(relays):
        for other in relays[:number]:
            bench.join(relay, other)
    peers = [bench.node(f"p{number}") for number in range(10)]
    for number, peer in enumerate(peers):
        for step in range(3):
            bench.join(peer, relays[(number + step) % 12])
    bench.advance(5.0)
    for node in bench.nodes:
        node.effects.clear()
    for number in range(links):
        evil = bench.node(f"evil{number}", serves=True)
        evil.config.urls = tuple(f"{VICTIM}/a{number}{kind}" for kind in "abcd")
        bench.join(evil, relays[number])
    dialled: Counter[str] = Counter()
    for _ in range(60):
        bench.advance(1.0)
        bench.seen.clear()
        for node in [*relays, *peers]:
            effects = [*node.take(Dial), *node.take(DialBack)]
            for dial in effects:
                if isinstance(dial, Dial):
                    node.engine.dial_failed(dial.url, bench.now)
            dialled[node.name] += sum("victim" in effect.url for effect in effects)
    assert max(dialled.values()) <= CLAIM_TRIES
    told_by_it = 1  # it answers a FIND of one more peer itself
    assert sum(dialled.values()) <= CLAIM_TRIES * (links + told_by_it)


def test_what_failed_is_tried_again_after_some_time() -> None:
    bench = Bench()
    relay, peer = _relay_and(bench, VICTIM)
    bench.advance(CLAIM_AGAIN + 100.0)
    relay.take(DialBack)
    for cable in list(peer.cables.values()):
        cable.cut()
    bench.join(peer, relay)
    bench.advance(1.0)
    assert [effect.url for effect in relay.take(DialBack)] == [VICTIM]


def test_what_is_remembered_of_claims_is_bounded() -> None:
    bench = Bench()
    relay, peer = _relay_and(bench)
    tables = relay.engine._claimed_urls
    link = relay.engine._links.by_id[peer.peer_id]
    for number in range(CLAIM_HOSTS + 50):
        link.urls = (f"ws://a{number}.example",)
        relay.engine._core.now += 1.0
        tables.look(link)
        tables.checking_heard(link, number.to_bytes(8))
    assert {len(table) for table in (tables._vain, tables._tries, tables._being_tried)} == {CLAIM_HOSTS}


def test_a_nonce_that_nobody_sent_proves_nothing() -> None:
    bench = Bench()
    relay, peer = _relay_and(bench, VICTIM)
    peer.engine._links.tell(peer.engine._links.by_id[relay.peer_id], LinkOp.CHECKED, bytes(8))
    bench.flow()
    assert _known(relay, peer) == ()
    assert relay.engine.counters["dropped: unasked answer"] == 1
