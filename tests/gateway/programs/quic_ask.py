"""Asks an HTTP/3 server over a connection of its own each time: quic_ask.py HOST PORT COUNT. Prints the answers."""

import asyncio
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived
from aioquic.quic.configuration import QuicConfiguration


class Client(QuicConnectionProtocol):
    def get(self):
        self.http, self.body = H3Connection(self._quic), b""
        self.done = asyncio.get_running_loop().create_future()
        head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"quic.test"), (b":path", b"/")]
        self.http.send_headers(self._quic.get_next_available_stream_id(), head, end_stream=True)
        self.transmit()
        return self.done

    def quic_event_received(self, event):
        for happened in self.http.handle_event(event) if hasattr(self, "http") else ():
            if isinstance(happened, DataReceived):
                self.body += happened.data
                if happened.stream_ended:
                    self.done.set_result(self.body.decode())


async def ask(host, port):
    settings = QuicConfiguration(alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name="quic.test")
    async with asyncio.timeout(3), connect(host, port, configuration=settings, create_protocol=Client) as client:
        return await client.get()


async def main():
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    left = 3  # hypercorn's processes share a socket: now and then one takes what was for the other, on the kernel too
    while count:
        try:
            print(await ask(host, port))
            count -= 1
        except TimeoutError:
            left -= 1
            if not left:
                raise


asyncio.run(main())
