"""The handle of one member of the network: what `Socket.peer` is.

Lives here: `Peer`, and the process's default one. May not live here: sockets, asyncio.

Law: every method may be called from any thread; listeners run one after another on a thread of their own, never on the
relay's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, Unpack, get_args, overload

from ..address import ID_BYTES, PeerId, Special, parse_id
from ..bridge.host import Host
from ..bridge.waiting import guard
from ..config import Settings, peer_config
from ..errors import PeerRelayError
from ..limits import EXIT_TIME
from ..originals import time

if TYPE_CHECKING:
    from ..bridge.status import PeerStatus
    from ..engine.direct import Path
    from ..identity import Identity

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
PeerEvent: TypeAlias = Literal["message", "peer", "error", "close"]
_EVENTS: Final = get_args(PeerEvent)

hub_sleep: Callable[[], Callable[[float], object] | None] | None = None
"""Returns the `sleep` of the event library that runs this program, None where none does. The import name's package puts
its own here."""
_HUB_SLEEP: Final = 0.005
"""Seconds between two looks from within another event library."""
_default: Peer | None = None
_default_guard = guard()


class Peer:
    """One member of the relay network.

    With `port` it serves links on that TCP port (0 = any free one) and relays for others; with `bootstrap` it joins
    through those ws:// or wss:// URLs, and tries them for ever. With neither, peers on one machine find each other
    through a node on loopback that the first of them serves. Each keyword falls back to its PEER_RELAY_* variable.
    """

    def __init__(self, **settings: Unpack[Settings]) -> None:
        """Begin to take part in the network. Does not wait for it, but for the port to be served on.

        Args: settings: as in cli/README.md. Lists of peers (`allow_links` and the others) are files with one id a line,
            looked at twice a second, or functions of an id, which are called often, on the relay's thread, and
            must not wait; peers that they no longer admit are parted from within two seconds.
        Raises: ConfigError for a setting that means nothing; TypeError for a keyword that there is not; IdentityError
            for a key file that cannot be used; OSError (EADDRINUSE, EACCES) when the port cannot be served on.
        """
        self._host = Host(peer_config(**settings))
        self._once: dict[tuple[str, Callable[..., object]], Callable[..., object]] = {}
        self._begin()

    def _begin(self) -> None:
        self._host.start()

    # --- identity ---------------------------------------------------------------------------------------------------

    @property
    def id(self) -> PeerId:
        """The 20-byte id. One that came from no key file may change once, before the peer is first linked up, when
        another peer has the same IPv4 address."""
        return self._host.peer_id

    @property
    def address(self) -> str:
        """The IPv4 address by which other peers' AF_INET sockets reach this one."""
        return self._host.spelling.ipv4(self._host.peer_id)

    @property
    def ipv6(self) -> str:
        """The same for AF_INET6."""
        return self._host.spelling.ipv6(self._host.peer_id)

    @property
    def url(self) -> str | None:
        """Where this peer serves links; None if it does not."""
        port = self._host.port
        if port is None:
            return None
        name = self._host.config.host or "127.0.0.1"
        scheme = "ws" if self._host.config.tls_cert is None else "wss"
        return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}"

    @property
    def advertised(self) -> tuple[str, ...]:
        """The URLs at which neighbours are told to dial this peer: those at which some of them have reached it, or
        `public_url`; () when it serves no links, or no peer can dial it, or that is not known yet. A host of "*" is the
        address at which each neighbour sees it. Any thread but the relay's; milliseconds.

        Raises: PeerClosedError after `destroy`.
        """
        return self._host.advertised()

    @property
    def peers(self) -> list[PeerId]:
        """The ids of the peers this one is linked to, oldest link first."""
        return list(self._host.peers)

    @property
    def destroyed(self) -> bool:
        """Whether `destroy` was called."""
        return self._host.closed

    def counters(self) -> dict[str, int]:
        """Return how many packets and datagrams were dropped or refused, by reason."""
        return self._host.counters()

    def status(self) -> PeerStatus:
        """Return what there is to know about this peer now: links, bootstrap URLs, sockets, sessions, counters. The
        keys are those of `peer-relay status --json`. Any thread but the relay's; milliseconds. Starts nothing.

        Raises: PeerClosedError after `destroy`, and in a forked child.
        """
        return self._host.status()

    # --- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to take part, if that has not begun.

        Raises: OSError as the constructor; PeerClosedError after `destroy`.
        """
        self._host.start()

    def wait_connected(self, timeout: float | None = None) -> bool:
        """Wait until at least one link is up.

        Args: timeout: seconds; None = for as long as it takes.
        Returns: False when the time is up.
        """
        self._host.start()
        linked, sleep = self._host.linked, hub_sleep() if hub_sleep is not None else None
        if sleep is None:
            return linked.wait(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        while not linked.is_set() and (end is None or time.monotonic() < end):
            sleep(_HUB_SLEEP)
        return linked.is_set()

    def flush(self, timeout: float) -> bool:
        """Wait until everything that was sent has left for the network, at most `timeout` seconds.

        Returns: whether it has.
        """
        return self._host.flush(timeout)

    def destroy(self, callback: Callable[[], object] | None = None) -> None:
        """Leave the network: what was sent is flushed (for at most EXIT_TIME seconds), links are closed. Idempotent.

        Args: callback: called when that is done, on the calling thread.
        """
        self._host.destroy(EXIT_TIME)
        if callback is not None:
            callback()

    async def aclose(self) -> None:
        """As `destroy`, without blocking the event loop of an asyncio program."""
        await self._host.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.destroy()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = " destroyed" if self.destroyed else ""
        return f"<Peer {self.id.hex()} {self.address}{state}>"

    # --- neighbours --------------------------------------------------------------------------------------------

    def connect(self, peer_id: PeerId | str) -> None:
        """Link to a peer: by WebSocket where one side can dial the other, else by WebRTC; event "peer" says when.
        Returns at once. While there is no link it is tried again and again; `path` and the log say why.

        Args: peer_id: 20 bytes, 40 hex digits, or these with ".peer" appended, as everywhere here.
        Raises: ValueError for what is no id; TypeError for what is neither bytes nor a string.
        """
        self._host.connect(_checked(peer_id))

    def disconnect(self, peer_id: PeerId | str) -> None:
        """Drop the link to a peer, which stays reachable through others. Neither side makes a new one until one of the
        two programs calls `connect`. Harmless without a link.

        Raises: ValueError as `connect`.
        """
        self._host.disconnect(_checked(peer_id))

    def path(self, peer: PeerId | str) -> Path:
        """Return how a peer is reached now, since when, at what round trip time, and why not directly. Any thread but
        the relay's; milliseconds.

        Args: peer: its id, name, or IPv4 or IPv6 address; an address means a peer once this one has sent to it, or
            knows just one peer that has it.
        Raises: ValueError and TypeError as `connect`, and for what is no address of the overlay; PeerClosedError after
            `destroy`.
        """
        meant = self._host.spelling.parse(peer) if isinstance(peer, str) else _checked(peer)
        if isinstance(meant, Special):
            raise ValueError(f"not a peer id, name or address: {peer!r}")
        return self._host.path(meant)

    # --- messages ----------------------------------------------------------------------------------------------

    def send(self, peer_id: PeerId | str, data: Json) -> None:
        """Send JSON-able data to any peer, linked or not; its listeners of "message" get it.

        Sealed end to end, except to peers without a key; at most once; as with datagrams, delivery is not promised.

        Raises: ValueError as `connect`; TypeError or ValueError when `data` is not JSON-able; OSError EMSGSIZE above
            MAX_MESSAGE bytes of JSON.
        """
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
        self._host.send_message(_checked(peer_id), text)

    @overload
    def on(self, event_name: Literal["message"], listener: Callable[[Any, PeerId], object]) -> Self: ...
    @overload
    def on(self, event_name: Literal["peer"], listener: Callable[[PeerId], object]) -> Self: ...
    @overload
    def on(self, event_name: Literal["error"], listener: Callable[[PeerRelayError], object]) -> Self: ...
    @overload
    def on(self, event_name: Literal["close"], listener: Callable[[], object]) -> Self: ...
    @overload
    def on(self, event_name: PeerEvent, listener: Callable[..., object]) -> Self: ...
    def on(self, event_name: PeerEvent, listener: Callable[..., object]) -> Self:
        """Call `listener` at each event:

        - "message" (data, from_id): `send` of another peer.
        - "peer" (id): a new link is up.
        - "error" (PeerRelayError): what the program should know and this peer cannot mend: a bootstrap that does not
          answer, or refuses us; another process with our key; another peer with our address. Each is also a line in
          the log. # Unlike Node: without a listener it is nothing but that line, since networks fail in ways that mend
          themselves, and no background thread should end a program.
        - "close" (): this peer was destroyed, by whatever thread.

        Ids of peers without a key are `UnprovedId`s: `is_authenticated(from_id)` is False. Datagrams of
        theirs go to the sockets and are no "message".
        """
        if event_name not in _EVENTS:
            raise ValueError(f"no such event: {event_name!r} (there are {', '.join(_EVENTS)})")
        self._host.listeners.on(event_name, listener)
        if event_name in ("message", "peer"):  # these come from the network, the others tell how it goes
            self._host.start()
        return self

    @overload
    def once(self, event_name: Literal["message"], listener: Callable[[Any, PeerId], object]) -> Self: ...
    @overload
    def once(self, event_name: Literal["peer"], listener: Callable[[PeerId], object]) -> Self: ...
    @overload
    def once(self, event_name: Literal["error"], listener: Callable[[PeerRelayError], object]) -> Self: ...
    @overload
    def once(self, event_name: Literal["close"], listener: Callable[[], object]) -> Self: ...
    @overload
    def once(self, event_name: PeerEvent, listener: Callable[..., object]) -> Self: ...
    def once(self, event_name: PeerEvent, listener: Callable[..., object]) -> Self:
        """As `on`, for the next event only."""

        def once(*args: object) -> None:
            self.off(event_name, listener)
            listener(*args)

        self._once[event_name, listener] = once
        return self.on(event_name, once)

    def off(self, event_name: PeerEvent, listener: Callable[..., object]) -> Self:
        """Undo one `on` or `once`; harmless if there was none."""
        self._host.listeners.off(event_name, self._once.pop((event_name, listener), listener))
        return self


def _checked(peer_id: PeerId | str) -> PeerId:
    if not isinstance(peer_id, str | bytes | bytearray | memoryview):
        raise TypeError(f"a peer id is bytes or a string, not {type(peer_id).__name__}")
    whole = parse_id(peer_id) if isinstance(peer_id, str) else bytes(peer_id)
    if whole is None or len(whole) != ID_BYTES:
        raise ValueError(f"not a peer id (20 bytes or 40 hex digits): {peer_id!r}")
    return whole


def default_peer() -> Peer:
    """Return the peer that sockets without options of their own share; made at the first call.

    Raises: as `Peer`, for what PEER_RELAY_* variables say.
    """
    global _default
    with _default_guard:
        peer = _default
        if peer is None or peer.destroyed or not peer._host.ours:
            made = _DefaultPeer(peer)
            if _default is peer:  # a signal handler, say, may have been here meanwhile
                _default = made
            peer = _default
        assert peer is not None
        return peer


class _DefaultPeer(Peer):
    """Starts when the first of its sockets needs the network.

    In a forked child it does not serve links if the parent's does: it joins through that one.
    """

    def __init__(self, before: Peer | None) -> None:
        config = peer_config()
        serving = before is not None and not before._host.ours and before._host.config.port is not None
        url = before.url if serving and before is not None else None
        if url is not None:
            config = replace(config, port=None, bootstrap=(*config.bootstrap, url), embedded=False)
        self._host = Host(config, identity=_handed_on.pop() if _handed_on else None)
        self._once = {}

    def _begin(self) -> None:
        """Not yet."""


_handed_on: Final[list[Identity]] = []


def take_over(identity: Identity) -> None:
    """Let this process's default peer, which is yet to be made, be the one that `identity` says."""
    _handed_on.append(identity)


def default_identity() -> Identity | None:
    """Return the identity of this process's own default peer; None while there is none."""
    return None if _default is None or not _default._host.ours or _default.destroyed else _default._host.identity


def default_id() -> PeerId | None:
    """Return the id of the default peer; None while nothing needed one."""
    return None if _default is None or not _default._host.ours else _default.id


def _forked() -> None:
    global _default_guard
    _default_guard = guard()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
