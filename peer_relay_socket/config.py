"""Settings: a keyword wins over its environment variable, which wins over the default.

Lives here: the one table of settings (`PeerConfig`: keyword, variable, parser, meaning), the types of the keywords
(`Settings`). May not live here: anything that acts on a setting; how a value is checked (setting_values.py); where
variables are kept (environment.py).

To add a setting, add a field to `PeerConfig`, its keyword to `Settings`, and its row to the table in cli/README.md.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, TypedDict, Unpack, cast

from . import setting_values as values
from .address import DEFAULT_IPV4_NETWORK
from .environment import FILE, PREFIX, environment, variable
from .errors import ConfigError
from .limits import BROADCAST_HOPS, BROADCAST_HOPS_MOST
from .real_networks import RealNetwork, check_apart
from .setting_values import IceServer, Members, MembersSetting, Network, Shown


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
    lane: bool | None
    tls_cert: str | os.PathLike[str] | None
    tls_key: str | os.PathLike[str] | None


class SocketSettings(Settings, total=False):
    """The keywords of `Socket`."""

    direct: Literal["drop", "error"]
    """What happens to datagrams for addresses outside the overlay: dropped and counted, or refused (ENETUNREACH)."""


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
            name, text = variable(keyword, environ, read=self.has_variable, read_file=self.secret)
            if not text:
                return None
            value = [part for part in text.split(",") if part.strip()] if self.listed else text
        try:
            if not self.listed:
                return self.parse(value)
            return tuple(self.parse(part.strip() if isinstance(part, str) else part) for part in value)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from None


def _row(parse: Callable[[Any], Any], meaning: str, **more: Any) -> dict[str, Setting]:
    return {"setting": Setting(parse, meaning, **more)}


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One peer's settings, checked. Each field's name is the keyword, and in capitals, after PEER_RELAY_, the
    variable."""

    bootstrap: tuple[str, ...] = field(
        default=(),
        metadata=_row(
            values.bootstrap,
            "ws:// or wss:// URLs, comma-separated, to join through; tried for ever; better `URL#ID`: only the peer "
            "with that id is taken there; `dns:DOMAIN`: those that its SRV and TXT records name",
            listed=True,
        ),
    )
    port: int | None = field(
        default=None,
        metadata=_row(
            values.port, "serve links on this TCP port (0 = any free one), and relay for others; not served by default"
        ),
    )
    host: str = field(
        default="", metadata=_row(values.text, "interface to serve on; all by default", has_variable=False)
    )
    public_url: str | None = field(
        default=None,
        metadata=_row(values.public_url, "where others can dial this peer; without it it finds out whether they can"),
    )
    public_udp: tuple[str, int] | None = field(
        default=None,
        metadata=_row(
            values.public_udp,
            "where others reach this peer's UDP port if not where they dial it: `IPV4:PORT`; with `public_url` none by "
            "default",
        ),
    )
    lane: bool = field(
        default=True,
        metadata=_row(
            values.flag,
            "`0`: no datagrams by UDP beside the links to relays; a relay answers no neighbour that asks for that",
        ),
    )
    identity: str | None = field(
        default=None, metadata=_row(values.path, "key file, made if absent, mode 0600; a fresh identity by default")
    )
    network_key: str | None = field(
        default=None,
        metadata=_row(
            values.text,
            "secret that peers must share to link and to talk; use a random one: guesses cannot be tested by listening "
            "or connecting, but by an attacker whom a member dials",
            secret=True,
        ),
    )
    allow_links: Members = field(default=None, metadata=_row(values.members, "link to these peers only"))
    deny_links: Members = field(default=None, metadata=_row(values.members, "link to none of these"))
    allow_datagrams: Members = field(
        default=None, metadata=_row(values.members, "exchange datagrams and messages with these only")
    )
    deny_datagrams: Members = field(default=None, metadata=_row(values.members, "with none of these"))
    ipv4_network: ipaddress.IPv4Network = field(
        default=DEFAULT_IPV4_NETWORK,
        metadata=_row(values.ipv4_network, "where IPv4 spellings lie; must be equal across a network"),
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
            values.wrtc,
            "`0`: no direct paths over WebRTC; as a keyword also another implementation "
            "(`transport/rtc_implementation.py` says what it needs)",
        ),
    )
    ice_servers: tuple[IceServer, ...] = field(
        default=(),
        metadata=_row(
            values.ice_server,
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
            values.candidates,
            "addresses of this machine that WebRTC shows to other peers: `all`, the `public` ones, `none`, or `auto`",
        ),
    )
    broadcast_hops: int = field(
        default=BROADCAST_HOPS,
        metadata=_row(values.hops, f"relays that a broadcast may pass, 0 to {BROADCAST_HOPS_MOST}; 1 by default"),
    )
    lan: bool = field(
        default=False,
        metadata=_row(
            values.flag, "find peers on the same link by multicast, and serve them; off by default", unset=False
        ),
    )
    remember: bool = field(
        default=True,
        metadata=_row(
            values.flag,
            "`0`: keep no file of relays that worked, by which a restarted peer comes back without its bootstrap",
        ),
    )
    npm_peers: bool = field(
        default=False,
        metadata=_row(
            values.flag, "speak with peers of npm `peer-relay`, who prove nothing; off by default", unset=False
        ),
    )
    origins: tuple[str, ...] = field(
        default=(),
        metadata=_row(
            values.origin,
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
        default=None, metadata=_row(values.path, "PEM file: serve wss:// with this certificate", has_variable=False)
    )
    tls_key: str | None = field(
        default=None, metadata=_row(values.path, "PEM file: its key, if `tls_cert` has none", has_variable=False)
    )
    log: int | None = field(
        default=None,
        metadata=_row(values.level, "`debug`, `info`, `warning` or `error`: log to stderr", has_keyword=False),
    )
    embedded: bool = False
    """Nothing says how to join a network: find, or serve, the node on loopback."""


SETTINGS: Final[Mapping[str, Setting]] = {
    row.name: row.metadata["setting"] for row in fields(PeerConfig) if row.metadata
}


_CHILDREN: Final = ("PEER_RELAY_RUN", "PEER_RELAY_EXEC")
"""Variables that `peer-relay run` sets for the processes that its program starts."""


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the PEER_RELAY_* variables that mean nothing, each with the nearest that does, or what there are."""
    names = sorted(name for name in environ if name.startswith(PREFIX))
    known = [PREFIX + name.upper() for name, setting in SETTINGS.items() if setting.has_variable]
    known += [PREFIX + name.upper() + FILE for name, setting in SETTINGS.items() if setting.secret]
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
