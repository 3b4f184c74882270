"""What makes WebRTC connections: the shape that any implementation has, and aiortc with the members it does not show.

Lives here: the two protocols, the factory that imports aiortc, everything that reads private members of aiortc and
aioice. May not live here: the life of a connection (rtc_connection.py), what travels over it (webrtc.py).

A `wrtc` factory replaces aiortc: it is called with the ICE servers and returns something that has what `PeerConnection`
names, as the browsers' RTCPeerConnection does.

Law: aiortc is imported when the first connection is made, never before, and not on the loop's thread. Where a private
member is missing (another version, another implementation) the connection works without what it was for.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from ..setting_values import IceServer
from .link import NoImplementationError
from .local_addresses import source_toward
from .rtc_description import Candidate
from .rtc_frames import GOODBYE, WHOLE


class DataChannel(Protocol):
    """What is used of a data channel."""

    readyState: str  # noqa: N815
    bufferedAmount: int  # noqa: N815

    bufferedAmountLowThreshold: int  # noqa: N815

    def send(self, data: bytes | str, /) -> None:
        """Queue one message."""

    def on(self, event: str, listener: Callable[..., object], /) -> object:
        """Call `listener` at "open", "message" (bytes or str), "bufferedamountlow" and "close"."""


class PeerConnection(Protocol):
    """What is used of a connection. Descriptions have `sdp` and `type`; the local one names every candidate as soon as
    `setLocalDescription` has returned."""

    localDescription: Any  # noqa: N815
    connectionState: str  # noqa: N815

    def createDataChannel(self, label: str, **options: Any) -> Any:  # noqa: N802
        """Return a `DataChannel`; options: negotiated, id, ordered, maxRetransmits."""

    def addIceCandidate(self, candidate: Any, /) -> Awaitable[Any]:  # noqa: N802
        """Take one more candidate of the other end; legacy peers send them so."""

    def createOffer(self) -> Awaitable[Any]:  # noqa: N802
        """Return a description."""

    def createAnswer(self) -> Awaitable[Any]:  # noqa: N802
        """Return a description."""

    def setLocalDescription(self, description: Any, /) -> Awaitable[Any]:  # noqa: N802
        """Take what createOffer or createAnswer returned."""

    def setRemoteDescription(self, description: Any, /) -> Awaitable[Any]:  # noqa: N802
        """Take the other end's."""

    def on(self, event: str, listener: Callable[..., object], /) -> object:
        """Call `listener` at "connectionstatechange" and "datachannel" (the other end's `DataChannel`)."""

    def close(self) -> Awaitable[Any]:
        """End the connection."""


Factory = Callable[[Sequence[IceServer]], Any]
"""Returns a `PeerConnection` that uses the ICE servers given and no others. Called on the loop's thread."""


async def aiortc_factory() -> Factory:
    """Import aiortc (0.25 to 0.5 s) beside the loop. Raises: NoImplementationError when it is not installed or does
    not load."""

    def load() -> Factory:
        import aiortc

        def connection(servers: Sequence[IceServer]) -> Any:
            ice = [aiortc.RTCIceServer(urls=s.url, username=s.username, credential=s.credential) for s in servers]
            return aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=ice))

        return connection

    try:
        return await asyncio.get_running_loop().run_in_executor(None, load)
    except ImportError as error:
        raise NoImplementationError(f"aiortc cannot be imported: {error}") from None


class DtlsFrames:
    """The DTLS transport under a connection's SCTP, where records that are not SCTP's are ours.

    aiortc has no public way to it; an implementation without these members is told by `of` returning None.
    """

    def __init__(self, dtls: Any, sctp: Any, heard: Callable[[bytes], None]) -> None:
        self._heard = heard
        self._sctp_data = sctp._handle_data
        self.send: Callable[[bytes], Awaitable[None]] = dtls._send_data
        dtls._data_receiver = self

    @classmethod
    def of(cls, pc: Any, heard: Callable[[bytes], None]) -> DtlsFrames | None:
        """Return it for an open connection, or None."""
        dtls = getattr(getattr(pc, "sctp", None), "transport", None)
        sctp = getattr(dtls, "_data_receiver", None)
        if not inspect.iscoroutinefunction(getattr(dtls, "_send_data", None)):
            return None
        if not inspect.iscoroutinefunction(getattr(sctp, "_handle_data", None)):
            return None
        return cls(dtls, sctp, heard)

    async def _handle_data(self, data: bytes) -> None:
        if WHOLE <= data[0] <= GOODBYE:
            self._heard(data)
        else:
            await self._sctp_data(data)


def look_from(pc: Any, most: int) -> tuple[int, int]:
    """Have a new connection look for a path from `most` addresses of this machine of each family, those that lead to
    the Internet first; return how many these are, of IPv4 and of IPv6. (1, 1) where the members are not aioice's."""
    try:
        from aioice.ice import get_host_addresses

        connection = pc.sctp.transport.transport._connection
        gather = connection.get_component_candidates
        found = get_host_addresses(use_ipv4=True, use_ipv6=True)
    except (AttributeError, ImportError, OSError):
        return 1, 1
    chosen = []
    for wide, outside in ((False, "192.0.2.1"), (True, "2001:db8::1")):  # addresses of documentation
        hosts = [host for host in found if (":" in host) is wide]
        first = source_toward(outside)
        chosen.append([*(host for host in hosts if host == first), *(host for host in hosts if host != first)][:most])
    if len(found) > sum(map(len, chosen)):

        async def from_these(component: int, addresses: list[str], *rest: Any, **options: Any) -> Any:
            few = [host for host in addresses if any(host in hosts for hosts in chosen)]
            return await gather(component, few, *rest, **options)

        connection.get_component_candidates = from_these
    return max(1, len(chosen[0])), max(1, len(chosen[1]))


def stop_asking(pc: Any) -> None:
    """Take it that STUN servers which have not answered will not. Does nothing where the members are not aioice's."""
    with contextlib.suppress(AttributeError, ImportError):
        from aioice.stun import TransactionTimeout

        for protocol in pc.sctp.transport.transport._connection._protocols:
            for transaction in list(protocol.transactions.values()):
                future = transaction._Transaction__future
                if not future.done():
                    future.set_exception(TransactionTimeout())


async def checks_ended(pc: Any) -> None:
    """Wait, once a connection is closed, until it looks for a path no more: while candidates may come, that goes on for
    20 ms. Does nothing where the members are not aiortc's."""
    with contextlib.suppress(AttributeError):
        await pc.sctp.transport.transport._RTCIceTransport__start.wait()
        await asyncio.sleep(0)


async def add_candidate(pc: Any, text: str) -> None:
    """Give a connection, once it has the other end's description, one more candidate ("candidate:...") of it."""
    candidate: Any = Candidate(text)
    with contextlib.suppress(ImportError):
        import aiortc

        if isinstance(pc, aiortc.RTCPeerConnection):
            from aiortc.sdp import candidate_from_sdp

            candidate = candidate_from_sdp(text.removeprefix("candidate:"))
            candidate.sdpMLineIndex = 0
    await pc.addIceCandidate(candidate)


def turn_server(pc: Any) -> str | None:
    """Return the IP address of the TURN server, either end's, through which a connection goes, or None."""
    try:
        pair = pc.sctp.transport.transport._connection._nominated[1]
        for candidate in (pair.local_candidate, pair.remote_candidate):
            if candidate.type == "relay":
                return str(candidate.host)
    except (AttributeError, KeyError, IndexError, TypeError):
        pass
    return None


def local_address(pc: Any) -> tuple[str | int, ...] | None:
    """Return the address of this machine from which ICE reaches the other end; None where the implementation does not
    tell, or a TURN server's is in its place."""
    try:
        candidate = pc.sctp.transport.transport._connection._nominated[1].local_candidate
        return (str(candidate.host), int(candidate.port)) if candidate.type == "host" else None
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None


def remote_address(pc: Any) -> tuple[str, int]:
    """Return where ICE found the other end; unspecified where the implementation does not tell."""
    try:
        host, port = pc.sctp.transport.transport._connection._nominated[1].remote_addr
        return str(host), int(port)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return "0.0.0.0", 0
