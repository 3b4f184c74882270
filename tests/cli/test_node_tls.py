"""`peer-relay node --tls-cert`: wss:// links, and the files it refuses."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import LIMIT
from tests.processes import read_line


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cert_file, key_file


def test_hosts_talk_through_a_node_that_serves_wss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = certificate(tmp_path)
    command = [sys.executable, "-m", "peer_relay", "node", "--tls-cert", str(cert), "--tls-key", str(key)]
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))  # whom this machine trusts
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        try:
            url = read_line(node.stdout).split()[3]
            assert url.startswith("wss://127.0.0.1:")
            with (
                Socket(socket.AF_INET, socket.SOCK_DGRAM, bootstrap=url) as a,
                Socket(socket.AF_INET, socket.SOCK_DGRAM, bootstrap=url) as b,
            ):
                b.bind(("", 5000))
                b.settimeout(LIMIT)
                assert b.peer.wait_connected(LIMIT)
                a.sendto(b"over TLS", (b.peer.address, 5000))
                assert b.recvfrom(100)[0] == b"over TLS"
        finally:
            node.kill()


@pytest.mark.parametrize("files", ["--tls-cert absent.pem", "--tls-cert garbage.pem", "--tls-key key.pem"])
def test_files_that_are_no_certificate_and_key_are_refused_with_one_line(
    tmp_path: Path, called: Callable[..., tuple[int, str, str]], files: str
) -> None:
    (tmp_path / "garbage.pem").write_text("garbage")
    certificate(tmp_path)
    status, out, error = called("node", *files.split())
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert "pem" in error or "tls" in error
