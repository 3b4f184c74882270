"""`peer-relay doctor` as a process: each layer that can fail, its cure, JSON, exit status, and what a bundle hides."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.cli.doctor import shortened
from peer_relay_socket.observe.checks import Finding, nat, settings
from peer_relay_socket.setting_values import IceServer
from tests.cli.test_node_tls import certificate
from tests.loopback import free_port
from tests.observe.conftest import relay, runtime_folder, start
from tests.observe.programs import ECHO, Program, peer_relay
from tests.patience import LIMIT, until
from tests.processes import environment

__all__ = ["relay", "runtime_folder", "start"]

Start = Callable[..., Program]


def doctor(*arguments: str, **environ: str) -> tuple[int, dict[str, Finding]]:
    done = peer_relay("doctor", "--json", *arguments, **environ)
    assert done.stderr == ""
    return done.returncode, {each["check"]: Finding(**each) for each in json.loads(done.stdout)["checks"]}


@pytest.mark.slow
def test_a_relay_that_answers_is_good_in_every_layer(runtime_folder: Path, relay: Peer) -> None:
    status, found = doctor("--bootstrap", relay.url or "")
    assert status == 0
    for check in ("names", "TCP over IPv4", "clock", "link"):
        assert found[check].state == "good", found
    assert found["link"].detail.startswith(f"{relay.id.hex()[:8]} relays, round trip ")
    text = peer_relay("doctor", "--bootstrap", relay.url or "")
    assert (text.returncode, text.stderr) == (0, "")
    assert f"good     link: {relay.url}: {relay.id.hex()[:8]} relays" in text.stdout
    from_variable = peer_relay("doctor", PEER_RELAY_BOOTSTRAP=relay.url or "")
    assert f"good     link: {relay.url}" in from_variable.stdout


@pytest.mark.slow
def test_each_layer_that_fails_says_what_helps(runtime_folder: Path, relay: Peer, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Peer(port=0, host="127.0.0.1", wrtc=False, tls_cert=cert, tls_key=key) as secured,
        Peer(port=0, host="127.0.0.1", wrtc=False, allow_links=lambda _peer_id: False) as strict,
    ):
        cases = (
            (f"ws://127.0.0.1:{free_port()}", "TCP over IPv4", "Connection refused", "start the relay"),
            (f"ws://127.0.0.1:{silent.getsockname()[1]}", "HTTP", "timed out", "is the port right?"),
            ("ws://no.such.name.invalid", "names", "no.such.name.invalid: ", "is the name right?"),
            (secured.url or "", "TLS", "certificate refused: ", "SSL_CERT_FILE"),
            (strict.url or "", "link", "is not admitted: see allow_links", "ask its operator"),
            ((relay.url or "").replace("ws://", "wss://"), "TLS", "", "is it wss:// there, or ws://?"),
        )
        for url, check, detail, cure in cases:
            began = time.monotonic()
            status, found = doctor("--bootstrap", url)
            assert status == 1, url
            assert found[check].state == "failed", found
            assert detail in found[check].detail
            assert cure in found[check].cure
            assert all(each.cure for each in found.values() if each.state != "good")
            assert time.monotonic() - began < 15  # some 5, on a machine that does nothing else
        status, found = doctor("--bootstrap", secured.url or "", SSL_CERT_FILE=str(cert))
        assert (status, found["link"].state) == (0, "good")
        assert "days left" in found["TLS"].detail


@pytest.mark.slow
def test_with_nothing_set_the_programs_of_this_user_are_found(runtime_folder: Path, start: Start) -> None:
    start(
        ECHO.replace("bootstrap=sys.argv[1], ", "").replace("assert sock.peer.wait_connected(20)", "sock.peer.start()")
    )
    until(lambda: peer_relay("doctor").returncode == 0)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="needs lab: a network of its own")
@pytest.mark.parametrize("command", [["doctor"], ["ping", "100.64.1.1"]], ids=["doctor", "ping"])
def test_where_nothing_is_set_and_nothing_runs_what_helps_is_said(runtime_folder: Path, command: list[str]) -> None:
    alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable, "-m", "peer_relay"]
    argv = [*alone, *command]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "no other program of this user is on the network here, and no bootstrap URL is set" in done.stdout
    assert "TCP" not in done.stdout


@pytest.mark.slow
def test_a_running_process_is_looked_at_by_its_own_record(runtime_folder: Path, start: Start, relay: Peer) -> None:
    program = start(ECHO, relay.url or "")
    until(lambda: peer_relay("status", str(program.pid)).returncode == 0)
    peer_relay("ping", program.words[0], "-c", "1", "--bootstrap", relay.url or "")
    name = program.words[0][:8]
    done = peer_relay("doctor", "--from", str(program.pid))
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        f"good     link: {relay.url}: linked, as {name}",
        f"good     clock: {name}: ",
        f"names: {relay.url}: ",
    ):
        assert line in done.stdout
    assert (
        f"direct paths: {name}: 1 sessions are relayed: too little traffic so far; WebRTC is turned off here"
        in done.stdout
    )
    assert "a fresh identity" not in done.stdout
    relay.destroy()
    until(lambda: peer_relay("doctor", "--from", str(program.pid)).returncode == 1)
    assert "Connection refused" in peer_relay("doctor", "--from", str(program.pid)).stdout
    gone = peer_relay("doctor", "--from", "4194305")
    assert (gone.returncode, gone.stderr) == (2, "peer-relay doctor: --from 4194305: process 4194305 holds no peer\n")


def test_a_proxy_is_named_and_one_that_is_broken_fails(runtime_folder: Path) -> None:
    broken = f"http://127.0.0.1:{free_port()}"
    status, found = doctor("--bootstrap", "ws://relay.example", http_proxy=broken, https_proxy=broken)
    assert status == 1
    assert broken in found["proxy"].detail
    assert found["link"].state == "failed"


@pytest.mark.slow
def test_settings_that_mean_nothing_are_found(runtime_folder: Path, relay: Peer) -> None:
    status, found = doctor("--bootstrap", relay.url or "", PEER_RELAY_BOOTSRAP="ws://x")
    assert status == 0
    assert found["settings"] == Finding(
        "settings", "PEER_RELAY_BOOTSRAP", "warning", "no such variable", "did you mean PEER_RELAY_BOOTSTRAP?"
    )
    assert settings({"PEER_RELAY_RUN": "closed", "PEER_RELAY_PORT": "1", "HOME": "/"}) == []
    status, found = doctor(PEER_RELAY_PORT="http", PEER_RELAY_BOOTSTRAP=relay.url or "")
    assert status == 1
    assert "PEER_RELAY_PORT" in found["settings"].detail


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--bootstrap", "http://x"], "'http://x' is not a ws:// or wss:// URL"),
        (["--bundle", "/nonexistent/file", "--bootstrap", "ws://127.0.0.1:1"], "/nonexistent/file: No such file"),
        (["relay"], "unrecognized arguments: relay"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_status_2(
    runtime_folder: Path, called: Callable[..., tuple[int, str, str]], arguments: list[str], complaint: str
) -> None:
    status, out, error = called("doctor", *arguments)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert complaint in error


def test_a_bundle_holds_no_secret_and_no_whole_address(runtime_folder: Path, relay: Peer, tmp_path: Path) -> None:
    file = tmp_path / "bundle"
    peer_relay("doctor", "--bundle", str(file), "--bootstrap", relay.url or "", PEER_RELAY_NETWORK_KEY="a secret")
    text = file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert "a secret" not in text
    assert json.loads(text)["checks"]
    assert shortened(f"{'ab' * 20} 100.70.1.2 127.0.0.1 fd12:3456:789a::1 wss://me:pass@relay.example") == (
        "abababab 100.70.x.x 127.0.0.1 fd12:3456::x wss://relay.example"
    )


@contextmanager
def stun(shift: int = 0) -> Iterator[IceServer]:
    """A STUN server that says that it sees a port `shift` above the true one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(LIMIT)

        def answer() -> None:
            while True:
                data, (host, port) = sock.recvfrom(2048)
                if data == b"end":
                    return
                seen = struct.pack(">HHBBH", 0x0020, 8, 0, 1, port + shift ^ 0x2112)
                seen += bytes(a ^ b for a, b in zip(socket.inet_aton(host), data[4:8], strict=True))
                sock.sendto(struct.pack(">HH", 0x0101, len(seen)) + data[4:20] + seen, (host, port))

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield IceServer(f"stun:127.0.0.1:{sock.getsockname()[1]}")
        finally:
            sock.sendto(b"end", sock.getsockname())
            thread.join()


@pytest.mark.slow
def test_the_kind_of_nat_is_told_by_two_stun_servers() -> None:
    with stun() as one, stun() as same, stun(7) as other:
        assert [each.state for each in nat([one], wrtc=True)] == ["good"]
        (mapping,) = nat([one, same], wrtc=True)
        assert (mapping.state, mapping.detail) == ("good", "one mapping for all: direct paths are possible")
        (mapping,) = nat([one, other], wrtc=True)
        assert mapping.state == "warning"
        assert "symmetric" in mapping.detail
    assert "turned off" in nat([one], wrtc=False)[0].detail
    (unanswered,) = nat([IceServer(f"stun:127.0.0.1:{free_port()}")], wrtc=True)
    assert unanswered.state == "failed"
