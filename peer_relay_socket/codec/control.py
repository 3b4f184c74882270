"""Bodies of control packets, as packet.py draws them: contacts, hellos, what neighbours ask and tell.

Law: as in packet.py, nothing here raises anything but `PacketError`, and nothing here knows a link, a key or a route.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from struct import pack, unpack_from
from typing import Final, NamedTuple

from ..address import ID_BYTES, PeerId
from ..errors import PacketError
from ..limits import MAX_NAMED, MAX_ROUND_TRIPS, MAX_URL, MAX_URLS, RESOLVE_PADDING
from .packet import DIALLED_BACK, split

SEARCH_DOMAIN: Final = b"peer-relay.3 search"
FOUND_DOMAIN: Final = b"peer-relay.3 found"
ROUND_TRIP_UNIT: Final = 0.0001
"""Seconds of one tick in ROUND_TRIPS."""

# --- contacts and hellos ---------------------------------------------------------------------------------------


class Contact(NamedTuple):
    """A peer that can be dialled."""

    peer_id: PeerId
    urls: tuple[str, ...]


_MACHINE, _UDP, _SEEN, _LOAD, _ORDINARY = 1, 2, 3, 4, 5
"""Fields of a hello."""


class Hello(NamedTuple):
    """What each end of a link tells the other, inside the handshake."""

    serves: bool
    ipv4_network: ipaddress.IPv4Network
    urls: tuple[str, ...]
    machine: bytes = b""
    """Proof that it is on the machine on which we are; empty over links from elsewhere."""
    udp: tuple[str, int] | None = None
    """Where its UDP port is, for STUN and datagram lanes: an IPv4 address ("": where it was dialled) and a port."""
    seen: str = ""
    """The IP address from which it sees the link come; "" where it was the one that dialled, or a proxy hides that."""
    load: int = 0
    """It passes on less than 2**load packets a second for others."""
    ordinary: int = 0
    """It is linked to so many peers that do not relay; 255: that many or more."""


def _urls(urls: Sequence[str]) -> bytes:
    encoded = [url.encode("ascii") for url in urls[:MAX_URLS]]
    return bytes((len(encoded),)) + b"".join(bytes((len(url),)) + url for url in encoded)


def _read_urls(data: bytes, offset: int) -> tuple[tuple[str, ...], int]:
    try:
        count = data[offset]
        if count > MAX_URLS:
            raise PacketError(f"{count} URLs, at most {MAX_URLS}")
        offset += 1
        urls = []
        for _ in range(count):
            length = data[offset]
            url = data[offset + 1 : offset + 1 + length]
            if len(url) != length or length > MAX_URL:
                raise PacketError("URL cut short or too long")
            if min(url, default=0x21) <= 0x20 or 0x7F in url:  # it goes into an HTTP request and into logs
                raise PacketError("URL with a space or control character")
            urls.append(url.decode("ascii"))
            offset += 1 + length
    except (IndexError, UnicodeDecodeError):
        raise PacketError("URL list malformed") from None
    return tuple(urls), offset


def contact(item: Contact) -> bytes:
    """Return one contact."""
    return item.peer_id + _urls(item.urls)


def joined_contacts(items: Sequence[bytes]) -> bytes:
    """Return count and contacts, as FOUND and NEIGHBOURS carry them."""
    return bytes((len(items),)) + b"".join(items)


def contacts(items: Sequence[Contact]) -> bytes:
    """Return the same of contacts that are not packed yet."""
    return joined_contacts([contact(item) for item in items])


def read_contacts(data: bytes) -> list[Contact]:
    """Return the contacts in `data`.

    Raises: PacketError unless `data` is exactly that.
    """
    if not data:
        raise PacketError("contacts missing")
    found, offset = [], 1
    for _ in range(data[0]):
        peer_id = data[offset : offset + ID_BYTES]
        if len(peer_id) != ID_BYTES:
            raise PacketError("contact cut short")
        urls, offset = _read_urls(data, offset + ID_BYTES)
        found.append(Contact(peer_id, urls))
    if offset != len(data):
        raise PacketError("bytes after the last contact")
    return found


def hello(value: Hello) -> bytes:
    """Return the payload of a link handshake."""
    network = value.ipv4_network
    head = pack(">H4sB", int(value.serves), network.network_address.packed, network.prefixlen) + _urls(value.urls)
    if value.machine:
        head += bytes((_MACHINE, len(value.machine))) + value.machine
    if value.udp is not None:
        host, port = value.udp
        place = pack(">H", port) + (ipaddress.IPv4Address(host).packed if host else b"")
        head += bytes((_UDP, len(place))) + place
    if value.seen:
        address = ipaddress.ip_address(value.seen).packed
        head += bytes((_SEEN, len(address))) + address
    if value.load:
        head += bytes((_LOAD, 1, value.load))
    if value.ordinary:
        head += bytes((_ORDINARY, 1, value.ordinary))
    return head


def read_hello(data: bytes) -> Hello:
    """Return what the other end of a link told.

    Raises: PacketError when it is malformed. Fields after the URLs (kind, length, content) that are not known are
    skipped: later versions may add there.
    """
    if len(data) < 8:
        raise PacketError("hello cut short")
    flags, address, length = unpack_from(">H4sB", data)
    try:
        network = ipaddress.IPv4Network((address, length))
    except ValueError:
        raise PacketError("hello names no IPv4 network") from None
    urls, offset = _read_urls(data, 7)
    fields: dict[int, bytes] = {}
    while offset + 2 <= len(data):
        kind, length = data[offset], data[offset + 1]
        fields[kind] = data[offset + 2 : offset + 2 + length]
        offset += 2 + length
    seen = fields.get(_SEEN, b"")
    return Hello(
        bool(flags & 1),
        network,
        urls,
        machine=fields.get(_MACHINE, b""),
        udp=_read_udp(fields.get(_UDP, b"")),
        seen=str(ipaddress.ip_address(seen)) if len(seen) in (4, 16) else "",
        load=int.from_bytes(fields.get(_LOAD, b"")[:1]),
        ordinary=int.from_bytes(fields.get(_ORDINARY, b"")[:1]),
    )


def _read_udp(place: bytes) -> tuple[str, int] | None:
    """Return an address and a port; None where there is no port, and where the address is of a kind we do not know."""
    port = int.from_bytes(place[:2])
    if len(place) not in (2, 6) or not port:
        return None
    return str(ipaddress.IPv4Address(place[2:])) if len(place) == 6 else "", port


def link_limits(packets: float, size: float) -> bytes:
    """Return the operand of LIMITS; rates per second."""
    return pack(">QQ", int(packets), int(size))


def read_link_limits(data: bytes) -> tuple[int, int]:
    """Return (packets, bytes) per second.

    Raises: PacketError when `data` is too short.
    """
    packets, size, _ = split(data, 8, 8)
    return int.from_bytes(packets), int.from_bytes(size)


def dial_back(nonce: bytes, tls: bool, port: int) -> bytes:
    """Return the operand of DIAL_BACK."""
    return nonce + pack(">BH", tls, port)


def read_dial_back(data: bytes) -> tuple[bytes, bool, int]:
    """Return (nonce, whether with TLS, port) of DIAL_BACK.

    Raises: PacketError when `data` is too short.
    """
    nonce, flags, port, _ = split(data, 8, 1, 2)
    return nonce, bool(flags[0] & 1), int.from_bytes(port)


def dialling(nonce: bytes, url: str) -> bytes:
    """Return the operand of DIALLING."""
    return nonce + url.encode("ascii")


def read_dialling(data: bytes) -> tuple[bytes, str]:
    """Return (nonce, URL or "") of DIALLING.

    Raises: PacketError when `data` is too short, or the URL no printable ASCII of at most MAX_URL characters.
    """
    nonce, url = split(data, 8)
    if len(url) > MAX_URL or (url and not 0x21 <= min(url) <= max(url) <= 0x7E):
        raise PacketError("URL too long, or not printable")
    return nonce, url.decode("ascii")


def near(token: bytes, peer_id: PeerId) -> bytes:
    """Return the operand of NEAR: is this peer, as you see it, where you see me?"""
    return token + peer_id


def read_near(data: bytes) -> tuple[bytes, PeerId]:
    """Return (token, peer id) of NEAR. Raises: PacketError when `data` is too short."""
    token, peer_id, _ = split(data, 4, ID_BYTES)
    return token, peer_id


def nearness(token: bytes, near: bool) -> bytes:
    """Return the operand of NEARNESS, the answer to NEAR."""
    return token + bytes((near,))


def read_nearness(data: bytes) -> tuple[bytes, bool]:
    """Return (token, whether it is near) of NEARNESS. Raises: PacketError when `data` is too short."""
    token, near, _ = split(data, 4, 1)
    return token, near[0] == 1


def round_trips(found: Sequence[tuple[PeerId, float]]) -> bytes:
    """Return the content of ROUND_TRIPS, of (relay, seconds)."""
    ticks = (min(0xFFFF, round(seconds / ROUND_TRIP_UNIT)) for _, seconds in found)
    return bytes((len(found),)) + b"".join(
        peer_id + tick.to_bytes(2) for (peer_id, _), tick in zip(found, ticks, strict=True)
    )


def read_round_trips(data: bytes) -> list[tuple[PeerId, float]]:
    """Return (relay, seconds) of each in ROUND_TRIPS, at most MAX_ROUND_TRIPS. Raises: PacketError when cut short."""
    count, rest = split(data, 1)
    size = ID_BYTES + 2
    if len(rest) < count[0] * size:
        raise PacketError("round trips cut short")
    each = (rest[at : at + size] for at in range(0, min(count[0], MAX_ROUND_TRIPS) * size, size))
    return [(item[:ID_BYTES], int.from_bytes(item[ID_BYTES:]) * ROUND_TRIP_UNIT) for item in each]


def proof(nonce: bytes) -> bytes:
    """Return what a peer that was asked to dial back says."""
    return bytes((DIALLED_BACK,)) + nonce


def read_proof(message: bytes) -> bytes | None:
    """Return the nonce of a proof; None for any other message."""
    return message[1:] if message[:1] == bytes((DIALLED_BACK,)) and len(message) == 9 else None


# --- resolving -------------------------------------------------------------------------------------------------


class ResolveBody(NamedTuple):
    """The body of RESOLVE."""

    token: bytes
    bits: int
    """How much of the id is known."""
    claimants: list[PeerId]
    """Peers of which is asked how long they have been known; none where it is asked who there is."""


class ResolvedBody(NamedTuple):
    """The body of RESOLVED."""

    token: bytes
    final: bool
    ids: list[PeerId]
    behind: list[PeerId]
    """Ids of peers without a key that are behind the sender."""
    ages: list[int]
    """Seconds for which each of `ids` has been known; 0 = not at all. None unless that was asked."""


def resolve(token: bytes, bits: int, claimants: Sequence[PeerId] = ()) -> bytes:
    """Return the body of RESOLVE, as long as it must be for its answers."""
    body = b"".join((token, bytes((bits, len(claimants))), *claimants))
    return body if claimants else body + bytes(RESOLVE_PADDING)


def read_resolve(body: bytes) -> ResolveBody:
    """Return what a body of RESOLVE asks.

    Raises: PacketError when it is cut short, or asks about one claimant, one twice, or more than MAX_NAMED.
    """
    token, bits, rest = split(body, 4, 1)
    count = rest[0] if rest else 0
    if not count:
        return ResolveBody(token, bits[0], [])
    if count > MAX_NAMED or len(rest) < 1 + count * ID_BYTES:
        raise PacketError("claimants cut short, or too many")
    claimants = [rest[at : at + ID_BYTES] for at in range(1, 1 + count * ID_BYTES, ID_BYTES)]
    if count < 2 or len(set(claimants)) < count:
        raise PacketError("there is nothing to compare")
    return ResolveBody(token, bits[0], claimants)


def resolved(
    token: bytes, final: bool, ids: Sequence[PeerId], behind: Sequence[PeerId] = (), ages: Sequence[int] = ()
) -> bytes:
    """Return the body of RESOLVED."""
    head = token + bytes((final | len(behind) << 1, len(ids) + len(behind)))
    return b"".join((head, *ids, *behind, pack(f">{len(ages)}I", *ages)))


def read_resolved(body: bytes) -> ResolvedBody:
    """Return what a body of RESOLVED says.

    Raises: PacketError unless `body` is exactly that.
    """
    token, final, count, rest = split(body, 4, 1, 1)
    behind, end = final[0] >> 1, count[0] * ID_BYTES
    named = count[0] - behind
    if behind > count[0] or len(rest) not in (end, end + 4 * named):
        raise PacketError("ids cut short")
    ids = [rest[i : i + ID_BYTES] for i in range(0, end, ID_BYTES)]
    ages = list(unpack_from(f">{named}I", rest, end)) if len(rest) > end else []
    return ResolvedBody(token, bool(final[0] & 1), ids[:named], ids[named:], ages)


# --- searches --------------------------------------------------------------------------------------------------


class SearchBody(NamedTuple):
    """The body of DISCOVER."""

    token: bytes
    bits: int
    """How much of the id that is looked for is known."""
    stamp: int
    """Microseconds since 1970; those of one origin only grow."""
    public_key: bytes
    """The origin's."""
    signature: bytes = b""

    def signed(self, target: PeerId) -> bytes:
        """Return what the signature is over."""
        return SEARCH_DOMAIN + target + self.token + bytes((self.bits,)) + self.stamp.to_bytes(8)


class FoundBody(NamedTuple):
    """The body of DISCOVERED; without key and signature where a relay answers for a peer behind it."""

    token: bytes
    behind: bool
    public_key: bytes = b""
    signature: bytes = b""

    def signed(self, origin: PeerId) -> bytes:
        """Return what the signature is over."""
        return FOUND_DOMAIN + origin + self.token


def search_body(value: SearchBody) -> bytes:
    """Return the body of DISCOVER."""
    return value.token + bytes((value.bits,)) + value.stamp.to_bytes(8) + value.public_key + value.signature


def read_search_body(body: bytes) -> SearchBody:
    """Return what a body of DISCOVER says; nothing of it is checked yet.

    Raises: PacketError when it is cut short.
    """
    token, bits, stamp, public_key, signature, _ = split(body, 4, 1, 8, 32, 64)
    return SearchBody(token, bits[0], int.from_bytes(stamp), public_key, signature)


def found_body(value: FoundBody) -> bytes:
    """Return the body of DISCOVERED."""
    return value.token + bytes((value.behind,)) + value.public_key + value.signature


def read_found_body(body: bytes) -> FoundBody:
    """Return what a body of DISCOVERED says; nothing of it is checked yet.

    Raises: PacketError when it is cut short.
    """
    token, behind, rest = split(body, 4, 1)
    if behind[0] & 1:
        return FoundBody(token, True)
    public_key, signature, _ = split(rest, 32, 64)
    return FoundBody(token, False, public_key, signature)
