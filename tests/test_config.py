"""Settings: which source wins, what each text means, and what is said of one that means nothing."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peer_relay
import pytest
from peer_relay import dgram

from peer_relay_socket import Peer, Socket
from peer_relay_socket.address import DEFAULT_IPV4_NETWORK
from peer_relay_socket.config import (
    SETTINGS,
    PeerConfig,
    Settings,
    SocketSettings,
    given_settings,
    peer_config,
    unknown_settings,
    unknown_variables,
)
from peer_relay_socket.errors import ConfigError
from peer_relay_socket.limits import MAX_URL

TEN = ipaddress.IPv4Network("10.0.0.0/8")


def test_nothing_set_gives_the_embedded_default() -> None:
    assert peer_config(environ={}) == PeerConfig(embedded=True)


CASES: list[tuple[str, Any, Any, str, Any]] = [
    # keyword, its value, what it means; the variable's text, what it means
    ("port", 7, 7, "8", 8),
    ("bootstrap", ["ws://a"], ("ws://a",), "ws://b, wss://c:1/x", ("ws://b", "wss://c:1/x")),
    ("bootstrap", "ws://a/", ("ws://a",), "ws://b/", ("ws://b",)),
    (
        "bootstrap",
        f"ws://a/#{'AB' * 20}.peer",
        (f"ws://a#{'ab' * 20}",),
        f"ws://b#{'ab' * 20}",
        (f"ws://b#{'ab' * 20}",),
    ),
    ("bootstrap", "dns:Example.org.", ("dns:example.org",), "DNS:a, ws://b", ("dns:a", "ws://b")),
    ("identity", "a.pem", "a.pem", "b.pem", "b.pem"),
    ("identity", Path("a.pem"), "a.pem", "b.pem", "b.pem"),
    ("network_key", "secret", "secret", "other", "other"),
    ("ipv4_network", "10.0.0.0/8", TEN, "11.0.0.0/8", ipaddress.IPv4Network("11.0.0.0/8")),
    ("ipv4_network", TEN, TEN, "", DEFAULT_IPV4_NETWORK),
    ("lan", True, True, "0", False),
    ("remember", False, False, "1", True),
    ("npm_peers", False, False, "1", True),
    ("npm_peers", True, True, "0", False),
    ("trusted_proxies", "10.0.0.0/8", (TEN,), "::1", (ipaddress.ip_network("::1"),)),
    ("trusted_proxies", ["10.0.0.0/8"], (TEN,), "11.0.0.0/8", (ipaddress.ip_network("11.0.0.0/8"),)),
    ("allow_links", "a.txt", "a.txt", "b.txt", "b.txt"),
    ("deny_links", Path("a.txt"), "a.txt", "b.txt", "b.txt"),
    ("allow_datagrams", bool, bool, "b.txt", "b.txt"),
    ("deny_datagrams", "a.txt", "a.txt", "", None),
    ("wrtc", False, False, "on", True),
    ("wrtc", True, True, "off", False),
    ("public_url", "wss://a/", "wss://a", "ws://b:1", "ws://b:1"),
]


@pytest.mark.parametrize(("name", "value", "meaning", "text", "text_means"), CASES)
def test_keyword_wins_over_environment(name: str, value: Any, meaning: Any, text: str, text_means: Any) -> None:
    environ = {"PEER_RELAY_" + name.upper(): text}
    assert getattr(peer_config(environ=environ), name) == text_means
    assert getattr(peer_config(environ=environ, **{name: value}), name) == meaning
    assert getattr(peer_config(environ={}, **{name: value}), name) == meaning


def test_keyword_ice_servers_win_over_environment() -> None:
    environ = {"PEER_RELAY_ICE_SERVERS": "stun:b, stun:c"}
    assert [server.url for server in peer_config(environ=environ).ice_servers] == ["stun:b", "stun:c"]
    assert [server.url for server in peer_config(environ=environ, ice_servers=["stun:a"]).ice_servers] == ["stun:a"]
    assert peer_config(environ=environ, ice_servers=[]).ice_servers == ()


@pytest.mark.parametrize("name", ["PORT", "BOOTSTRAP", "IDENTITY", "NETWORK_KEY", "IPV4_NETWORK", "NPM_PEERS", "LOG"])
def test_an_empty_variable_is_one_that_is_not_set(name: str) -> None:
    assert peer_config(environ={"PEER_RELAY_" + name: ""}) == PeerConfig(embedded=True)


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEER_RELAY_PORT", "1234")
    assert peer_config().port == 1234


@pytest.mark.parametrize(
    ("options", "embedded"),
    [
        ({}, True),
        ({"lan": True}, False),
        ({"port": 0}, False),
        ({"bootstrap": "ws://a"}, False),
        ({"identity": "x", "wrtc": False}, True),
    ],
)
def test_embedded_means_that_no_way_into_a_network_was_named(options: dict[str, Any], embedded: bool) -> None:
    assert peer_config(environ={}, **options).embedded is embedded


def test_a_peer_that_is_to_be_found_on_its_link_serves() -> None:
    assert peer_config(environ={"PEER_RELAY_LAN": "1"}).port == 0
    assert peer_config(environ={"PEER_RELAY_LAN": "1"}, port=80).port == 80
    assert peer_config(environ={"PEER_RELAY_LAN": "0"}).port is None


@pytest.mark.parametrize(("text", "level"), [("debug", 10), ("INFO", 20), (" warning ", 30), ("error", 40)])
def test_log_levels(text: str, level: int) -> None:
    assert peer_config(environ={"PEER_RELAY_LOG": text}).log == level


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(" secret key\n")
    (tmp_path / "ice").write_text("stun:a, turn:u:p@b\n")
    environ = {
        "PEER_RELAY_NETWORK_KEY_FILE": str(tmp_path / "key"),
        "PEER_RELAY_ICE_SERVERS_FILE": str(tmp_path / "ice"),
    }
    config = peer_config(environ=environ)
    assert config.network_key == "secret key"
    assert [server.credential for server in config.ice_servers] == [None, "p"]
    assert unknown_variables(environ) == {}
    assert peer_config(environ=environ, network_key="other").network_key == "other"


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"NETWORK_KEY_FILE": "/nonexistent"}, "/nonexistent: No such file or directory"),
        ({"NETWORK_KEY_FILE": "/"}, "/: Is a directory"),
        ({"NETWORK_KEY_FILE": "/dev/null", "NETWORK_KEY": "x"}, "PEER_RELAY_NETWORK_KEY is set, too: set one"),
        ({"ICE_SERVERS_FILE": sys.executable}, f"{sys.executable}: "),
    ],
)
def test_a_secrets_file_that_is_none_is_refused(environ: dict[str, str], complaint: str) -> None:
    told = {"PEER_RELAY_" + name: text for name, text in environ.items()}
    with pytest.raises(ConfigError) as refused:
        peer_config(environ=told)
    assert str(refused.value).startswith(f"PEER_RELAY_{next(iter(environ))}: {complaint}")


def test_a_variable_that_means_nothing_is_told_once() -> None:
    unknown = {"PEER_RELAY_BOOTSTRAB": "x", "PEER_RELAY_PORT_FILE": "x", "PEER_RELAY_PORT": "1"}
    assert unknown_settings(unknown) == [
        "PEER_RELAY_BOOTSTRAB: there is no such setting; did you mean PEER_RELAY_BOOTSTRAP?",
        "PEER_RELAY_PORT_FILE: there is no such setting; did you mean PEER_RELAY_PORT?",
    ]
    assert unknown_settings(unknown) == []


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


def test_npm_peers_and_a_network_key_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="npm_peers"):
        peer_config(npm_peers=True, network_key="secret", environ={})
    with pytest.raises(ConfigError, match="npm_peers"):
        peer_config(environ={"PEER_RELAY_NPM_PEERS": "1", "PEER_RELAY_NETWORK_KEY": "secret"})


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


# --- the table ---------------------------------------------------------------------------------------------------


def test_the_keywords_have_types_and_only_they() -> None:
    keywords = {name for name, setting in SETTINGS.items() if setting.has_keyword}
    assert set(Settings.__annotations__) == keywords
    assert set(SocketSettings.__annotations__) == keywords | {"direct"}


def test_the_operators_guide_has_every_setting_that_has_a_variable_with_its_meaning() -> None:
    guide = (Path(__file__).parent.parent / "peer_relay_socket/cli/README.md").read_text()
    rows = re.findall(r"^\| (`PEER_RELAY_[^|]*) \| ([^|]*)\| (.*) \|$", guide, re.MULTILINE)
    told: list[str] = []
    for variables, keywords, meaning in rows:
        names = [name.lower() for name in re.findall(r"`PEER_RELAY_(\w+)`", variables)]
        assert re.findall(r"`(\w+)`", keywords) == [name for name in names if SETTINGS[name].has_keyword]
        assert meaning.replace(" (below)", "") == "; ".join(SETTINGS[name].meaning for name in names)
        told += names
    assert sorted(told) == sorted(name for name, setting in SETTINGS.items() if setting.has_variable)
    for name, setting in SETTINGS.items():
        assert setting.has_variable or f"`{name}`" in guide, name


@pytest.mark.parametrize("keyword", ["bootstap", "log", "embedded", "direct"])
def test_a_keyword_that_there_is_not_is_a_type_error(keyword: str) -> None:
    options: Any = {keyword: None}
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{keyword}'"):
        peer_config(environ={}, **options)
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{keyword}'"):
        given_settings(options)


@pytest.mark.parametrize("made", [Peer, Socket, dgram.Socket, peer_relay.socket])
def test_a_setting_that_there_is_not_is_a_type_error(made: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match="'bootstap'"):
        made(bootstap="ws://127.0.0.1:1")


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({"port": None, "bootstrap": (), "npm_peers": False, "origins": [], "wrtc": None}, {}),
        ({"port": 0}, {"port": 0}),
        ({"wrtc": False, "ice_servers": []}, {"wrtc": False, "ice_servers": []}),
        ({"bootstrap": "", "npm_peers": True}, {"bootstrap": "", "npm_peers": True}),
    ],
)
def test_a_keyword_that_says_nothing_is_not_given(settings: Settings, given: Settings) -> None:
    assert given_settings(settings) == given


def test_a_variable_that_means_nothing_is_told_of_once_with_the_nearest() -> None:
    code = "from peer_relay_socket import Peer; [Peer(port=0, host='127.0.0.1').destroy() for _ in range(2)]"
    known = {name: text for name, text in os.environ.items() if not name.startswith("PEER_RELAY_")}
    environ = known | {"PEER_RELAY_BOOTSRAP": "ws://x", "PEER_RELAY_RUN": "closed"}
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=True)
    said = "! PEER_RELAY_BOOTSRAP: there is no such setting; did you mean PEER_RELAY_BOOTSTRAP?"
    assert done.stderr.splitlines() == [said]
