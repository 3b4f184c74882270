"""A name server on loopback: name_server.py ADDRESS PORT ZONE answers with what a zone file holds, by UDP alone.

In a test's own process: `NameServer`. An answer that is larger than 512 bytes is cut off, as DNS has it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.zone


class NameServer(asyncio.DatagramProtocol):
    """Answers for one zone; silent without one."""

    def __init__(self, zone: str | None) -> None:
        self._zone = None if zone is None else dns.zone.from_text(zone, origin="example.org.", check_origin=False)
        self.asked: list[tuple[str, str]] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, source: Any) -> None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        self.asked.append((question.name.to_text(), dns.rdatatype.to_text(question.rdtype)))
        if self._zone is None:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        node = self._zone.get_node(question.name.relativize(self._zone.origin))
        found = None if node is None else self._zone.get_rrset(question.name, question.rdtype)
        if node is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif found is not None:
            answer.answer.append(found)
        self._transport.sendto(answer.to_wire(origin=self._zone.origin), source)


async def main(host: str, port: int, zone: str) -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: NameServer(zone), (host, port))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3].replace(";;", "\n")))
