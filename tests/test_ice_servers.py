"""How STUN and TURN servers are named in settings."""

from __future__ import annotations

import pytest

from peer_relay_socket.config import IceServer, peer_config
from peer_relay_socket.errors import ConfigError


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
