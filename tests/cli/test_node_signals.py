"""`peer-relay node` under a service manager: what it tells it, SIGHUP, SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.cli.notify import notify
from tests.cli.test_node_admin import node
from tests.cli.test_node_tls import certificate
from tests.loopback import free_port
from tests.patience import LIMIT, until
from tests.processes import environment, line_with, read_line


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_tells_the_socket_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(LIMIT)
        name = f"@{tmp_path}/notify" if abstract else f"{tmp_path}/notify"
        manager.bind("\0" + name[1:] if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1", "STATUS=serves")
        assert manager.recv(100) == b"READY=1\nSTATUS=serves"


@pytest.mark.parametrize("name", ["", "relative", "/nonexistent/socket", "@\0", "/" + "x" * 200])
def test_notify_is_silent_where_nobody_listens(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(os, "environ", {"NOTIFY_SOCKET": name})
    notify("READY=1")


@pytest.mark.slow
def test_the_service_manager_is_told_of_the_start_and_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(LIMIT)
        manager.bind(str(tmp_path / "notify"))
        argv = [sys.executable, "-m", "peer_relay", "node"]
        told = environment(NOTIFY_SOCKET=str(tmp_path / "notify"))
        with subprocess.Popen(argv, env=told, stdout=subprocess.PIPE, text=True) as process:
            try:
                ready = manager.recv(1000).decode().split("\n")
                words = read_line(process.stdout).split()
                assert ready == ["READY=1", f"STATUS=serves {words[3]} as {words[1]}"]
                process.send_signal(signal.SIGTERM)
                assert manager.recv(1000) == b"STOPPING=1"
                assert process.wait(LIMIT) == 0
            finally:
                process.kill()


def shown_certificate(url: str) -> bytes:
    """Return the certificate with which a node serves."""
    host, _, port = url.removeprefix("wss://").rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, int(port)), timeout=LIMIT) as sock,
        context.wrap_socket(sock) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


@pytest.mark.slow
def test_sighup_has_certificate_and_lists_read_again_and_what_is_wrong_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate(tmp_path)
    denied = tmp_path / "denied"
    denied.write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    options = "--tls-cert", str(cert), "--tls-key", str(key), "--deny-links", str(denied)
    with node(*options) as served, Peer(bootstrap=served.url, wrtc=False) as peer:
        assert peer.wait_connected(LIMIT)
        old = shown_certificate(served.url)
        ends = re.search(r"^peer_relay_certificate_expiry_timestamp_seconds (\S+)", served.get("/metrics")[1], re.M)
        assert ends is not None
        assert 0 < float(ends[1]) - time.time() < 86400 + 60
        agreed = 'peer_relay_handshakes_total{of="link",result="agreed"} 1.0'
        until(lambda: agreed in served.get("/metrics")[1])  # the peer may know before the node does
        certificate(tmp_path)
        served.process.send_signal(signal.SIGHUP)
        until(lambda: shown_certificate(served.url) != old)
        assert peer.peers, "links that stand keep their certificate"
        new = shown_certificate(served.url)
        denied.write_text(peer.id.hex() + "\n")
        cert.write_text("no certificate\n")
        served.process.send_signal(signal.SIGHUP)
        assert str(cert) in line_with("stays as it was", served.process.stderr)
        assert shown_certificate(served.url) == new
        until(lambda: not peer.peers)


@pytest.mark.slow
def test_sigterm_waits_until_those_who_ask_have_heard_that_it_is_not_ready() -> None:
    with node() as served, Peer(bootstrap=served.url, wrtc=False) as peer:
        assert peer.wait_connected(LIMIT)
        heard: list[tuple[int, str, bool]] = []

        def probe() -> None:
            while not heard or heard[-1][0] == 200:
                linked = bool(peer.peers)
                heard.append((*served.get("/readyz"), linked))

        probing = threading.Thread(target=probe)
        probing.start()
        until(lambda: bool(heard))
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(LIMIT) == 0
        assert time.monotonic() - began < 5
        probing.join(LIMIT)
        assert heard[0][0] == 200
        assert heard[-1] == (503, "draining\n", True)
        until(lambda: not peer.peers)


@pytest.mark.slow
def test_sigterm_of_a_node_that_is_busy_takes_five_seconds_at_most() -> None:
    silent = f"ws://127.0.0.1:{free_port()}"
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf_url = f"ws://127.0.0.1:{deaf.getsockname()[1]}"
        with (
            node("--bootstrap", silent, "--bootstrap", deaf_url) as served,
            socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=LIMIT),
        ):
            served.get("/readyz")
            began = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(LIMIT) == 0
            assert time.monotonic() - began < 8  # five, on a machine that does nothing else
