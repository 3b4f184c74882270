"""Bodies of BROADCAST packets, and their content once it is open.

Law: as in packet.py, nothing here raises anything but `PacketError`.
"""

from __future__ import annotations

import ipaddress
from struct import pack, unpack_from
from typing import Final, NamedTuple

from ..errors import PacketError
from ..limits import MAX_DATAGRAM
from .packet import split

BROADCAST_DOMAIN: Final = b"peer-relay.3 broadcast"


class BroadcastBody(NamedTuple):
    """The body of BROADCAST; `content` as it travels, sealed or not."""

    public_key: bytes
    stamp: int
    nonce: bytes
    signature: bytes
    content: bytes

    @property
    def signed(self) -> bytes:
        """What the signature is over."""
        return BROADCAST_DOMAIN + self.public_key + self.stamp.to_bytes(8) + self.nonce + self.content

    @property
    def associated(self) -> bytes:
        """What the seal, if there is one, also vouches for."""
        return self.public_key + self.stamp.to_bytes(8)


class Broadcast(NamedTuple):
    """One datagram for everybody who hears `group`, the text of an IPv4 (form 4) or IPv6 (form 6) address."""

    form: int
    source_port: int
    port: int
    group: str
    datagram: bytes


def broadcast_body(value: BroadcastBody) -> bytes:
    """Return the body of BROADCAST."""
    return value.public_key + value.stamp.to_bytes(8) + value.nonce + value.signature + value.content


def read_broadcast_body(body: bytes) -> BroadcastBody:
    """Return what a body of BROADCAST says; nothing of it is checked yet.

    Raises: PacketError when it is cut short.
    """
    public_key, stamp, nonce, signature, content = split(body, 32, 8, 12, 64)
    return BroadcastBody(public_key, int.from_bytes(stamp), nonce, signature, content)


def broadcast_content(value: Broadcast) -> bytes:
    """Return its content, before a network key seals it."""
    group = ipaddress.ip_address(value.group).packed
    return pack(">BHH", value.form, value.source_port, value.port) + group + value.datagram


def read_broadcast_content(data: bytes) -> Broadcast:
    """Return the broadcast whose content `data` is.

    Raises: PacketError unless the form and the ports mean something and the datagram fits UDP.
    """
    head, rest = split(data, 5)
    form, source_port, port = unpack_from(">BHH", head)
    if form not in (4, 6) or not source_port or not port:
        raise PacketError("broadcast malformed")
    group, datagram = split(rest, 4 if form == 4 else 16)
    if len(datagram) > MAX_DATAGRAM:
        raise PacketError("broadcast too long")
    return Broadcast(form, source_port, port, str(ipaddress.ip_address(group)), datagram)
