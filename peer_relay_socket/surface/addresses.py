"""What the address argument of a socket call means.

Lives here: reading a caller's address tuple into a `Target`, and asking the resolver for names that are not ours. May
not live here: what is done with a target.

Law: an argument that CPython refuses is shown to CPython's own parser, so that the exception and its words are the
standard library's. (That parser sees our descriptor, an AF_UNIX one: the kernel then refuses what it let through.)
"""

from __future__ import annotations

import _socket
import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from operator import index
from typing import Final, SupportsIndex

from ..address import AF_PEER, ID_BYTES, LIMITED_BROADCAST, Prefix, Special
from ..bridge.binding import OWN, WILDCARD, Place
from ..bridge.endpoint import Endpoint
from ..real_networks import are_real

_AF_INET: Final = int(_socket.AF_INET)
_AF_INET6: Final = int(_socket.AF_INET6)
_HOST_TYPES: Final = (str, bytes, bytearray)
_MAPPED: Final = "::ffff:"
_NOT_OURS: Final = ("192.0.2.1", "2001:db8::1")
"""Of networks for examples (RFC 5737, RFC 3849)."""
_DEFAULTS: Final = {
    (Special.WILDCARD, 6): "::",
    (Special.LOOPBACK, 4): "127.0.0.1",
    (Special.LOOPBACK, 6): "::1",
    (Special.BROADCAST, 4): LIMITED_BROADCAST,
}
"""What the words ("", localhost, <broadcast>) are in numbers, by IP version; the rest is 0.0.0.0."""


@dataclass(slots=True)
class Target:
    """One address, read."""

    special: Special | None
    """None for a peer or this host's own virtual address; never NAME."""
    place: Place
    text: str
    """The host as sockets of this family show it."""
    port: int
    form: int
    """4, 6, or 0 for AF_PEER."""
    mapped: bool
    """An IPv4 address that an AF_INET6 socket spells ::ffff:a.b.c.d."""
    rest: tuple[int, int] | None
    """Flow label and scope of an AF_INET6 address."""
    resolved: bool = False
    """The resolver was asked, which may answer otherwise the next time."""
    real: bool = False
    """The setting `real_udp` names it: datagrams go there by real UDP."""

    @property
    def needs_scope(self) -> bool:
        """Whether it is a link-local address that does not say of which link."""
        return self.text.startswith(("fe8", "fe9", "fea", "feb")) and ":" in self.text and not (self.rest or (0, 0))[1]

    def address(self) -> tuple[str | int, ...]:
        """Return it as getpeername shows it: without flow label, and with the scope only where it says something."""
        if self.rest is None:
            return (self.text, self.port)
        return (self.text, self.port, 0, self.rest[1] if self.text.startswith("fe80:") else 0)


def read(sock: _socket.socket, endpoint: Endpoint, call: str, address: object) -> Target:
    """Return what `address` means to a socket of this family.

    Raises: TypeError, OverflowError, ValueError, UnicodeError: as CPython for what is no address. socket.gaierror: a
    name that does not resolve, or a literal of another family.
    """
    family = endpoint.family
    if not _well_formed(family, address):
        _refuse(sock, family, call, address)
    assert isinstance(address, tuple)
    host, port = address[0], index(address[1])
    text = host if isinstance(host, str) else _text_of(bytes(host), family)
    rest = None
    if family == _AF_INET6:
        rest = (index(address[2]) if len(address) > 2 else 0, index(address[3]) if len(address) > 3 else 0)
    target = _meaning(endpoint, text, port)
    if target is None:
        text = _resolve(text, family)
        target = _meaning(endpoint, text, port)
        assert target is not None, text
        target.resolved = True
    target.real = call != "bind" and _is_real(endpoint, target)
    if not target.real and target.special is Special.FOREIGN and _is_this_machine(target.text.removeprefix(_MAPPED)):
        target.special, target.place = None, OWN
    target.rest = rest
    return target


def _text_of(host: bytes, family: int) -> str:
    """Return the host that a caller gave as bytes: text, or a peer id, which as good as never reads as text."""
    if len(host) == ID_BYTES and (family == AF_PEER or not (host.isascii() and host.decode().isprintable())):
        return host.hex()
    return host.decode("ascii", "surrogateescape")


def _well_formed(family: int, address: object) -> bool:
    if not isinstance(address, tuple) or not (len(address) == 2 or (family == _AF_INET6 and 2 < len(address) <= 4)):
        return False
    host, port, *rest = address
    if not isinstance(host, _HOST_TYPES) or (isinstance(host, str) and "\0" in host):
        return False
    if not _is_number(port, 0xFFFF):
        return False
    return all(_is_number(number, 0xFFFFF) for number in rest)


def _is_number(value: object, most: int) -> bool:
    return isinstance(value, SupportsIndex) and 0 <= index(value) <= most


def _refuse(sock: _socket.socket, family: int, call: str, address: object) -> None:
    """Raise what CPython raises for `address`; return if it raises nothing."""
    if family == AF_PEER:
        if not isinstance(address, tuple):
            raise TypeError(f"{call}(): AF_PEER address must be tuple, not {type(address).__name__}")
        if len(address) != 2:
            raise TypeError("AF_PEER address must be a pair (id, port)")
        if not isinstance(address[0], _HOST_TYPES):
            raise TypeError(f"str, bytes or bytearray expected, not {type(address[0]).__name__}")
        if not isinstance(address[1], int):
            raise TypeError(f"'{type(address[1]).__name__}' object cannot be interpreted as an integer")
        raise OverflowError(f"{call}(): port must be 0-65535.")
    judge = getattr(_socket.socket, call)
    if call == "sendto":
        judge(sock, b"", address)
    elif call == "sendmsg":
        judge(sock, [b""], [], 0, address)
    else:
        judge(sock, address)
    raise OSError(22, "Invalid argument")


def _resolve(host: str, family: int) -> str:
    """Return the first address of `host`; what is no name of ours is asked of the system, as for a kernel socket."""
    wanted = 0 if family == AF_PEER else family
    name = host.encode() if host.isascii() else host  # CPython gives IDNA only what it must
    found = _socket.getaddrinfo(name, None, wanted, _socket.SOCK_DGRAM)
    return str(found[0][4][0]).partition("%")[0]  # the scope is the one in the tuple


def _meaning(endpoint: Endpoint, text: str, port: int) -> Target | None:
    """Return what `text` means; None if it needs the resolver, which also refuses literals of another family."""
    family = endpoint.family
    meaning = endpoint.host.spelling.parse(text)
    if meaning is Special.NAME or text != text.strip() or "%" in text:
        return None
    ip = _literal(text)
    if ip is not None and family != AF_PEER and (ip.version == 6) != (family == _AF_INET6):
        return None
    mapped = family == _AF_INET6 and isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None
    form = 0 if family == AF_PEER else 4 if family == _AF_INET or mapped else 6
    place: Place
    if isinstance(meaning, Special):
        if meaning is Special.LOOPBACK and family == AF_PEER:
            return Target(None, OWN, endpoint.host.peer_id.hex(), port, form, mapped, None)
        shown = _DEFAULTS.get((meaning, form or 4), "0.0.0.0") if ip is None else _canonical(ip)
        place = WILDCARD if meaning is Special.WILDCARD else shown.removeprefix(_MAPPED)
        if form == 0 and meaning in (Special.BROADCAST, Special.MULTICAST):
            form = 6 if ":" in place else 4
        return Target(meaning, place, shown, port, form, mapped, None)
    own = endpoint.host.peer_id
    place = OWN if meaning == own or (isinstance(meaning, Prefix) and meaning.matches(own)) else meaning
    if isinstance(meaning, Prefix):
        assert ip is not None
        shown = _canonical(ip)
    elif form == 0:
        shown = meaning.hex()
    else:
        shown = getattr(endpoint.host.spelling, f"ipv{form}")(meaning)
    return Target(None, place, shown, port, form, mapped, None)


def _is_real(endpoint: Endpoint, target: Target) -> bool:
    networks = endpoint.host.config.real_udp
    if not networks or target.special not in (None, Special.FOREIGN, Special.LOOPBACK):
        return False
    return (target.form != 0 or target.special is not None) and are_real(networks, target.text, target.port)


def _is_this_machine(text: str) -> bool:
    """Return whether `text` is the address of an interface of this machine, which means this host of the overlay:
    programs bind, and send to, what their host's name resolves to. A socket can be bound to no other address, but where
    the system lets it be bound to any (net.ipv4.ip_nonlocal_bind)."""
    return _can_bind(text) and not _can_bind(_NOT_OURS[":" in text])


def _can_bind(text: str) -> bool:
    family = _socket.AF_INET6 if ":" in text else _socket.AF_INET
    try:
        trial = _socket.socket(family, _socket.SOCK_STREAM)
    except OSError:
        return False
    try:
        trial.bind((text, 0))
    except OSError:
        return False
    finally:
        trial.close()
    return True


@lru_cache(maxsize=1024)
def _literal(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _canonical(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return `ip` as inet_ntop writes it."""
    if ip.version == 6 and ip.ipv4_mapped is not None:
        return _MAPPED + str(ip.ipv4_mapped)
    return str(ip)
