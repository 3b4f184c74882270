"""An HTTP/3 and plain QUIC server (PyPI aioquic): BIND PORT

Over HTTP/3 (ALPN h3): GET /SEED/LENGTH returns that many bytes of that seed, POST returns its body's SHA-256.
Over plain streams (ALPN bytes): the line "SEED LENGTH" returns the same bytes, "SUM" and then data its SHA-256.
"""

import asyncio
import datetime
import hashlib
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def certificate(directory: Path) -> tuple[Path, Path]:
    """Write a fresh self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "quic.test")])
    today = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(today - day).not_valid_after(today + day)
    signed = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = (pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "certificate").write_bytes(signed.public_bytes(pem))
    (directory / "key").write_bytes(key.private_bytes(*plain))
    return directory / "certificate", directory / "key"


class Server(QuicConnectionProtocol):
    """Answers requests over HTTP/3; other connections have their streams handled by `answer_stream`."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)
        self._http: H3Connection | None = None
        self._posted: dict[int, Any] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol in H3_ALPN:
            self._http = H3Connection(self._quic)
        if self._http is None:
            super().quic_event_received(event)
            return
        for happened in self._http.handle_event(event):
            if isinstance(happened, HeadersReceived):
                self._request(happened)
            elif isinstance(happened, DataReceived):
                self._posted[happened.stream_id].update(happened.data)
                if happened.stream_ended:
                    self._respond(happened.stream_id, self._posted.pop(happened.stream_id).hexdigest().encode())

    def _request(self, request: HeadersReceived) -> None:
        headers = dict(request.headers)
        if headers[b":method"] == b"POST":
            self._posted[request.stream_id] = hashlib.sha256()
        else:
            seed, length = headers[b":path"].split(b"/")[1:]
            self._respond(request.stream_id, random.Random(int(seed)).randbytes(int(length)))

    def _respond(self, stream: int, body: bytes) -> None:
        assert self._http is not None
        self._http.send_headers(stream, [(b":status", b"200")])
        self._http.send_data(stream, body, end_stream=True)
        self.transmit()


async def answer_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    words = (await reader.readline()).split()
    if words == [b"SUM"]:
        writer.write(hashlib.sha256(await reader.read()).hexdigest().encode())
    else:
        writer.write(random.Random(int(words[0])).randbytes(int(words[1])))
    writer.write_eof()


async def main(bind: str, port: str) -> None:
    settings = QuicConfiguration(is_client=False, alpn_protocols=[*H3_ALPN, "bytes"])
    with tempfile.TemporaryDirectory() as directory:
        settings.load_cert_chain(*certificate(Path(directory)))
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(answer_stream(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await serve(bind, int(port), configuration=settings, create_protocol=Server, stream_handler=accept)
    print("READY", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
