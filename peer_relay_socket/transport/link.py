"""What a link is, whatever carries it: an open connection to one neighbour that takes and gives opaque bundles.

Lives here: the two protocols between a link and its driver, and `LinkError`. May not live here: any transport.

Law: everything happens on the loop's thread, or, where it says so, on one that has the loop's turn. A link never calls
its driver from inside one of its own methods; what a method causes (`link_writable`, `link_closed`) arrives in a later
turn of the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class LinkError(OSError):
    """A link could not be opened for a reason that no errno names; the text is one line for people."""


class NoImplementationError(LinkError):
    """What would carry the link is not installed."""


class Link(Protocol):
    """An open connection to a neighbour. Bundles arrive whole, unaltered and in order, or the link closes."""

    @property
    def outbound(self) -> bool:
        """True where this end dialled."""

    @property
    def url(self) -> str | None:
        """What this end dialled; None on an inbound link."""

    @property
    def remote_host(self) -> str:
        """IP literal of the neighbour, as far as it is known; "" where a proxy, ours or its, hides it."""

    @property
    def remote_port(self) -> int:
        """Port of the other end of the connection."""

    @property
    def left_from(self) -> tuple[str | int, ...] | None:
        """The address of this machine, as `socket.getsockname` has it, from which this end reached the other; None on
        an inbound WebSocket, which may have come to an address that is not this machine's (a transparent proxy), and
        where it is not known."""

    @property
    def ours(self) -> bool:
        """Inbound: the client offered subprotocol peer-relay.3. Outbound: the server selected it (legacy ones echo)."""

    @property
    def other_version(self) -> str | None:
        """The subprotocol of a neighbour that speaks another version of ours, else None."""

    @property
    def tls(self) -> bool:
        """True where TLS protects the connection as far as this end can see."""

    @property
    def full(self) -> bool:
        """The backlog passed LINK_HIGH_WATER and has not yet fallen below LINK_LOW_WATER (`link_writable`)."""

    @property
    def backlog(self) -> int:
        """Bytes that `send` accepted and the kernel has not yet taken."""

    @property
    def dropped(self) -> int:
        """Messages not sent because the backlog was past LINK_BACKLOG_MAX or the message larger than MAX_BUNDLE."""

    def send(self, bundle: bytes | bytearray | memoryview, /) -> None:
        """Send one binary message; the bytes are taken before it returns.

        Never blocks and never raises. Does nothing once the link is closed; drops and counts past LINK_BACKLOG_MAX.

        Args:
            bundle: 0..MAX_BUNDLE bytes.
        """

    @property
    def prompt(self) -> bool:
        """Whether `send_now` may be called: nothing waits, and a bundle can be given to the kernel directly."""

    def send_now(self, bundle: bytes, /) -> bool:
        """Send one binary message on a link that is `prompt`, whatever thread has the loop's turn.

        Never blocks. What a signal handler raises comes out of it, and leaves the stream whole: the message was sent,
        will be, or was not begun. Returns: False, with nothing done, where the link is not `prompt`.
        """

    def send_text(self, text: str, /) -> None:
        """Send one text message (the legacy wire), as `send` does."""

    def pause_reading(self) -> None:
        """Deliver nothing more until `resume_reading`; the neighbour feels it as back-pressure."""

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close; what was sent is flushed for at most LINK_CLOSE_TIMEOUT seconds, then the connection is aborted.

        Nothing more is delivered but `link_closed`. Idempotent.

        Args:
            code: WebSocket close code, 1000..4999.
            reason: shown to the neighbour; cut to 123 bytes.
        """

    def abort(self) -> None:
        """Drop the connection and what waits in it. `link_closed` follows. Idempotent."""


class LinkHandler(Protocol):
    """What drives links. An exception from any of these closes that link and goes to the loop's exception handler."""

    def link_opened(self, link: Link) -> None:
        """The opening handshake is done. On a dialled link this comes before `dial` returns."""

    def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
        """Every binary message that one read from the connection completed, in order; never empty."""

    def fast_received(self, link: Link, bundle: bytes, taken: Callable[[], object]) -> bool:
        """A small binary message, one of the few that were all there was to read. Called by the thread that has the
        loop's turn. A signal handler may interrupt that thread with an exception: what was done until then must be
        whole.

        Returns: True when it was taken, and nothing is left to do on the loop; then `taken` was called, before whatever
        must not be done twice. False: `bundles_received` gets it, in a later turn of the loop.
        """

    def text_received(self, link: Link, text: str) -> None:
        """One text message, in order with the bundles around it."""

    def link_writable(self, link: Link) -> None:
        """The backlog of a full link fell below LINK_LOW_WATER."""

    def link_closed(self, link: Link, reason: str) -> None:
        """The link is gone: the last call for it, exactly one per opened link. `reason` is one line."""
