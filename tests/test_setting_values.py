"""The values of settings: what each text means, and what is said of one that means nothing."""

from __future__ import annotations

from typing import Any

import pytest

from peer_relay_socket.config import peer_config
from peer_relay_socket.errors import ConfigError
from peer_relay_socket.limits import MAX_URL
from peer_relay_socket.setting_values import IceServer


@pytest.mark.parametrize(("text", "level"), [("debug", 10), ("INFO", 20), (" warning ", 30), ("error", 40)])
def test_log_levels(text: str, level: int) -> None:
    assert peer_config(environ={"PEER_RELAY_LOG": text}).log == level


@pytest.mark.parametrize("text", ["1", "true", "YES", " on "])
def test_texts_that_mean_on(text: str) -> None:
    assert peer_config(environ={"PEER_RELAY_NPM_PEERS": text}).npm_peers is True


@pytest.mark.parametrize("text", ["0", "false", "NO", " off "])
def test_texts_that_mean_off(text: str) -> None:
    assert peer_config(environ={"PEER_RELAY_WRTC": text}).wrtc is False


LONG = "ws://" + "a" * MAX_URL


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        ({"port": -1}, {}, "port: -1 is not a port (0-65535)"),
        ({"port": 65536}, {}, "port: 65536 is not a port (0-65535)"),
        ({"port": "x"}, {}, "port: 'x' is not a port (0-65535)"),
        ({}, {"PORT": "70000"}, "PEER_RELAY_PORT: '70000' is not a port (0-65535)"),
        ({}, {"PORT": "http"}, "PEER_RELAY_PORT: 'http' is not a port (0-65535)"),
        ({"bootstrap": "http://a"}, {}, "bootstrap: 'http://a' is not a ws:// or wss:// URL"),
        ({"bootstrap": ["ws://a", "ws://"]}, {}, "bootstrap: 'ws://' is not a ws:// or wss:// URL"),
        ({"bootstrap": "ws://a:0"}, {}, "bootstrap: 'ws://a:0' is not a ws:// or wss:// URL"),
        ({"bootstrap": "ws://a:99999"}, {}, "bootstrap: 'ws://a:99999' is not a ws:// or wss:// URL"),
        ({"bootstrap": "ws://[::1"}, {}, "bootstrap: 'ws://[::1' is not a ws:// or wss:// URL"),
        ({"bootstrap": "ws://a#abc"}, {}, "bootstrap: 'ws://a#abc': after the # stands no peer id (40 hex digits)"),
        (
            {},
            {"BOOTSTRAP": "ws://a#"},
            "PEER_RELAY_BOOTSTRAP: 'ws://a#': after the # stands no peer id (40 hex digits)",
        ),
        ({"bootstrap": ""}, {}, "bootstrap: '' is not a ws:// or wss:// URL"),
        ({}, {"BOOTSTRAP": "a:1"}, "PEER_RELAY_BOOTSTRAP: 'a:1' is not a ws:// or wss:// URL"),
        ({}, {"PUBLIC_URL": "a"}, "PEER_RELAY_PUBLIC_URL: 'a' is not a ws:// or wss:// URL"),
        ({"bootstrap": "dns:a b"}, {}, "bootstrap: 'dns:a b': after dns: stands no domain, such as example.org"),
        ({"bootstrap": "dns://a"}, {}, "bootstrap: 'dns://a': after dns: stands no domain, such as example.org"),
        ({"bootstrap": "dns:"}, {}, "bootstrap: 'dns:': after dns: stands no domain, such as example.org"),
        ({"public_url": "a"}, {}, "public_url: 'a' is not a ws:// or wss:// URL"),
        (
            {"public_url": LONG},
            {},
            f"public_url: '{LONG}' is longer than 255 characters, or some of them are not ASCII",
        ),
        (
            {"public_url": "ws://é.org"},
            {},
            "public_url: 'ws://é.org' is longer than 255 characters, or some of them are not ASCII",
        ),
        (
            {"public_url": "wss://a/b?c"},
            {},
            "public_url: 'wss://a/b?c' is no URL that others dial: its path may have 64 of [A-Za-z0-9/_-], no query",
        ),
        ({"ipv4_network": "10.0.0.1/8"}, {}, "ipv4_network: 10.0.0.1/8 has host bits set"),
        ({"ipv4_network": "10.0.0.0/25"}, {}, "ipv4_network: 10.0.0.0/25 leaves fewer than 8 bits for peers"),
        ({}, {"IPV4_NETWORK": "10.0.0.0/33"}, "PEER_RELAY_IPV4_NETWORK: '33' is not a valid netmask"),
        ({}, {"IPV4_NETWORK": "x"}, "PEER_RELAY_IPV4_NETWORK: Expected 4 octets in 'x'"),
        ({"trusted_proxies": "10.0.0.1/8"}, {}, "trusted_proxies: 10.0.0.1/8 has host bits set"),
        (
            {},
            {"TRUSTED_PROXIES": "127.0.0.1, nginx"},
            "PEER_RELAY_TRUSTED_PROXIES: 'nginx' does not appear to be an IPv4 or IPv6 network",
        ),
        (
            {"npm_peers": True, "deny_links": "a.txt"},
            {},
            "npm_peers: npm peers prove no id that deny_links could name: set one of the two",
        ),
        ({}, {"NPM_PEERS": "2"}, "PEER_RELAY_NPM_PEERS: '2' is neither on (1, true, yes) nor off (0, false, no)"),
        ({}, {"WRTC": "?"}, "PEER_RELAY_WRTC: '?' is neither on (1, true, yes) nor off (0, false, no)"),
        ({}, {"LOG": "loud"}, "PEER_RELAY_LOG: 'loud' is none of debug, info, warning, error"),
    ],
)
def test_a_setting_that_means_nothing_is_named(options: dict[str, Any], environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        peer_config(environ={"PEER_RELAY_" + name: text for name, text in environ.items()}, **options)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


def test_origins_are_named_as_browsers_spell_them() -> None:
    environ = {"PEER_RELAY_ORIGINS": "https://example.org, http://127.0.0.1:8080"}
    assert peer_config(environ=environ).origins == ("https://example.org", "http://127.0.0.1:8080")
    assert peer_config(origins="https://a.example", environ=environ).origins == ("https://a.example",)
    assert peer_config(environ={}).origins == ()


@pytest.mark.parametrize("origin", ["example.org", "https://", "https://example.org/", "https://example.org/page", "*"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match="origins"):
        peer_config(origins=origin, environ={})
    with pytest.raises(ConfigError, match="PEER_RELAY_ORIGINS"):
        peer_config(environ={"PEER_RELAY_ORIGINS": origin})


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("stun:stun.example.org", IceServer("stun:stun.example.org")),
        ("stun:192.0.2.1:3479", IceServer("stun:192.0.2.1:3479")),
        ("turn:me:s%40cret:x@turn.example.org", IceServer("turn:turn.example.org", "me", "s@cret:x")),
        (
            "turn:me:secret@turn.example.org:443?transport=tcp",
            IceServer("turn:turn.example.org:443?transport=tcp", "me", "secret"),
        ),
        ("turns:me:secret@turn.example.org", IceServer("turns:turn.example.org", "me", "secret")),
        ("turn:open.example.org", IceServer("turn:open.example.org")),
    ],
)
def test_a_server_is_read_with_its_credentials(text: str, server: IceServer) -> None:
    assert peer_config(ice_servers=[text], environ={}).ice_servers == (server,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stun.example.org",
        "stun:",
        "stun:me:secret@stun.example.org",
        "stun:host:0",
        "stun:host:70000",
        "stun:host?transport=tcp",
        "turn:secret@host",
        "turn::secret@host",
        "turn:me:secret@host?transport=sctp",
        "http://host",
    ],
)
def test_a_setting_that_names_no_server_is_refused_without_showing_the_password(text: str) -> None:
    with pytest.raises(ConfigError, match="ice_servers") as caught:
        peer_config(ice_servers=[text], environ={})
    assert "secret" not in str(caught.value)


def test_servers_come_from_the_environment_and_there_are_none_by_default() -> None:
    assert peer_config(environ={}).ice_servers == ()
    environ = {"PEER_RELAY_ICE_SERVERS": "stun:a.example, turn:me:pw@b.example,"}
    assert peer_config(environ=environ).ice_servers == (
        IceServer("stun:a.example"),
        IceServer("turn:b.example", "me", "pw"),
    )
