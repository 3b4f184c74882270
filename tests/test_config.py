"""Settings: which source wins, and the table of them."""

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
)
from peer_relay_socket.errors import ConfigError

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


def test_a_variable_that_means_nothing_is_told_once() -> None:
    unknown = {"PEER_RELAY_BOOTSTRAB": "x", "PEER_RELAY_PORT_FILE": "x", "PEER_RELAY_PORT": "1"}
    assert unknown_settings(unknown) == [
        "PEER_RELAY_BOOTSTRAB: there is no such setting; did you mean PEER_RELAY_BOOTSTRAP?",
        "PEER_RELAY_PORT_FILE: there is no such setting; did you mean PEER_RELAY_PORT?",
    ]
    assert unknown_settings(unknown) == []


def test_npm_peers_and_a_network_key_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="npm_peers"):
        peer_config(npm_peers=True, network_key="secret", environ={})
    with pytest.raises(ConfigError, match="npm_peers"):
        peer_config(environ={"PEER_RELAY_NPM_PEERS": "1", "PEER_RELAY_NETWORK_KEY": "secret"})


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
