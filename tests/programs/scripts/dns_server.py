"""A DNS server (PyPI dnslib on socketserver.ThreadingMixIn and UDPServer): BIND PORT

n<N>.test A is 10.20.<N high>.<N low>; wide.test TXT is 16 strings of 200 bytes; me.test is the asker's own address.
"""

import socket
import sys
import time

from dnslib import AAAA, QTYPE, RR, TXT, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer, UDPServer


class Answers(BaseResolver):  # type: ignore[misc]  # dnslib has no types
    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        name, reply = str(request.q.qname), request.reply()
        if name == "wide.test.":
            for number in range(16):
                reply.add_answer(RR(name, QTYPE.TXT, rdata=TXT([f"{number:02}" * 100])))
        elif name == "me.test.":
            asker = handler.client_address[0]
            kind, data = (QTYPE.AAAA, AAAA(asker)) if ":" in asker else (QTYPE.A, A(asker))
            reply.add_answer(RR(name, kind, rdata=data))
        else:
            number = int(name.removeprefix("n").partition(".")[0])
            reply.add_answer(RR(name, QTYPE.A, rdata=A(f"10.20.{number >> 8}.{number & 255}")))
        return reply


class UDPServer6(UDPServer):  # type: ignore[misc]  # dnslib has no types
    address_family = socket.AF_INET6


bind, port = sys.argv[1], int(sys.argv[2])
quiet = DNSLogger("-request,-reply,-truncated,-recv,-send,-data")
server = DNSServer(Answers(), address=bind, port=port, logger=quiet, server=UDPServer6 if ":" in bind else UDPServer)
server.start_thread()
print("READY", flush=True)
while server.isAlive():
    time.sleep(1)
