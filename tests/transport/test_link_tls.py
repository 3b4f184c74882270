"""Links under TLS, with certificates made here."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import random
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.frames import Opcode

from peer_relay_socket import limits
from peer_relay_socket.transport.websocket import LinkError, dial
from tests.transport.links import (
    PATIENCE,
    Echo,
    RawClient,
    Recorder,
    anywhere,
    raw_client,
    raw_server,
    serving,
    upgrade_request,
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate for localhost in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + signed.public_bytes(encoding))
    return path


@pytest.fixture
def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_context(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_link_echoes_under_tls(host: str, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    server, client = Echo(), Recorder()
    async with serving(server, ssl=server_context) as listener:
        url = f"wss://{host}:{listener.port}/"
        link = await dial(client, url, timeout=PATIENCE, allow=anywhere, ssl=client_context)
        assert (link.tls, link.ours, link.url) == (True, True, url)
        sent = [random.Random(size).randbytes(size) for size in (0, 1, 126, 65_536, 100_000, limits.MAX_BUNDLE)]
        for bundle in sent * 3:
            link.send(bundle)
        await client.wait(lambda: len(client.bundles) == len(sent) * 3)
        assert client.bundles == sent * 3
        assert server.links[0].tls
        for number in range(5):
            link.send(bytes((number,)))
            await client.wait(lambda number=number: client.bundles[-1] == bytes((number,)))
        assert client.alone == server.alone == [], "only asyncio can read what is encrypted"
        link.close(1000, "done")
        await client.wait(lambda: bool(client.closed))
        await server.wait(lambda: bool(server.closed))
        assert server.reasons == ["closed by the other end: 1000 (OK) done"]
        assert client.reasons == ["closed here: 1000 done"]


pytestmark = pytest.mark.usefixtures("reading")


async def test_full_link_under_tls_loses_nothing_and_flushes_at_close(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server, client = Recorder(), Recorder()
    async with serving(server, ssl=server_context) as listener:
        url = f"wss://127.0.0.1:{listener.port}/"
        link = await dial(client, url, timeout=PATIENCE, allow=anywhere, ssl=client_context)
        await server.wait(lambda: bool(server.links))
        server.links[0].pause_reading()
        bundle = random.Random(1).randbytes(60_000)
        sent = 0
        while not link.full:
            link.send(bundle)
            sent += 1
            await asyncio.sleep(0)
            assert sent < 10_000
        assert limits.LINK_HIGH_WATER <= link.backlog <= limits.LINK_BACKLOG_MAX
        server.links[0].resume_reading()
        await client.wait(lambda: bool(client.writable))
        while not link.backlog:
            link.send(bundle)
            sent += 1
        link.close()
        await server.wait(lambda: bool(server.closed))
        await client.wait(lambda: bool(client.closed))
        assert server.bundles == [bundle] * sent
        assert link.dropped == 0


async def test_peer_that_refuses_the_protocol_under_tls_is_told_why(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server = Recorder()
    async with (
        serving(server, ssl=server_context) as listener,
        raw_client(listener.port, ssl=client_context, server_hostname="localhost") as raw,
    ):
        await raw.upgrade()
        raw.frame(Opcode.CONT, b"of nothing")
        [close] = await raw.read_frames(1)
        assert close.data[:2] == (1002).to_bytes(2)
        await raw.close()
        await server.wait(lambda: bool(server.closed))


async def test_killed_peer_under_tls_is_told_once(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server = Recorder()
    async with serving(server, ssl=server_context) as listener:
        raw = await RawClient.connect(listener.port, ssl=client_context, server_hostname="localhost")
        await raw.upgrade()
        raw.reset()
        await server.wait(lambda: bool(server.closed))
        assert len(server.reasons) == 1
        await raw.close()


async def test_certificate_nobody_vouches_for_is_refused_by_default(server_context: ssl.SSLContext) -> None:
    server, client = Recorder(), Recorder()
    async with serving(server, ssl=server_context) as listener:
        where = f"localhost:{listener.port}"
        with pytest.raises(LinkError, match=f"^{where}: certificate refused: self.signed certificate$"):
            await dial(client, f"wss://{where}/", timeout=PATIENCE, allow=anywhere)
        assert server.links == client.links == []


async def test_certificate_for_another_name_is_refused(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with serving(Recorder(), host="127.0.0.2", ssl=server_context) as listener:
        url = f"wss://127.0.0.2:{listener.port}/"
        with pytest.raises(LinkError, match="certificate refused: IP address mismatch"):
            await dial(Recorder(), url, timeout=PATIENCE, allow=anywhere, ssl=client_context)


async def test_dial_says_when_one_end_speaks_tls_and_the_other_does_not(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with serving(Recorder(), ssl=server_context) as secure, serving(Recorder()) as plain:
        with pytest.raises(LinkError, match=r"the connection ended before|not as a WebSocket"):
            await dial(Recorder(), f"ws://127.0.0.1:{secure.port}/", timeout=PATIENCE, allow=anywhere)
        with pytest.raises(OSError, match=f"^127.0.0.1:{plain.port}: .+"):
            await dial(Recorder(), f"wss://127.0.0.1:{plain.port}/", timeout=1, allow=anywhere, ssl=client_context)


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", bytes(2000)])
async def test_stalled_or_foolish_tls_handshake_is_dropped_in_time(
    start: bytes, server_context: ssl.SSLContext
) -> None:
    server = Recorder()
    async with (
        serving(server, ssl=server_context, open_timeout=0.1, half_open_max=1) as listener,
        raw_client(listener.port) as raw,
    ):
        raw.write(start)
        await raw.read_all()
        async with raw_client(listener.port) as second:  # and does not count any longer
            second.write(b"\x16\x03\x01")
            await second.read_all()
        assert server.links == server.closed == []


async def test_half_open_tls_connections_are_counted(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with serving(Recorder(), ssl=server_context, half_open_max=1) as listener:
        url = f"wss://localhost:{listener.port}/"
        async with raw_client(listener.port):
            with pytest.raises(OSError):  # noqa: PT011  # reset or ended, as the kernel likes
                await dial(Recorder(), url, timeout=PATIENCE, allow=anywhere, ssl=client_context)


async def test_closed_listener_drops_tls_handshakes(server_context: ssl.SSLContext) -> None:
    async with serving(Recorder(), ssl=server_context) as listener, raw_client(listener.port) as raw:
        raw.write(b"\x16\x03\x01\x02\x00")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await listener.close()
        async with asyncio.timeout(PATIENCE):
            await raw.read_all()


async def test_request_too_large_under_tls_is_dropped(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server = Recorder()
    async with (
        serving(server, ssl=server_context) as listener,
        raw_client(listener.port, ssl=client_context, server_hostname="localhost") as raw,
    ):
        raw.write(upgrade_request()[:-2] + b"X: y\r\n" * 10_000)
        answer = await raw.read_all()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
        assert server.links == []


async def test_dial_reports_a_server_that_ends_inside_the_tls_handshake(client_context: ssl.SSLContext) -> None:
    async def hang_up(client: RawClient) -> None:
        await client.reader.read(1)

    async with raw_server(hang_up) as port:
        with pytest.raises(OSError, match=r"^127.0.0.1:\d+: the connection ended before"):
            await dial(Recorder(), f"wss://127.0.0.1:{port}/", timeout=PATIENCE, allow=anywhere, ssl=client_context)
