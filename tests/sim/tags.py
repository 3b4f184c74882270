"""Bundles in the hands of a test: off with the tag that a link's neighbour gave them, on with another.

Lives here: what lets tests look at packets, alter them and put in others, as a neighbour could that has the keys. May
not live here: what the tag is good for (tests/engine/test_links.py takes real ones).
"""

from __future__ import annotations

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.errors import PacketError


def untagged(bundle: bytes) -> bytes:
    """Return the packets of a bundle; a message of the link handshake as it is."""
    return bundle[: -wire.BUNDLE_TAG] if wire.is_tagged(bundle) else bundle


def tagged(engine: Engine, number: int, packets: bytes, ahead: int = 1) -> bytes:
    """Return the bundle in which link `number` of `engine` believes that `packets` come from its neighbour, `ahead` of
    the newest that came; as they are where the link's handshake is not over, or a LINK packet, or that is no bundle."""
    link = engine._links.all.get(number)
    if link is None or link.checking is None or not wire.is_tagged(packets):
        return packets
    try:
        covered = wire.covered(packets, len(packets))
    except PacketError:
        return packets + bytes(wire.BUNDLE_TAG)
    counter = (link.checking.newest + ahead).to_bytes(8)
    mac = link.checking.fresh()
    mac.update(counter + covered)
    return packets + counter + mac.digest()


def receive(engine: Engine, number: int, packets: bytes, now: float) -> None:
    """Let the neighbour of link `number` send packets."""
    engine.receive(number, tagged(engine, number, packets), now)
