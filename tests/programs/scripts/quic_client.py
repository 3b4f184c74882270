"""6 MB in four parallel requests (PyPI aioquic): h3|streams HOST PORT"""

import asyncio
import hashlib
import random
import ssl
import sys
from collections.abc import Awaitable, Callable

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

DOWN = {1: 3_000_000, 2: 1_000_000, 3: 1_000_000}
UP = random.Random(4).randbytes(1_000_000)


class HttpClient(QuicConnectionProtocol):
    """Just enough of an HTTP/3 client: a request per stream, its whole body as the result."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)
        self._http = H3Connection(self._quic)
        self._bodies: dict[int, bytearray] = {}
        self._done: dict[int, asyncio.Future[bytes]] = {}

    async def request(self, method: bytes, path: bytes, body: bytes = b"") -> bytes:
        stream = self._quic.get_next_available_stream_id()
        self._bodies[stream] = bytearray()
        self._done[stream] = asyncio.get_running_loop().create_future()
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", b"quic.test"), (b":path", path)]
        self._http.send_headers(stream, head, end_stream=not body)
        if body:
            self._http.send_data(stream, body, end_stream=True)
        self.transmit()
        return await self._done[stream]

    def quic_event_received(self, event: QuicEvent) -> None:
        for happened in self._http.handle_event(event):
            if isinstance(happened, DataReceived):
                self._bodies[happened.stream_id] += happened.data
                if happened.stream_ended:
                    self._done.pop(happened.stream_id).set_result(bytes(self._bodies.pop(happened.stream_id)))


async def over_streams(client: QuicConnectionProtocol, head: bytes, body: bytes = b"") -> bytes:
    reader, writer = await client.create_stream()
    writer.write(head + b"\n" + body)
    writer.write_eof()
    return await reader.read()


async def transfer(get: Callable[[int, int], Awaitable[bytes]], put: Callable[[bytes], Awaitable[bytes]]) -> None:
    *down, digest = await asyncio.gather(*[get(seed, length) for seed, length in DOWN.items()], put(UP))
    for (seed, length), data in zip(DOWN.items(), down, strict=True):
        assert data == random.Random(seed).randbytes(length), (seed, len(data))
    assert digest.decode() == hashlib.sha256(UP).hexdigest()


async def main(kind: str, host: str, port: str) -> None:
    alpn = H3_ALPN if kind == "h3" else ["bytes"]
    settings = QuicConfiguration(is_client=True, alpn_protocols=alpn, verify_mode=ssl.CERT_NONE)
    protocol = HttpClient if kind == "h3" else QuicConnectionProtocol
    async with connect(host, int(port), configuration=settings, create_protocol=protocol) as client:
        if kind == "h3":
            await transfer(
                lambda seed, length: client.request(b"GET", f"/{seed}/{length}".encode()),
                lambda body: client.request(b"POST", b"/sum", body),
            )
        else:
            await transfer(
                lambda seed, length: over_streams(client, f"{seed} {length}".encode()),
                lambda body: over_streams(client, b"SUM", body),
            )
    print(f"{kind}: {sum(DOWN.values()) + len(UP)} bytes unharmed", flush=True)


asyncio.run(main(*sys.argv[1:]))
