"""Peers that lie. Lives here: what they do with what they are given. May not live here: how others cope.

Law: an adversary does only what its keys allow: it holds real identities and links, answers what is asked of it with
falsehoods, and forges nothing that is sealed.
"""

from __future__ import annotations

from peer_relay_socket.address import ID_BYTES, PeerId, Prefix
from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.control import Contact
from peer_relay_socket.codec.packet import Header, Kind
from peer_relay_socket.engine.effects import Deliver
from tests.sim.network import Host


class Liars:
    """A conspiracy: hosts that relay nothing, and whose answers name each other and peers that do not exist."""

    def __init__(self, hosts: list[Host]) -> None:
        self.members = {host.name: host for host in hosts}
        self.dropped = 0
        self.told = 0
        for host in hosts:
            host.intercept = self.intercept

    def intercept(self, host: Host, number: int, data: bytes) -> bytes:
        """Return what of a bundle the liar's own engine gets to see; deal with the rest."""
        if data[0] == wire.LINK_HANDSHAKE:
            return data
        kept, offset, replies = [], 0, []
        while offset < len(data):
            header = wire.read_header(data, offset)
            start, offset = offset, header.end
            if header.kind == Kind.LINK or header.to == host.peer_id:
                kept.append(data[start:offset])
            elif header.kind in (Kind.FIND, Kind.RESOLVE):
                replies.append(self._lie(host, data, header))
            else:
                self.dropped += 1
        connection, side = host.connections[number]
        for reply in replies:
            self.told += 1
            host.network.transmit(host, connection, side, reply)
        return b"".join(kept)

    def _lie(self, host: Host, data: bytes, header: Header) -> bytes:
        random = host.network.random
        token = data[header.body : header.body + 4]
        if header.kind == Kind.FIND:
            ours = [other for other in self.members.values() if other.config.serves and other.peer_id != header.sender]
            ours.sort(key=lambda other: int.from_bytes(other.peer_id) ^ int.from_bytes(header.to))
            contacts = [Contact(other.peer_id, other.config.urls) for other in ours[:4]]
            nobody = header.to[:4] + random.randbytes(ID_BYTES - 4)
            contacts.append(Contact(nobody, (f"ws://9.{random.getrandbits(8)}.1.1:80/",)))
            return wire.packet(Kind.FOUND, header.sender, host.peer_id, token + control.contacts(contacts))
        bits = data[header.body + 4]
        keep = bits // 8 + 1
        made_up: PeerId = header.to[:keep] + random.randbytes(ID_BYTES - keep)
        ids = [made_up] if Prefix(bits, header.to).matches(made_up) else []
        return wire.packet(Kind.RESOLVED, header.sender, host.peer_id, control.resolved(token, True, ids))


def eavesdropped(liars: Liars, effect: Deliver) -> bool:
    """Return whether a liar was given something that was not sent to it."""
    return effect.source in {host.peer_id for host in liars.members.values()}
