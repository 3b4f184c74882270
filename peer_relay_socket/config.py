"""Settings: a keyword wins over its environment variable, which wins over the default.

Lives here: the one table of settings (`PeerConfig`: keyword, variable, parser, meaning), the types of the keywords
(`Settings`). May not live here: anything that acts on a setting.

To add a setting, add a field to `PeerConfig`, its keyword to `Settings`, and its row to the table in cli/README.md.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, TypeAlias, TypedDict, Unpack, cast, get_args
from urllib.parse import unquote, urlsplit

from .address import DEFAULT_IPV4_NETWORK, parse_id
from .errors import ConfigError
from .limits import BROADCAST_HOPS, BROADCAST_HOPS_MOST, LEARNED_PATH, MAX_SECRET, MAX_URL
from .real_networks import RealNetwork, check_apart
from .scope import is_learnable

LOOKUP: Final = "dns:"
"""How a bootstrap place begins that names a domain, whose records name relays."""
_DOMAIN: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

Members: TypeAlias = str | Callable[[bytes], bool] | None
"""Which peers: a file with one id a line, or a function of an id (20 bytes); None = not said."""
MembersSetting: TypeAlias = "str | os.PathLike[str] | Callable[[bytes], bool] | None"
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

Shown: TypeAlias = Literal["auto", "all", "public", "none"]

_PREFIX: Final = "PEER_RELAY_"
_FILE: Final = "_FILE"
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


class Settings(TypedDict, total=False):
    """The keywords of `Peer`, and of `Socket` and `dgram.Socket` for a peer of their own. `PeerConfig` has meanings."""

    port: int | None
    host: str | None
    bootstrap: str | Iterable[str]
    identity: str | os.PathLike[str] | None
    network_key: str | None
    allow_links: MembersSetting
    deny_links: MembersSetting
    allow_datagrams: MembersSetting
    deny_datagrams: MembersSetting
    ipv4_network: str | ipaddress.IPv4Network | None
    real_udp: str | Iterable[str]
    broadcast_hops: int | None
    lan: bool | None
    remember: bool | None
    npm_peers: bool | None
    origins: str | Iterable[str]
    trusted_proxies: str | Iterable[str]
    wrtc: bool | Callable[..., Any] | None
    ice_servers: Iterable[str] | None
    candidates: Shown | None
    public_url: str | None
    public_udp: str | None
    tls_cert: str | os.PathLike[str] | None
    tls_key: str | os.PathLike[str] | None


class SocketSettings(Settings, total=False):
    """The keywords of `Socket`."""

    direct: Literal["drop", "error"]
    """What happens to datagrams for addresses outside the overlay: dropped and counted, or refused (ENETUNREACH)."""


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server."""

    url: str
    """stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp] or turns:..."""
    username: str | None = None
    credential: str | None = None


# --- parsers: a keyword's value, or a variable's text, to a checked value; ValueError says what is wrong with it -----


def _text(value: str) -> str:
    return value


def _path(value: str | os.PathLike[str]) -> str:
    return os.fspath(value)


def _flag(value: bool | str) -> bool:
    if isinstance(value, str):
        lowered = value.strip().lower()
        if lowered not in _TRUE | _FALSE:
            raise ValueError(f"{value!r} is neither on (1, true, yes) nor off (0, false, no)")
        return lowered in _TRUE
    return value


def _wrtc(value: bool | str | Callable[..., Any]) -> bool | Callable[..., Any]:
    return value if callable(value) else _flag(value)


def _port(value: int | str) -> int:
    return _number(value, 65535, "a port")


def _candidates(value: str) -> str:
    name = value.strip().lower()
    if name not in get_args(Shown):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(Shown))}")
    return name


def _hops(value: int | str) -> int:
    return _number(value, BROADCAST_HOPS_MOST, "a number of relays")


def _number(value: int | str, most: int, what: str) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= most:
        raise ValueError(f"{value!r} is not {what} (0-{most})")
    return number


def _level(value: str) -> int:
    name = value.strip().lower()
    if name not in _LEVELS:
        raise ValueError(f"{value!r} is none of {', '.join(_LEVELS)}")
    return _LEVELS[name]


def _members(value: str | os.PathLike[str] | Callable[[bytes], bool]) -> Members:
    return value if callable(value) else os.fspath(value)


def _ipv4_network(value: str | ipaddress.IPv4Network) -> ipaddress.IPv4Network:
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


def _bootstrap(value: str) -> str:
    place = value.strip()
    if not place.lower().startswith(LOOKUP):
        return bootstrap_url(place)
    domain = place[len(LOOKUP) :].rstrip(".").lower()
    if len(domain) > 200 or not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{place!r}: after dns: stands no domain, such as example.org")
    return LOOKUP + domain


def _public_url(value: str) -> str:
    url = _url(value)
    if not is_learnable(url):
        raise ValueError(
            f"{url!r} is no URL that others dial: its path may have {LEARNED_PATH} of [A-Za-z0-9/_-], no query"
        )
    return url


def _public_udp(value: str) -> tuple[str, int]:
    host, _, port = value.strip().rpartition(":")
    try:
        return str(ipaddress.IPv4Address(host)), _number(port, 65535, "a port") or _number("", 65535, "a port")
    except ValueError:
        raise ValueError(f"{value!r} is no IPv4 address and port, such as 192.0.2.1:8080") from None


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if not parts.scheme or not parts.netloc or value != f"{parts.scheme}://{parts.netloc}":
        raise ValueError(f"{value!r} is not an origin as browsers spell it, such as https://example.org")
    return value


def _ice_server(value: str) -> IceServer:
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


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: how a keyword and its variable are read, and what they mean."""

    parse: Callable[[Any], Any]
    meaning: str
    listed: bool = False
    """Several values: an iterable, or text with commas between them."""
    empty_counts: bool = False
    """An empty list is a setting too, and wins over the variable."""
    unset: object = None
    """The keyword's value that says nothing, as None does."""
    has_keyword: bool = True
    has_variable: bool = True
    secret: bool = False
    """A variable of the same name with _FILE at its end may name a file that holds the value."""

    def is_given(self, value: object) -> bool:
        """Return whether a keyword's value says anything."""
        if self.listed and not self.empty_counts and isinstance(value, Sized) and not isinstance(value, str):
            return len(value) > 0
        return value is not None and value is not self.unset

    def read(self, keyword: str, value: Any, environ: Mapping[str, str]) -> Any:
        """Return the checked value; None where neither the keyword nor the variable says anything.

        Raises: ConfigError with one line that names the keyword or the variable.
        """
        name = keyword
        if self.listed and value is not None:
            value = value.split(",") if isinstance(value, str) else tuple(value) or (() if self.empty_counts else None)
        if value is None or value == "":
            name, text = self._variable(_PREFIX + keyword.upper(), environ)
            if not text:
                return None
            value = [part for part in text.split(",") if part.strip()] if self.listed else text
        try:
            if not self.listed:
                return self.parse(value)
            return tuple(self.parse(part.strip() if isinstance(part, str) else part) for part in value)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from None

    def _variable(self, name: str, environ: Mapping[str, str]) -> tuple[str, str]:
        """Return the variable that says something, or the one whose file does, and its text."""
        text = environ.get(name, "").strip() if self.has_variable else ""
        path = environ.get(name + _FILE, "").strip() if self.secret else ""
        if not path:
            return name, text
        if text:
            raise ConfigError(f"{name + _FILE}: {name} is set, too: set one of the two")
        try:
            with open(path) as file:
                return name + _FILE, file.read(MAX_SECRET).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name + _FILE}: {path}: {getattr(error, 'strerror', None) or error}") from None


def _row(parse: Callable[[Any], Any], meaning: str, **more: Any) -> dict[str, Setting]:
    return {"setting": Setting(parse, meaning, **more)}


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One peer's settings, checked. Each field's name is the keyword, and in capitals, after PEER_RELAY_, the
    variable."""

    bootstrap: tuple[str, ...] = field(
        default=(),
        metadata=_row(
            _bootstrap,
            "ws:// or wss:// URLs, comma-separated, to join through; tried for ever; better `URL#ID`: only the peer "
            "with that id is taken there; `dns:DOMAIN`: those that its SRV and TXT records name",
            listed=True,
        ),
    )
    port: int | None = field(
        default=None,
        metadata=_row(
            _port, "serve links on this TCP port (0 = any free one), and relay for others; not served by default"
        ),
    )
    host: str = field(default="", metadata=_row(_text, "interface to serve on; all by default", has_variable=False))
    public_url: str | None = field(
        default=None,
        metadata=_row(_public_url, "where others can dial this peer; without it it finds out whether they can"),
    )
    public_udp: tuple[str, int] | None = field(
        default=None,
        metadata=_row(
            _public_udp,
            "where others reach this peer's UDP port if not where they dial it: `IPV4:PORT`; with `public_url` none by "
            "default",
        ),
    )
    identity: str | None = field(
        default=None, metadata=_row(_path, "key file, made if absent, mode 0600; a fresh identity by default")
    )
    network_key: str | None = field(
        default=None,
        metadata=_row(
            _text,
            "secret that peers must share to link and to talk; use a random one: guesses cannot be tested by listening "
            "or connecting, but by an attacker whom a member dials",
            secret=True,
        ),
    )
    allow_links: Members = field(default=None, metadata=_row(_members, "link to these peers only"))
    deny_links: Members = field(default=None, metadata=_row(_members, "link to none of these"))
    allow_datagrams: Members = field(
        default=None, metadata=_row(_members, "exchange datagrams and messages with these only")
    )
    deny_datagrams: Members = field(default=None, metadata=_row(_members, "with none of these"))
    ipv4_network: ipaddress.IPv4Network = field(
        default=DEFAULT_IPV4_NETWORK,
        metadata=_row(_ipv4_network, "where IPv4 spellings lie; must be equal across a network"),
    )
    real_udp: tuple[RealNetwork, ...] = field(
        default=(),
        metadata=_row(
            RealNetwork.parse,
            "networks, or `network:port`s (`[IPv6]:port`), comma-separated, that sockets reach by real UDP; none by "
            "default",
            listed=True,
        ),
    )
    wrtc: bool | Callable[..., Any] = field(
        default=True,
        metadata=_row(
            _wrtc,
            "`0`: no direct paths over WebRTC; as a keyword also another implementation "
            "(`transport/rtc_implementation.py` says what it needs)",
        ),
    )
    ice_servers: tuple[IceServer, ...] = field(
        default=(),
        metadata=_row(
            _ice_server,
            "`stun:HOST[:PORT]`, `turn:USER:PASSWORD@HOST[:PORT][?transport=tcp]`, comma-separated; by default relays "
            "answer STUN, and there is no TURN",
            listed=True,
            empty_counts=True,
            secret=True,
        ),
    )
    candidates: Shown = field(
        default="auto",
        metadata=_row(
            _candidates,
            "addresses of this machine that WebRTC shows to other peers: `all`, the `public` ones, `none`, or `auto`",
        ),
    )
    broadcast_hops: int = field(
        default=BROADCAST_HOPS,
        metadata=_row(_hops, f"relays that a broadcast may pass, 0 to {BROADCAST_HOPS_MOST}; 1 by default"),
    )
    lan: bool = field(
        default=False,
        metadata=_row(_flag, "find peers on the same link by multicast, and serve them; off by default", unset=False),
    )
    remember: bool = field(
        default=True,
        metadata=_row(
            _flag, "`0`: keep no file of relays that worked, by which a restarted peer comes back without its bootstrap"
        ),
    )
    npm_peers: bool = field(
        default=False,
        metadata=_row(_flag, "speak with peers of npm `peer-relay`, who prove nothing; off by default", unset=False),
    )
    origins: tuple[str, ...] = field(
        default=(),
        metadata=_row(
            _origin,
            "web pages that may link to this peer, such as `https://example.org`, comma-separated; none by default",
            listed=True,
        ),
    )
    trusted_proxies: tuple[Network, ...] = field(
        default=(),
        metadata=_row(
            ipaddress.ip_network,
            "reverse proxies (addresses or networks) whose `X-Forwarded-For` is believed; none by default",
            listed=True,
        ),
    )
    tls_cert: str | None = field(
        default=None, metadata=_row(_path, "PEM file: serve wss:// with this certificate", has_variable=False)
    )
    tls_key: str | None = field(
        default=None, metadata=_row(_path, "PEM file: its key, if `tls_cert` has none", has_variable=False)
    )
    log: int | None = field(
        default=None, metadata=_row(_level, "`debug`, `info`, `warning` or `error`: log to stderr", has_keyword=False)
    )
    embedded: bool = False
    """Nothing says how to join a network: find, or serve, the node on loopback."""


SETTINGS: Final[Mapping[str, Setting]] = {
    row.name: row.metadata["setting"] for row in fields(PeerConfig) if row.metadata
}


_kept: Final[dict[str, str]] = {}


def keep_environment() -> None:
    """From now on settings of the environment hold though the program clears it, or runs with another one."""
    _kept.update((name, value) for name, value in os.environ.items() if name.startswith("PEER_RELAY_"))


def environment() -> Mapping[str, str]:
    """Return where variables are looked up."""
    return ChainMap(os.environ, _kept) if _kept else os.environ


_CHILDREN: Final = ("PEER_RELAY_RUN", "PEER_RELAY_EXEC")
"""Variables that `peer-relay run` sets for the processes that its program starts."""


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the PEER_RELAY_* variables that mean nothing, each with the nearest that does, or what there are."""
    names = sorted(name for name in environ if name.startswith(_PREFIX))
    known = [_PREFIX + name.upper() for name, setting in SETTINGS.items() if setting.has_variable]
    known += [_PREFIX + name.upper() + _FILE for name, setting in SETTINGS.items() if setting.secret]
    unknown = [name for name in names if name not in known and name not in _CHILDREN]
    if not unknown:
        return {}
    from difflib import get_close_matches  # only for a mistake: 2 ms

    near = {name: get_close_matches(name, known, 1) for name in unknown}
    return {
        name: f"did you mean {found[0]}?" if found else f"there are {', '.join(known)}" for name, found in near.items()
    }


_told: Final[set[str]] = set()
"""Variables that mean nothing and of which this process, or the one that forked it, has told."""


def unknown_settings(environ: Mapping[str, str]) -> list[str]:
    """Return what is to be said of PEER_RELAY_* variables that mean nothing; each once per process."""
    unknown = {name: hint for name, hint in unknown_variables(environ).items() if name not in _told}
    _told.update(unknown)
    return [f"{name}: there is no such setting; {hint}" for name, hint in unknown.items()]


def peer_config(*, environ: Mapping[str, str] | None = None, **keywords: Unpack[Settings]) -> PeerConfig:
    """Return the settings of a peer.

    Args: environ: where variables are looked up; None = the process's.
    Raises: ConfigError with one line that names the setting. TypeError for a keyword that there is not.
    """
    check_keywords(keywords)
    given: Mapping[str, Any] = keywords
    where = environment() if environ is None else environ
    read = {name: setting.read(name, given.get(name), where) for name, setting in SETTINGS.items()}
    config = PeerConfig(**{name: value for name, value in read.items() if value is not None})
    if config.lan and config.port is None:
        config = replace(config, port=0)
    config = replace(config, embedded=config.port is None and not config.bootstrap)
    _check_together(config)
    return config


def check_keywords(keywords: Settings) -> None:
    """Raise TypeError for a keyword that there is not, as a function that names its keywords does."""
    for keyword in keywords:
        if keyword not in SETTINGS or not SETTINGS[keyword].has_keyword:
            known = ", ".join(name for name, setting in SETTINGS.items() if setting.has_keyword)
            raise TypeError(f"got an unexpected keyword argument {keyword!r}; the settings are {known}")


def given_settings(keywords: Settings) -> Settings:
    """Return those keywords whose values say anything. Raises: TypeError as `check_keywords`."""
    check_keywords(keywords)
    kept = {keyword: value for keyword, value in keywords.items() if SETTINGS[keyword].is_given(value)}
    return cast(Settings, kept)


def _check_together(config: PeerConfig) -> None:
    check_apart(config.real_udp, config.ipv4_network)
    if config.tls_key is not None and config.tls_cert is None:
        raise ConfigError("tls_key: of no use without tls_cert")
    if not config.npm_peers:
        return
    if config.network_key is not None:
        raise ConfigError(
            "npm_peers: npm peers know no network key, which is to keep strangers out: set one of the two"
        )
    for name in ("allow_links", "deny_links", "allow_datagrams", "deny_datagrams"):
        if getattr(config, name) is not None:
            raise ConfigError(f"npm_peers: npm peers prove no id that {name} could name: set one of the two")
