"""How a peer's links come about: dialling, serving, and taking the embedded node's place when no process has it.

Lives here: one task per dial, the listener, what is said to the operator when a place does not answer. May not live
here: whom to dial and when again (engine, membership), the opening handshake (transport).

Law: whatever a dial comes to, the driver is told once; a place is complained about once until it answers again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ..config import PeerConfig
from ..engine.effects import SUPERSEDED, Dial, DialBack
from ..limits import DIAL_TIME, FAILURE_AGAIN, FIRST_WORD, MEETING_TIME
from ..meeting import MEETING
from ..scope import Scope, reach
from ..setting_values import LOOKUP
from ..transport.forwarded import Proxies
from ..transport.link import LinkError
from ..transport.websocket import SUBPROTOCOL, Listener, dial, listen
from .certificate import Certificate, read_certificate
from .dial_back import dial_back
from .key_conflicts import KeyConflicts
from .log import log
from .own_networks import OwnNetworks

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from ..transport.link import Link, LinkHandler


EMBEDDED_URL: Final = "ws://localhost/this-user"
"""Stands for wherever the programs of this user meet."""


_OTHER_VERSION = 4002
"""Close code for a WebSocket whose other end speaks another version of the wire."""


class Dialler:
    """The dials and the listener of one peer. Loop thread only, but for `__init__`.

    Args:
        handler: who drives the links.
        own_networks: those that learned URLs may not lead to.
        report: told what the program should know of.
        failed: told the URL of each dial that came to nothing, and why.
        found: told which relays a domain names.
        embedded: told when this peer has become the embedded node.
        is_linked: whether any link is up.
    """

    def __init__(
        self,
        handler: LinkHandler,
        config: PeerConfig,
        own_networks: OwnNetworks,
        report: Callable[[str], None],
        failed: Callable[[str, str], None],
        found: Callable[[str, list[str]], None],
        embedded: Callable[[], None],
        is_linked: Callable[[], bool] = lambda: False,
    ) -> None:
        self._handler = handler
        self._config = config
        self._own_networks = own_networks
        self._report = report
        self._failed = failed
        self._found = found
        self._embedded = embedded
        self._is_linked = is_linked
        self._places = dict.fromkeys(config.bootstrap)
        """Bootstrap URLs, and domains whose relays are not known."""
        self._dials: set[asyncio.Task[None]] = set()
        self._rivals = KeyConflicts()
        self._unanswered: set[str] = set()
        """Bootstrap URLs where the last dial came to nothing."""
        self._complained: dict[str, int] = {}
        """Bootstrap URLs whose failure was told since they last answered, and at what level."""
        self._listener: Listener | None = None
        self._page_refused_at = -FAILURE_AGAIN
        self.certificate: Certificate | None = None
        """What it serves wss:// with."""
        self._closed = False

    # --- serving ---------------------------------------------------------------------------------------------

    @property
    def serves(self) -> bool:
        """Whether this peer listens."""
        return self._listener is not None

    @property
    def port(self) -> int | None:
        """The TCP port served on."""
        return None if self._listener is None else self._listener.port

    @property
    def listening(self) -> list[socket.socket]:
        """The sockets that listen; none where no neighbour is told how to reach their addresses by UDP."""
        hidden = self._config.public_udp is None and _is_hidden(self._config)
        return [] if self._listener is None or hidden else self._listener.sockets

    @property
    def urls(self) -> tuple[str, ...]:
        """Where this peer listens, whether or not any other peer can dial that."""
        config = self._config
        if self._listener is None:
            return ()
        host = "127.0.0.1" if config.embedded else config.host
        if host in ("", "0.0.0.0", "::"):
            host = "*"  # a peer that links to us fills in the address at which it sees us
        scheme = "ws" if config.tls_cert is None else "wss"
        return (f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._listener.port}",)

    async def serve(self) -> None:
        """Serve, if the configuration says so.

        Raises: OSError when the port cannot be served on.
        """
        config = self._config
        if config.port is None:
            return
        self.certificate = read_certificate(config)
        try:
            listener = await listen(
                self._handler,
                config.host,
                config.port,
                ssl=None if self.certificate is None else self.certificate.context,
                origins=config.origins,
                proxies=Proxies(config.trusted_proxies, hiding=_is_hidden(config)),
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            where = f"{config.host or 'any address'}, TCP port {config.port}"
            raise OSError(error.errno, f"{reason}: cannot serve links on {where}") from None
        listener.page_refused = self._page_refused
        self._listener = listener

    def _page_refused(self, host: str, origin: str) -> None:
        """Say once a minute, and at debug level else, that a web page may not link to us."""
        now = asyncio.get_running_loop().time()
        text = f"link from {host} refused: it comes from a web page of {origin}; see origins (--origin)"
        if now < self._page_refused_at + FAILURE_AGAIN:
            log.debug("! %s", text)
            return
        self._page_refused_at = now
        log.info("! %s", text)

    def reload_certificate(self) -> None:
        """Read the certificate and its key again; links that stand keep the old one.

        Raises: OSError as `read_certificate`; the old one then stays in use.
        """
        fresh = read_certificate(self._config)
        if fresh is not None and self._listener is not None:
            self.certificate = fresh
            self._listener.ssl = fresh.context

    async def _meet(self) -> None:
        """Link to the program of this user that serves the embedded node, or become it where none does.

        Raises: OSError where neither came about, for example because another program was quicker.
        """
        free, silent = [], []
        every, limit = Scope.LOOPBACK.covers, MEETING_TIME
        # Each twice: a program of this user that ends amid a dial seems to be another's, which has the port. It is free
        # then; were it not taken, the user's programs would meet at two ports from now on.
        for port in sorted(2 * MEETING.ports, key=MEETING.ports.index):
            if port in free or port in silent:
                continue
            at = f"ws://127.0.0.1:{port}"
            try:
                await dial(self._handler, at, timeout=limit, allow=every, meeting=MEETING, shown=EMBEDDED_URL)
            except ConnectionRefusedError:
                free.append(port)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    silent.append(port)
                log.debug("! %s: %s", at, error)
            else:
                return
        if not self._config.embedded or self._listener is not None or not free:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "no program of this user")
        self._listener = await listen(self._handler, "127.0.0.1", free[0], meeting=MEETING)
        self._embedded()

    # --- dialling --------------------------------------------------------------------------------------------

    def start(self, effect: Dial) -> None:
        """Dial what `effect` names."""
        self._run(self._dial(effect))

    def start_back(self, effect: DialBack) -> None:
        """Dial a neighbour back, which asked for it, or try what it claims."""
        self._run(dial_back(effect, partial(self._own_networks.allows_link, effect.scope, effect.nearby)))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, effect: Dial) -> None:
        url = effect.url
        named = url in self._places
        loop = asyncio.get_running_loop()
        first_word: asyncio.TimerHandle | None = None
        try:
            await asyncio.sleep(self._rivals.wait(url, loop.time()))
            first_word = loop.call_later(FIRST_WORD, self._complain, url, f"no answer within {FIRST_WORD:g} s")
            if url.startswith(LOOKUP):
                await self._look_up(url)
                return
            if url == EMBEDDED_URL:
                await self._meet()
                return
            allow = partial(self._own_networks.allows_link, effect.scope, effect.nearby)
            meeting = None if named or not _is_meeting(url) else MEETING
            await dial(self._handler, url, timeout=DIAL_TIME, allow=allow, named=named, meeting=meeting)
        except OSError as error:
            if self._closed:
                return
            self.failed(url, os.strerror(error.errno) if error.errno else str(error))
        else:
            self._unanswered.discard(url)
        finally:
            if first_word is not None:
                first_word.cancel()

    @property
    def expects_links(self) -> bool:
        """Whether there are places to dial on other machines."""
        return any(place != EMBEDDED_URL for place in self._places)

    def network_changed(self) -> None:
        """This machine has other addresses than before: forget the dials under way, which left from one that is gone,
        and the networks that it was on. Nothing is reported."""
        self._own_networks.forget()
        for task in list(self._dials):
            task.cancel()

    async def _look_up(self, place: str) -> None:
        """Find out which relays a domain names. Raises: LinkError."""
        try:
            from ..transport.lookup import lookup
        except ImportError as error:
            raise LinkError(f"dnspython cannot be imported: {error}") from None
        urls = await lookup(place)
        self.answered(place)
        self._unanswered.discard(place)
        self._places.pop(place, None)
        self._places.update(dict.fromkeys(urls))
        self._found(place, urls)

    def failed(self, url: str, reason: str) -> None:
        """`url` was dialled in vain."""
        if url in self._places:
            self._unanswered.add(url)
        self._complain(url, reason)
        self._failed(url, reason)

    def _complain(self, url: str, reason: str) -> None:
        """Say that `url` does not answer, once until it does: as a warning where no link is up, else as information."""
        level = logging.INFO if self._is_linked() else logging.WARNING
        text = f"cannot reach {url}: {reason}; still trying"
        if url not in self._places or self._complained.get(url, 0) >= level:
            log.debug("! %s", text)
            return
        self._complained[url] = level
        if level == logging.WARNING:
            self._report(text)
        else:
            log.info("! %s", text)

    def answered(self, url: str) -> None:
        """A link to `url` is up."""
        level = self._complained.pop(url, None)
        if level is not None:
            log.log(level, "= %s answers again", url)

    def turn_away(self, link: Link) -> None:
        """Close a link whose other end speaks another wire; say why to it, and here."""
        if link.other_version is not None:
            why = f"speaks {link.other_version}, this peer {SUBPROTOCOL}: update the older of the two"
            link.close(
                _OTHER_VERSION, f"this peer speaks {SUBPROTOCOL}, the other end {link.other_version}: update one"
            )
            if link.url is None:
                log.info("! a peer at %s %s", link.remote_host, why)
        else:
            why = f"does not speak {SUBPROTOCOL}"
            link.close(
                1008, f"this peer speaks {SUBPROTOCOL}; npm_peers, which admits peers of the npm package, is off"
            )
        if link.url is not None:
            self.failed(link.url, why)

    def is_rival(self, url: str, reason: str) -> bool:
        """Return whether the link to `url`, closed for `reason`, went to another process that uses our key."""
        return SUPERSEDED in reason and self._rivals.superseded(url, asyncio.get_running_loop().time())

    @property
    def all_failed(self) -> bool:
        """Whether every place we were told to join through has failed to answer."""
        return bool(self._places) and self._unanswered.issuperset(self._places)

    # --- the end ---------------------------------------------------------------------------------------------

    async def stop(self, limit: float) -> None:
        """Give up dials under way; takes at most `limit` seconds."""
        self._closed = True
        for task in list(self._dials):
            task.cancel()
        if self._dials:
            await asyncio.wait(self._dials, timeout=limit)

    async def close(self) -> None:
        """Stop serving."""
        if self._listener is not None:
            await self._listener.close()


def _is_meeting(url: str) -> bool:
    """Return whether a URL that was learned leads to where the programs of this user meet."""
    parts = urlsplit(url)
    return parts.hostname == "127.0.0.1" and parts.port in MEETING.ports


def _is_hidden(config: PeerConfig) -> bool:
    """Return whether others reach us elsewhere than where we listen: through a proxy, perhaps on this machine."""
    return config.public_url is not None and reach(config.public_url) is not Scope.LOOPBACK
