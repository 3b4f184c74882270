"""A node behind Debian's nginx, which ends TLS, as the operator's guide configures it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer_relay_socket.limits import MAX_DATAGRAM
from peer_relay_socket.surface.udp_socket import Socket
from peer_relay_socket.transport.forwarded import Proxies
from tests.cli.test_node_tls import certificate
from tests.loopback import free_port
from tests.patience import LIMIT, until
from tests.processes import read_line
from tests.snippets import snippet
from tests.transport.links import Recorder, serving, upgrade_request

pytestmark = pytest.mark.slow
CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {cert};
        ssl_certificate_key {key};
{location}
    }}
}}
"""


def serves(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    """Tell whether `process` takes connections. Raises: AssertionError when it has ended."""
    assert process.poll() is None, log.read_text()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def nginx(folder: Path, port: int, node: int) -> Iterator[Path]:
    """Run nginx before the node on port `node`; give the certificate's file."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip("needs nginx")
    cert, key = certificate(folder)
    guides = snippet("peer_relay_socket/cli/README.md", "nginx")
    location = guides.replace("127.0.0.1:8080", f"127.0.0.1:{node}")
    assert location != guides
    text = CONFIGURATION.format(folder=folder, port=port, cert=cert, key=key, location=location)
    if os.geteuid() == 0:
        text = "user root;\n" + text  # its workers write into our folder
    (folder / "nginx.conf").write_text(text)
    with subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")]) as process:
        try:
            until(lambda: serves(process, port, folder / "error.log"))
            yield cert
        finally:
            process.terminate()
            process.wait(LIMIT)


def test_hosts_talk_through_a_node_behind_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public, private = free_port(), free_port()
    url = f"wss://127.0.0.1:{public}/relay"
    command = [sys.executable, "-m", "peer_relay", "node", "--port", str(private)]
    command += ["--public-url", url, "--trusted-proxy", "127.0.0.1"]
    with (
        nginx(tmp_path, public, private) as cert,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node,
    ):
        try:
            assert read_line(node.stdout).startswith("node ")
            monkeypatch.setenv("SSL_CERT_FILE", str(cert))  # whom this machine trusts
            with (
                Socket(socket.AF_INET, socket.SOCK_DGRAM, bootstrap=url, wrtc=False) as a,
                Socket(socket.AF_INET, socket.SOCK_DGRAM, bootstrap=url, wrtc=False) as b,
            ):
                b.bind(("", 5000))
                b.settimeout(LIMIT)
                assert b.peer.wait_connected(LIMIT)
                for size in (0, 1, 1200, MAX_DATAGRAM):
                    payload = os.urandom(size)
                    a.sendto(payload, (b.peer.id.hex(), 5000))
                    assert b.recvfrom(65535)[0] == payload
        finally:
            node.kill()


def test_what_a_client_claims_through_nginx_is_not_believed(tmp_path: Path) -> None:
    """nginx appends the address it saw to what the client claims: that one counts, where nginx is trusted."""
    public = free_port()

    async def known(trusted: str) -> str:
        handler = Recorder()
        async with serving(handler, proxies=Proxies([ipaddress.ip_network(trusted)])) as listener:
            with nginx(tmp_path, public, listener.port) as cert:
                context = ssl.create_default_context(cafile=cert)
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", public, ssl=context, local_addr=("127.0.0.2", 0), server_hostname="127.0.0.1"
                )
                writer.write(upgrade_request("X-Forwarded-For: 8.8.8.8").replace(b"GET / ", b"GET /relay "))
                await handler.wait(lambda: bool(handler.links))
                writer.close()
                return handler.links[0].remote_host

    assert asyncio.run(known("127.0.0.1")) == "127.0.0.2"
    assert asyncio.run(known("127.0.0.9")) == ""
