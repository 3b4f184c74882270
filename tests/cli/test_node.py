"""`peer-relay node` as a process: its one line, its end, and how it refuses."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peer_relay_socket.address import Spelling
from peer_relay_socket.identity import Identity
from tests.processes import environment, read_line

NODE = [sys.executable, "-m", "peer_relay", "node"]


@contextmanager
def node(*options: str, cwd: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    with subprocess.Popen(
        [*NODE, *options],
        cwd=cwd,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, read_line(process.stdout).split()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_node_prints_one_line_serves_and_ends_well(tmp_path: Path, number: signal.Signals) -> None:
    with node("--identity", "node.key", cwd=tmp_path) as (process, line):
        peer_id = Identity.load(str(tmp_path / "node.key")).peer_id
        assert line[:3] == ["node", peer_id.hex(), Spelling().ipv4(peer_id)]
        found = re.fullmatch(r"ws://127\.0\.0\.1:(\d+)", line[3])
        assert found is not None
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 ")
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
        assert (process.returncode, rest, errors) == (0, "", "")


def test_node_takes_settings_from_the_environment(tmp_path: Path) -> None:
    Identity.load_or_create(str(tmp_path / "env.key"))
    settings = {"PEER_RELAY_IDENTITY": "env.key", "PEER_RELAY_IPV4_NETWORK": "10.0.0.0/8"}
    with node("--host", "::1", cwd=tmp_path, **settings) as (_, line):
        assert line[1] == Identity.load(str(tmp_path / "env.key")).peer_id.hex()
        assert line[2].startswith("10.")
        assert line[3].startswith("ws://[::1]:")


@pytest.mark.slow
def test_nodes_join_and_a_dead_bootstrap_delays_nobody_long(tmp_path: Path) -> None:
    with (
        node(cwd=tmp_path) as (_, first),
        node("--bootstrap", first[3], cwd=tmp_path) as (_, second),
        node("--bootstrap", "ws://127.0.0.1:9", cwd=tmp_path) as (_, third),
    ):
        assert len({first[1], second[1], third[1]}) == 3


@pytest.mark.parametrize(
    ("options", "settings", "complaint"),
    [
        (["--port", "{taken}"], {}, "in use"),
        ([], {"PEER_RELAY_PORT": "{taken}"}, "in use"),
        (["--port", "http"], {}, "--port: invalid int value: 'http'"),
        (["--port", "70000"], {}, "port: 70000 is not a port"),
        (["--host", "192.0.2.1"], {}, "192.0.2.1"),
        (["--host", "no.such.host.invalid"], {}, "no.such.host.invalid"),
        (["--bootstrap", "example.org:80"], {}, "'example.org:80' is not a ws:// or wss:// URL"),
        ([], {"PEER_RELAY_BOOTSTRAP": "ws://"}, "'ws://' is not a ws:// or wss:// URL"),
        (["--public-url", "http://a.example"], {}, "public_url: 'http://a.example'"),
        (["--identity", "broken.key"], {}, "broken.key: key file: not an unencrypted Ed25519 key"),
        (["--identity", "open.key"], {}, "open.key: key file: others can read it"),
        (["--identity", "absent/new.key"], {}, "absent/new.key: key file: No such file"),
        ([], {"PEER_RELAY_NPM_PEERS": "perhaps"}, "PEER_RELAY_NPM_PEERS: 'perhaps'"),
        (["extra"], {}, "unrecognized arguments: extra"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_node_refuses_bad_input_with_one_line_and_status_2(
    tmp_path: Path,
    called: Callable[..., tuple[int, str, str]],
    options: list[str],
    settings: dict[str, str],
    complaint: str,
) -> None:
    (tmp_path / "broken.key").write_text("no key\n")
    (tmp_path / "broken.key").chmod(0o600)
    Identity.load_or_create(str(tmp_path / "open.key"))
    (tmp_path / "open.key").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [word.format(taken=port) for word in options]
        filled = {name: value.format(taken=port) for name, value in settings.items()}
        status, out, error = called("node", *words, **filled)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith("peer-relay node: ")
    assert complaint in error
