"""Settings: keyword > environment > default. Lives here: what each setting means and how its text is read.
May not live here: anything that acts on one.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from .address import DEFAULT_IPV4_NETWORK
from .errors import ConfigError
from .limits import BROADCAST_HOPS, BROADCAST_HOPS_MOST, MAX_URL

EMBEDDED_PORT: Final = 7317
"""Loopback TCP port of the embedded node: below Linux's ephemeral range (32768), not in IANA's registry for TCP."""

Members: TypeAlias = str | Callable[[bytes], bool] | None
"""Which peers: a file with one id a line, or a function of an id (20 bytes); None = not said."""

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server."""

    url: str
    """stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp] or turns:..."""
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One peer's settings, checked."""

    port: int | None = None
    """TCP port to serve links on; 0 = any free one; None = do not serve."""
    host: str = ""
    """Interface to serve on; "" = all."""
    bootstrap: tuple[str, ...] = ()
    """ws:// or wss:// URLs of peers to join through, redialled for ever."""
    identity: str | None = None
    """Key file; None = a fresh identity."""
    network_key: str | None = None
    """Shared secret that keeps strangers out."""
    allow_links: Members = None
    """Only these may be linked to us; a file of ids, or a function that is asked."""
    deny_links: Members = None
    """These may not."""
    allow_datagrams: Members = None
    """Only with these are datagrams and messages exchanged."""
    deny_datagrams: Members = None
    """Not with these."""
    ipv4_network: ipaddress.IPv4Network = DEFAULT_IPV4_NETWORK
    broadcast_hops: int = BROADCAST_HOPS
    """Relays that broadcasts pass, ours and those that we pass on; 0 = they stay in the process."""
    npm_peers: bool = False
    """Speak with peers of npm peer-relay, which prove nothing."""
    origins: tuple[str, ...] = ()
    """Web pages that may link to us, by origin ("https://example.org"): any page can make a browser dial us."""
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    """Reverse proxies whose X-Forwarded-For is believed."""
    wrtc: bool | Callable[..., Any] = True
    ice_servers: tuple[IceServer, ...] = ()
    """STUN and TURN servers that WebRTC links may ask; aiortc uses the first of each."""
    public_url: str | None = None
    """URL under which others can dial this peer; None = find out whether they can where it listens."""
    tls_cert: str | None = None
    """PEM file with the certificate chain to serve wss:// with; None = serve ws://."""
    tls_key: str | None = None
    """PEM file with its key; None = it is in `tls_cert` too."""
    log: int | None = None
    """Log to stderr from this level on; None = leave logging to the program."""
    embedded: bool = False
    """Nothing was configured: find, or serve, the node on loopback."""


def peer_config(
    *,
    port: int | None = None,
    host: str | None = None,
    bootstrap: str | Iterable[str] = (),
    wrtc: bool | Callable[..., Any] | None = None,
    identity: str | os.PathLike[str] | None = None,
    broadcast_hops: int | None = None,
    npm_peers: bool | None = None,
    origins: str | Iterable[str] = (),
    trusted_proxies: str | Iterable[str] = (),
    network_key: str | None = None,
    allow_links: str | os.PathLike[str] | Callable[[bytes], bool] | None = None,
    deny_links: str | os.PathLike[str] | Callable[[bytes], bool] | None = None,
    allow_datagrams: str | os.PathLike[str] | Callable[[bytes], bool] | None = None,
    deny_datagrams: str | os.PathLike[str] | Callable[[bytes], bool] | None = None,
    ipv4_network: str | ipaddress.IPv4Network | None = None,
    ice_servers: Iterable[str] | None = None,
    public_url: str | None = None,
    tls_cert: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> PeerConfig:
    """Return the settings of a peer: a keyword wins over its PEER_RELAY_* variable, which wins over the default.

    Raises: ConfigError with one line that names the setting.
    """
    env = os.environ if environ is None else environ
    if tls_key is not None and tls_cert is None:
        raise ConfigError("tls_key: of no use without tls_cert")
    if port is None and env.get("PEER_RELAY_PORT"):
        port = _port(env["PEER_RELAY_PORT"], "PEER_RELAY_PORT")
    elif port is not None:
        port = _port(port, "port")
    urls: Iterable[str] = (bootstrap,) if isinstance(bootstrap, str) else tuple(bootstrap)
    setting = "bootstrap"
    if not urls:
        setting = "PEER_RELAY_BOOTSTRAP"
        urls = [url for url in env.get(setting, "").split(",") if url.strip()]
    checked = tuple(check_url(url.strip(), setting) for url in urls)
    if npm_peers is None:
        npm_peers = _flag(env.get("PEER_RELAY_NPM_PEERS", ""), "PEER_RELAY_NPM_PEERS")
    if wrtc is None:
        wrtc = _flag(env.get("PEER_RELAY_WRTC", "1"), "PEER_RELAY_WRTC")
    if ice_servers is None:
        ice_servers = [url for url in env.get("PEER_RELAY_ICE_SERVERS", "").split(",") if url.strip()]
    network_key = network_key or env.get("PEER_RELAY_NETWORK_KEY") or None
    if npm_peers and network_key is not None:
        raise ConfigError(
            "npm_peers: npm peers know no network key, which is to keep strangers out: set one of the two"
        )
    lists = {
        "allow_links": _members(allow_links, "allow_links", env),
        "deny_links": _members(deny_links, "deny_links", env),
        "allow_datagrams": _members(allow_datagrams, "allow_datagrams", env),
        "deny_datagrams": _members(deny_datagrams, "deny_datagrams", env),
    }
    named = next((setting for setting, members in lists.items() if members is not None), None)
    if npm_peers and named is not None:
        raise ConfigError(f"npm_peers: npm peers prove no id that {named} could name: set one of the two")
    return PeerConfig(
        **lists,
        port=port,
        host=host or "",
        bootstrap=checked,
        identity=os.fspath(identity) if identity is not None else env.get("PEER_RELAY_IDENTITY") or None,
        network_key=network_key,
        ipv4_network=(
            _network(ipv4_network, "ipv4_network")
            if ipv4_network
            else _network(env.get("PEER_RELAY_IPV4_NETWORK") or DEFAULT_IPV4_NETWORK, "PEER_RELAY_IPV4_NETWORK")
        ),
        broadcast_hops=_hops(broadcast_hops, env),
        npm_peers=npm_peers,
        origins=_origins(origins, env),
        trusted_proxies=_proxies(trusted_proxies, env),
        wrtc=wrtc,
        ice_servers=tuple(ice_server(url.strip()) for url in ice_servers),
        public_url=_public_url(public_url, env),
        tls_cert=None if tls_cert is None else os.fspath(tls_cert),
        tls_key=None if tls_key is None else os.fspath(tls_key),
        log=_level(env.get("PEER_RELAY_LOG", "")),
        embedded=port is None and not checked,
    )


def _public_url(url: str | None, env: Mapping[str, str]) -> str | None:
    if url:
        return check_url(url, "public_url")
    url = env.get("PEER_RELAY_PUBLIC_URL", "").strip()
    return check_url(url, "PEER_RELAY_PUBLIC_URL") if url else None


def check_url(url: str, setting: str) -> str:
    """Return `url`, less a bare "/" at its end, if it is a ws:// or wss:// URL with a host, else raise ConfigError."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{setting}: {url!r} is not a ws:// or wss:// URL")
    if len(url) > MAX_URL or not all("!" <= character <= "~" for character in url):
        raise ConfigError(f"{setting}: {url!r} is longer than {MAX_URL} characters, or some of them are not ASCII")
    return url[:-1] if parts.path == "/" and url.endswith("/") else url


def ice_server(text: str) -> IceServer:
    """Return what `stun:HOST[:PORT]` or `turn[s]:[USER:PASSWORD@]HOST[:PORT][?transport=udp|tcp]` names; user and
    password are percent-encoded.

    Raises: ConfigError, which never shows the password.
    """
    scheme, _, rest = text.partition(":")
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
        raise ConfigError(f"ice_servers: {shown!r} is not stun:HOST[:PORT] or turn:USER:PASSWORD@HOST[:PORT]")
    return IceServer(f"{scheme}:{place}", unquote(user) if at else None, unquote(password) if at else None)


def _port(value: int | str, setting: str) -> int:
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = -1
    if not 0 <= port <= 65535:
        raise ConfigError(f"{setting}: {value!r} is not a port (0-65535)")
    return port


def _members(
    members: str | os.PathLike[str] | Callable[[bytes], bool] | None, setting: str, env: Mapping[str, str]
) -> Members:
    if members is None:
        return env.get("PEER_RELAY_" + setting.upper()) or None
    return members if callable(members) else os.fspath(members)


def _proxies(
    proxies: str | Iterable[str], env: Mapping[str, str]
) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    setting = "trusted_proxies"
    named = (proxies,) if isinstance(proxies, str) else tuple(proxies)
    if not named:
        setting = "PEER_RELAY_TRUSTED_PROXIES"
        named = tuple(proxy.strip() for proxy in env.get(setting, "").split(",") if proxy.strip())
    try:
        return tuple(ipaddress.ip_network(proxy) for proxy in named)
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from None


def _hops(value: int | None, env: Mapping[str, str]) -> int:
    setting = "broadcast_hops"
    text: int | str | None = value
    if text is None:
        setting = "PEER_RELAY_BROADCAST_HOPS"
        text = env.get(setting) or BROADCAST_HOPS
    try:
        hops = int(text)
    except (TypeError, ValueError):
        hops = -1
    if not 0 <= hops <= BROADCAST_HOPS_MOST:
        raise ConfigError(f"{setting}: {text!r} is not a number of relays (0-{BROADCAST_HOPS_MOST})")
    return hops


def _origins(origins: str | Iterable[str], env: Mapping[str, str]) -> tuple[str, ...]:
    setting = "origins"
    named = (origins,) if isinstance(origins, str) else tuple(origins)
    if not named:
        setting = "PEER_RELAY_ORIGINS"
        named = tuple(origin.strip() for origin in env.get(setting, "").split(",") if origin.strip())
    for origin in named:
        parts = urlsplit(origin)
        if not parts.scheme or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
            raise ConfigError(
                f"{setting}: {origin!r} is not an origin as browsers spell it, such as https://example.org"
            )
    return named


def _flag(text: str, setting: str) -> bool:
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ConfigError(f"{setting}: {text!r} is neither on (1, true, yes) nor off (0, false, no)")


def _level(text: str) -> int | None:
    name = text.strip().lower()
    if name and name not in _LEVELS:
        raise ConfigError(f"PEER_RELAY_LOG: {text!r} is none of {', '.join(_LEVELS)}")
    return _LEVELS.get(name)


def _network(value: str | ipaddress.IPv4Network, setting: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from None
    if network.prefixlen > 24:
        raise ConfigError(f"{setting}: {network} leaves fewer than 8 bits for peers")
    return network
