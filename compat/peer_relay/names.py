"""Host names and addresses of the overlay for programs that ask the resolver: `getaddrinfo` and its relatives.

Lives here: what `<40 hex>.peer` and bare 40-hex names resolve to, and what overlay addresses are called. May not live
here: anything that asks the network; the answers are arithmetic.

Law: a name that ends in ".peer" never reaches DNS (as RFC 7686 §2 has it for ".onion"), and any other name gets the
standard library's own answer.
"""

from __future__ import annotations

import functools
import socket as _stdlib
import sys
from ipaddress import IPv4Network
from socket import AF_INET, AF_INET6, AF_UNSPEC, SocketKind
from typing import TYPE_CHECKING, Final, TypeAlias

from peer_relay_socket.address import AF_PEER, DEFAULT_IPV4_NETWORK, PEER_SUFFIX, PeerId, Prefix, Spelling, parse_id
from peer_relay_socket.environment import environment

Host: TypeAlias = "str | bytes | None"
Address: TypeAlias = "tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]"
Answer: TypeAlias = "tuple[int, SocketKind, int, str, Address]"

if TYPE_CHECKING:
    _system = _stdlib
else:
    # Where eventlet's resolver, which sends UDP to name servers, stands in the place of the system's: the copy that
    # eventlet keeps of `socket` as it was.
    _system = sys.modules.get("__original_module_socket", _stdlib)
_getaddrinfo = _system.getaddrinfo
_gethostbyname = _system.gethostbyname
_gethostbyname_ex = _system.gethostbyname_ex
_gethostbyaddr = _system.gethostbyaddr
_getnameinfo = _system.getnameinfo
_getfqdn = _system.getfqdn

_HOST_NOT_FOUND: Final = 1
"""netdb.h; the h_errno that `gethostbyaddr` raises herror with."""


def getaddrinfo(
    host: Host, port: str | bytes | int | None, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[Answer]:
    """Resolve as `socket.getaddrinfo`; a peer's name gives its IPv4 spelling first, then its IPv6 one.

    With ``family=AF_PEER`` a peer's name gives ``(AF_PEER, type, proto, canonname, ("<40 hex>", port))``.

    Raises: gaierror EAI_NONAME for a ".peer" name that is no id, and for a peer's name with AI_NUMERICHOST.
    """
    peer = _peer(host)
    if peer is None:
        return list(_getaddrinfo(host, port, family, type, proto, flags))
    if flags & _stdlib.AI_NUMERICHOST:
        raise _no_name()
    spelling = _spelling()
    answers: list[Answer] = []
    # The stdlib resolver is asked for the *spelled* address: it knows services, types and protocols, and sends nothing.
    plain = flags & ~(_stdlib.AI_CANONNAME | _stdlib.AI_ADDRCONFIG | _stdlib.AI_V4MAPPED | _stdlib.AI_ALL)
    asked = functools.partial(_getaddrinfo, port=port, type=type, proto=proto, flags=plain)
    if family in (AF_UNSPEC, AF_INET):
        answers += asked(spelling.ipv4(peer), family=AF_INET)
    if family in (AF_UNSPEC, AF_INET6):
        answers += asked(spelling.ipv6(peer), family=AF_INET6)
    if family == AF_INET6 and flags & _stdlib.AI_V4MAPPED and flags & _stdlib.AI_ALL:
        answers += asked("::ffff:" + spelling.ipv4(peer), family=AF_INET6)
    if family == AF_PEER:
        for _, kind, protocol, _, address in asked(spelling.ipv4(peer), family=AF_INET):
            answers.append((AF_PEER, kind, protocol, "", (peer.hex(), int(address[1]))))
    if not answers:
        return list(_getaddrinfo(spelling.ipv4(peer), port, family, type, proto, flags))  # raises what it should
    if flags & _stdlib.AI_CANONNAME:
        answers[0] = (*answers[0][:3], _name(peer), answers[0][4])
    return answers


def gethostbyname(hostname: str) -> str:
    """Resolve as `socket.gethostbyname`; a peer's name gives its IPv4 spelling."""
    peer = _peer(hostname)
    return _gethostbyname(hostname) if peer is None else _spelling().ipv4(peer)


def gethostbyname_ex(hostname: str) -> tuple[str, list[str], list[str]]:
    """Resolve as `socket.gethostbyname_ex`; a peer has one name and one IPv4 address."""
    peer = _peer(hostname)
    return _gethostbyname_ex(hostname) if peer is None else (_name(peer), [], [_spelling().ipv4(peer)])


def gethostbyaddr(ip_address: str) -> tuple[str, list[str], list[str]]:
    """Name an address as `socket.gethostbyaddr`; of overlay addresses, this process's own and whole ids have names.

    Raises: herror for another overlay address: short spellings name no one peer, and DNS is not told of them. gaierror
        EAI_NONAME for a ".peer" name that is no id.
    """
    _peer(ip_address)
    meant = _overlay(ip_address)
    if meant is None:
        return _gethostbyaddr(ip_address)
    peer = _whole(meant)
    if peer is None:
        raise _stdlib.herror(_HOST_NOT_FOUND, "Unknown host")
    return _name(peer), [], [_spelling().ipv4(peer) if parse_id(ip_address) else ip_address]


def getnameinfo(sockaddr: Address, flags: int) -> tuple[str, str]:
    """Name a socket address as `socket.getnameinfo`, of any family's spelling.

    Raises: gaierror EAI_NONAME with NI_NAMEREQD for an overlay address whose peer is not known.
    """
    meant = _overlay(sockaddr[0]) if isinstance(sockaddr, tuple) and sockaddr else None
    if meant is None:
        try:
            return _getnameinfo(sockaddr, flags)
        except TypeError:
            del sockaddr  # whose references CPython's tests count while the traceback holds this frame
            raise
    address: Address = sockaddr
    if isinstance(meant, bytes):
        address = (_spelling().ipv4(meant), *sockaddr[1:2])
    numeric, service = _getnameinfo(address, (flags & ~_stdlib.NI_NAMEREQD) | _stdlib.NI_NUMERICHOST)
    peer = None if flags & _stdlib.NI_NUMERICHOST else _whole(meant)
    if peer is not None:
        return _name(peer), service
    if flags & _stdlib.NI_NAMEREQD:
        raise _no_name()
    return meant.hex() if isinstance(meant, bytes) else numeric, service


def getfqdn(name: str = "") -> str:
    """Return the full name as `socket.getfqdn`; a peer's is ``<40 hex>.peer``."""
    peer = _peer(name) if name else None
    return _getfqdn(name) if peer is None else _name(peer)


def _peer(host: Host) -> PeerId | None:
    """Return the id that `host` names, None if it is the stdlib resolver's business."""
    if isinstance(host, bytes | bytearray):
        try:
            host = host.decode("ascii")
        except UnicodeDecodeError:
            return None
    if not isinstance(host, str):
        return None
    peer = parse_id(host)
    if peer is None and host.rstrip(".").lower().endswith(PEER_SUFFIX):
        raise _no_name()
    return peer


def _overlay(host: object) -> PeerId | Prefix | None:
    """Return what `host` means if it is a spelling of the overlay."""
    meant = _spelling().parse(host) if isinstance(host, str) else None
    return meant if isinstance(meant, bytes | Prefix) else None


def _whole(meant: PeerId | Prefix) -> PeerId | None:
    """Return the id behind `meant`: a prefix has one only if it is this process's own."""
    if not isinstance(meant, Prefix):
        return meant
    surface = sys.modules.get("peer_relay_socket.surface.peer")  # not imported: no peer has been made
    own: PeerId | None = surface.default_id() if surface is not None else None
    return own if own is not None and meant.matches(own) else None


def _name(peer: PeerId) -> str:
    return peer.hex() + PEER_SUFFIX


def _no_name() -> _stdlib.gaierror:
    return _stdlib.gaierror(_stdlib.EAI_NONAME, "Name or service not known")


def _spelling() -> Spelling:
    if not environment().get("PEER_RELAY_IPV4_NETWORK"):
        return _spelling_of(DEFAULT_IPV4_NETWORK)
    from peer_relay_socket.config import peer_config  # a third of `import peer_relay`, and few set it

    return _spelling_of(peer_config().ipv4_network)


@functools.lru_cache(maxsize=8)
def _spelling_of(network: IPv4Network) -> Spelling:
    return Spelling(network)
