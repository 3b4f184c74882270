"""The process's environment: where the text of a setting is found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peer_relay_socket.config import peer_config, unknown_variables
from peer_relay_socket.errors import ConfigError


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


def test_what_was_kept_holds_though_the_program_clears_its_environment_but_not_against_it() -> None:
    code = """
import os
from peer_relay_socket.config import peer_config
from peer_relay_socket.environment import keep_environment
keep_environment()
os.environ.clear()
kept = peer_config().port
os.environ["PEER_RELAY_PORT"] = "8"
print(kept, peer_config().port)
"""
    argv = [sys.executable, "-c", code]
    done = subprocess.run(
        argv, env=os.environ | {"PEER_RELAY_PORT": "7"}, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "7 8\n"
