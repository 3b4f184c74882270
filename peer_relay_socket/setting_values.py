"""The values of settings: a keyword's value, or a variable's text, to a checked value.

Lives here: one parser for each kind of setting, and the types of what they return. May not live here: which settings
there are, and where their values come from (config.py).

Law: a parser returns what the rest of the program may use unchecked, or raises ValueError that says what is wrong.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args
from urllib.parse import unquote, urlsplit

from .address import parse_id
from .limits import BROADCAST_HOPS_MOST, LEARNED_PATH, MAX_URL
from .scope import is_learnable

LOOKUP: Final = "dns:"
"""How a bootstrap place begins that names a domain, whose records name relays."""
_DOMAIN: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

Members: TypeAlias = str | Callable[[bytes], bool] | None
"""Which peers: a file with one id a line, or a function of an id (20 bytes); None = not said."""
MembersSetting: TypeAlias = "str | os.PathLike[str] | Callable[[bytes], bool] | None"
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

Shown: TypeAlias = Literal["auto", "all", "public", "none"]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server."""

    url: str
    """stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp] or turns:..."""
    username: str | None = None
    credential: str | None = None


def text(value: str) -> str:
    return value


def path(value: str | os.PathLike[str]) -> str:
    return os.fspath(value)


def flag(value: bool | str) -> bool:
    if isinstance(value, str):
        lowered = value.strip().lower()
        if lowered not in _TRUE | _FALSE:
            raise ValueError(f"{value!r} is neither on (1, true, yes) nor off (0, false, no)")
        return lowered in _TRUE
    return value


def wrtc(value: bool | str | Callable[..., Any]) -> bool | Callable[..., Any]:
    return value if callable(value) else flag(value)


def port(value: int | str) -> int:
    return _number(value, 65535, "a port")


def candidates(value: str) -> str:
    name = value.strip().lower()
    if name not in get_args(Shown):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(Shown))}")
    return name


def hops(value: int | str) -> int:
    return _number(value, BROADCAST_HOPS_MOST, "a number of relays")


def _number(value: int | str, most: int, what: str) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= most:
        raise ValueError(f"{value!r} is not {what} (0-{most})")
    return number


def level(value: str) -> int:
    name = value.strip().lower()
    if name not in _LEVELS:
        raise ValueError(f"{value!r} is none of {', '.join(_LEVELS)}")
    return _LEVELS[name]


def members(value: str | os.PathLike[str] | Callable[[bytes], bool]) -> Members:
    return value if callable(value) else os.fspath(value)


def ipv4_network(value: str | ipaddress.IPv4Network) -> ipaddress.IPv4Network:
    network = ipaddress.IPv4Network(value)
    if network.prefixlen > 24:
        raise ValueError(f"{network} leaves fewer than 8 bits for peers")
    return network


def _url(value: str) -> str:
    """Return `value`, less a bare "/" at its end, if it is a ws:// or wss:// URL with a host."""
    url = value.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{url!r} is not a ws:// or wss:// URL")
    if len(url) > MAX_URL or not all("!" <= character <= "~" for character in url):
        raise ValueError(f"{url!r} is longer than {MAX_URL} characters, or some of them are not ASCII")
    return url[:-1] if parts.path == "/" and url.endswith("/") else url


def bootstrap_url(value: str) -> str:
    """Return a checked URL, or URL#ID. Raises: ValueError."""
    url, pin, name = value.strip().partition("#")
    peer_id = parse_id(name)
    if pin and peer_id is None:
        raise ValueError(f"{value!r}: after the # stands no peer id (40 hex digits)")
    return _url(url) if peer_id is None else f"{_url(url)}#{peer_id.hex()}"


def bootstrap(value: str) -> str:
    place = value.strip()
    if not place.lower().startswith(LOOKUP):
        return bootstrap_url(place)
    domain = place[len(LOOKUP) :].rstrip(".").lower()
    if len(domain) > 200 or not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{place!r}: after dns: stands no domain, such as example.org")
    return LOOKUP + domain


def public_url(value: str) -> str:
    url = _url(value)
    if not is_learnable(url):
        raise ValueError(
            f"{url!r} is no URL that others dial: its path may have {LEARNED_PATH} of [A-Za-z0-9/_-], no query"
        )
    return url


def public_udp(value: str) -> tuple[str, int]:
    host, _, port = value.strip().rpartition(":")
    try:
        return str(ipaddress.IPv4Address(host)), _number(port, 65535, "a port") or _number("", 65535, "a port")
    except ValueError:
        raise ValueError(f"{value!r} is no IPv4 address and port, such as 192.0.2.1:8080") from None


def origin(value: str) -> str:
    parts = urlsplit(value)
    if not parts.scheme or not parts.netloc or value != f"{parts.scheme}://{parts.netloc}":
        raise ValueError(f"{value!r} is not an origin as browsers spell it, such as https://example.org")
    return value


def ice_server(value: str) -> IceServer:
    """Return what `stun:HOST[:PORT]` or `turn[s]:[USER:PASSWORD@]HOST[:PORT][?transport=udp|tcp]` names; user and
    password are percent-encoded. An error never shows the password."""
    scheme, _, rest = value.strip().partition(":")
    login, at, place = rest.rpartition("@")
    user, colon, password = login.partition(":")
    match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^\s\[\]:?/@]+)(?::(\d{1,5}))?(?:\?transport=(udp|tcp))?", place)
    usable = match is not None and 0 < int(match[2] or 1) < 65536
    if scheme in ("stun", "stuns"):
        usable = usable and not at and match is not None and not match[3]
    elif scheme in ("turn", "turns"):
        usable = usable and (not at or bool(user and colon))
    else:
        usable = False
    if not usable:
        shown = f"{scheme}:{place}"
        raise ValueError(f"{shown!r} is not stun:HOST[:PORT] or turn:USER:PASSWORD@HOST[:PORT]")
    return IceServer(f"{scheme}:{place}", unquote(user) if at else None, unquote(password) if at else None)
