"""PyPI aioquic: `quic.py serve BIND PORT` answers "N" with N bytes, `fetch HOST PORT BYTES` prints the seconds."""

import asyncio
import datetime
import ssl
import sys
import time

from aioquic.asyncio import connect
from aioquic.asyncio import serve as serve_quic
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(int(await reader.read())))
    writer.write_eof()


async def serve(bind: str, port: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    settings = QuicConfiguration(is_client=False, alpn_protocols=["bytes"])
    settings.certificate, settings.private_key = builder.sign(key, hashes.SHA256()), key
    tasks: set[asyncio.Future[None]] = set()

    def opened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(answer(reader, writer)))

    await serve_quic(bind, int(port), configuration=settings, stream_handler=opened)
    print("READY", flush=True)
    await asyncio.Event().wait()


async def fetch(host: str, port: str, size: str) -> None:
    settings = QuicConfiguration(is_client=True, alpn_protocols=["bytes"], verify_mode=ssl.CERT_NONE)
    began = time.perf_counter()
    async with connect(host, int(port), configuration=settings) as client:
        reader, writer = await client.create_stream()
        writer.write(size.encode())
        writer.write_eof()
        assert len(await reader.read()) == int(size)
        print(time.perf_counter() - began, flush=True)


asyncio.run({"serve": serve, "fetch": fetch}[sys.argv[1]](*sys.argv[2:]))
