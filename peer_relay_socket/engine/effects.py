"""What the engine asks of its driver. Records only.

Law: an effect says what to do, never how; the driver performs them in order. Bundles are not effects: they are
collected per link by `Engine.take_bundles`, so that what leaves together is packed together.

Named tuples, because frozen dataclasses take ten times as long to make (7 ms of a start); so effects of two kinds with
the same content are equal: ask for the type first.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from ..address import Destination, PeerId
from ..scope import Scope

SUPERSEDED: Final = "superseded"
"""Why a link is closed when a newer one to the same peer has come up; the other end sees it in the close frame."""


class Deliver(NamedTuple):
    """Datagrams from `source` for `port`."""

    source: PeerId
    source_port: int
    port: int
    """0 where the wire does not say it (peers without keys)."""
    form: int
    """How the sender spelled us: 4, 6, or 0 for whole ids."""
    datagrams: list[bytes]
    address_conflict: bool = False
    """Whether the IPv4 spelling of `source` is that of another peer: sockets that use it must not hear this."""


class Segment(NamedTuple):
    """A TCP segment from `source`, whose addresses are of IP version `form`."""

    source: PeerId
    form: int
    data: bytes
    address_conflict: bool = False
    """As of Deliver."""


class DeliverBroadcast(NamedTuple):
    """A datagram from `source` for everybody who hears `group` on `port`."""

    source: PeerId
    source_port: int
    port: int
    form: int
    group: str
    datagram: bytes


class Dial(NamedTuple):
    """Open a link to `url`; answer with `link_opened` or `dial_failed`. Addresses below `scope` must not be dialled,
    and this machine's own and those on its wires only if `nearby`. For dns:DOMAIN: find out which relays that domain
    names; answer with `looked_up` or `dial_failed`."""

    url: str
    scope: Scope
    nearby: bool = False


class DialBack(NamedTuple):
    """Open a connection to `url` for a neighbour, which asked for it or claims it; once something binary has come, send
    the proof of `nonce` (control.proof) and close. Addresses below `scope` must not be dialled. The
    outcome is not reported."""

    url: str
    scope: Scope
    nonce: bytes
    nearby: bool = True
    """Whether this machine's own public addresses, and those on its wires, may be dialled."""


class CloseLink(NamedTuple):
    """Close a link, after what was sent on it."""

    link: int
    reason: str


class Throttle(NamedTuple):
    """Do not read from a link for some seconds: it sent more than its share."""

    link: int
    seconds: float


class PeerUp(NamedTuple):
    """A link to `peer_id` is up."""

    peer_id: PeerId


class PeerDown(NamedTuple):
    """The link to `peer_id` is gone."""

    peer_id: PeerId


class ConnectFailed(NamedTuple):
    """The program asked for a link to `peer_id`, and `reason` says why there is none yet; it is tried again. Said once
    for each reason."""

    peer_id: PeerId
    reason: str


class Message(NamedTuple):
    """JSON text from `source`."""

    source: PeerId
    data: bytes


class Refused(NamedTuple):
    """`source` says that nothing is bound to `port`; our datagram came from `source_port`."""

    source: PeerId
    port: int
    source_port: int


class Unreachable(NamedTuple):
    """Nothing answers for `destination`."""

    destination: Destination
    why: str = ""


class Found(NamedTuple):
    """`Probes.find` with `token` came to its end: `peer_id` is there, or (None) no peer, or several, have the
    address."""

    token: bytes
    peer_id: PeerId | None
    found_by: PeerId | None = None
    """The neighbour that named it first; None where we knew it, or it spoke for itself."""


class EchoAsked(NamedTuple):
    """`peer_id` asks for a sign of life and whether `port` is bound (0 = it does not ask): `Probes.answer`."""

    token: bytes
    peer_id: PeerId
    port: int


class Echoed(NamedTuple):
    """`peer_id` answered `Probes.echo`; `refused`: nothing is bound to the port."""

    token: bytes
    peer_id: PeerId
    refused: bool


class Traced(NamedTuple):
    """`peer_id` answered `Probes.trace`."""

    token: bytes
    peer_id: PeerId


class Writable(NamedTuple):
    """`Engine.room` of `destination` grew from nothing."""

    destination: Destination


class AddressChecked(NamedTuple):
    """This peer is linked and has asked for its own short address. `other` is another peer that has it, too; that may
    come a second time, some seconds later, where two joined at once."""

    other: PeerId | None


class Describe(NamedTuple):
    """Make a WebRTC session description for a link to `peer_id`: an offer, or the answer to `offer`. Answer with
    `Engine.described`; with `direct_failed` when the attempt ends, whenever that is. `legacy`: the link is to
    speak the legacy network's wire."""

    attempt: int
    peer_id: PeerId
    offer: str | None
    scope: Scope
    """How far the addresses must reach, at least, that the other side names."""
    legacy: bool = False
    shows: Scope = Scope.PRIVATE
    """How far the addresses must reach that our description names; GLOBAL: the public ones only."""


class Accept(NamedTuple):
    """The other side's answer to the offer of `attempt`: connect."""

    attempt: int
    answer: str


class AddCandidate(NamedTuple):
    """One more candidate of the other side's for `attempt`; it may come before the description it belongs to."""

    attempt: int
    candidate: str


class Abandon(NamedTuple):
    """Drop the connection of `attempt`, if there is one."""

    attempt: int


class NoRoom(NamedTuple):
    """Legacy node `peer_id` at `url`, without which we are alone, has no room for an id like ours; perhaps for one that
    begins as its own."""

    peer_id: PeerId
    url: str


class Note(NamedTuple):
    """Something an operator should read, once."""

    level: int
    text: str


Effect: TypeAlias = (
    Deliver
    | DeliverBroadcast
    | Segment
    | Dial
    | DialBack
    | CloseLink
    | Throttle
    | PeerUp
    | PeerDown
    | ConnectFailed
    | Message
    | Refused
    | Unreachable
    | Found
    | EchoAsked
    | Echoed
    | Traced
    | Writable
    | AddressChecked
    | Describe
    | Accept
    | AddCandidate
    | Abandon
    | NoRoom
    | Note
)
