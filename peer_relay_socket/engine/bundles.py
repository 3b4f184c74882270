"""Bundles: what a link carries at once, packed and vouched for at one end, and judged at the other.

Lives here: filling bundles, their tags, LINK packets' seals. May not live here: what is sent and when (links, routing,
sessions), the keys (authentication).

Law: what is ready leaves together, in order; nothing leaves an up link without something that vouches for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..address import PeerId
from ..codec import packet as wire
from ..codec.packet import Kind
from ..errors import WireError

if TYPE_CHECKING:
    from collections import Counter

    from .link import LinkState

_SEALED: Final = int(Kind.SEALED)
_LINK: Final = bytes((Kind.LINK,))
_LEAST_SEALED: Final = wire.HEADER_BYTES + wire.SEALED_LEAST


class Bundles:
    """The bundles of all links of one peer."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self.dirty: list[LinkState] = []
        """Links for which something is packed. Others only look."""

    def put(self, link: LinkState, data: bytes, rest: bytes | memoryview = b"") -> None:
        """Put one packet, in one piece or two, into the link's next bundle."""
        size = len(data) + len(rest)
        if link.out and link.out_size + size > link.unit:
            self._finish_bundle(link)
        elif not link.out and not link.packed:
            self.dirty.append(link)
        link.out_size += size
        link.tx_packets += 1
        link.out.append(data)
        if rest:
            link.out.append(rest)
        if data[0] == _SEALED and size >= _LEAST_SEALED:  # as wire.covered has it
            if rest:
                link.out_covered += (data, rest[: wire.COVERED_FRONT - len(data)], rest[-wire.TAG_BYTES :])
            else:
                link.out_covered += (data[: wire.COVERED_FRONT], data[-wire.TAG_BYTES :])
        else:
            link.out_covered.append(data)
            if rest:
                link.out_covered.append(rest)

    def _finish_bundle(self, link: LinkState) -> None:
        """Vouch for the packets of the bundle that is being filled, and begin another."""
        assert link.tagging is not None
        link.out.append(link.tagging.tag(b"".join(link.out_covered)))
        link.packed.append(link.out)
        link.tx_bytes += link.out_size + wire.BUNDLE_TAG
        link.out = []
        link.out_covered = []
        link.out_size = 0

    def put_message(self, link: LinkState, message: bytes) -> None:
        """Send one message of the link handshake, or a LINK packet: neither has a tag."""
        if not link.packed:
            self.dirty.append(link)
        link.packed.append([message])
        link.tx_bytes += len(message)

    def put_link_packet(self, link: LinkState, sender: PeerId, content: bytes) -> None:
        """Send a LINK packet, which is a bundle of its own."""
        assert link.sealing is not None
        if link.out:
            self._finish_bundle(link)
        link.tx_packets += 1
        body = link.sealing.seal(content)
        self.put_message(link, wire.packet(Kind.LINK, link.peer_id, sender, body, hop_limit=1))

    def take(self) -> list[tuple[int, list[bytes | memoryview]]]:
        """Return (link, chunks of one bundle) for all that is to be sent, in order, and forget it."""
        bundles = []
        dirty, self.dirty = self.dirty, []
        for link in dirty:
            if link.out:
                self._finish_bundle(link)
            bundles += [(link.number, chunks) for chunks in link.packed]
            link.packed = []
        return bundles

    def authentic(self, link: LinkState, bundle: bytes) -> bytes | None:
        """Return what a LINK packet holds, b"" for any other bundle, if it is the neighbour's and new, else None.
        Everything on the way could have put another there, so that this one is counted and nothing else follows."""
        assert link.checking is not None
        assert link.opening is not None
        try:
            if bundle[:1] == _LINK:
                return link.opening.open(bundle[wire.HEADER_BYTES :])
            end = len(bundle) - wire.BUNDLE_TAG
            return link.checking.open(bundle[max(0, end) :], wire.covered(bundle, end))
        except WireError:
            self._counters["dropped: bundle not the neighbour's, or not new"] += 1
            return None
