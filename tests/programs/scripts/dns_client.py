"""DNS questions (PyPI dnspython), asked in the three ways it knows, sync, asyncio and trio: HOST PORT

dnspython takes answers only from the address it asked.
"""

import asyncio
import socket
import sys

import dns.asyncbackend
import dns.asyncresolver
import dns.message
import dns.query
import dns.resolver
import trio

host, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
server = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)[0][4][0]
AT_ONCE = 60


def expected(number: int) -> str:
    return f"10.20.{number >> 8}.{number & 255}"


def ask_in_sequence() -> None:
    query = dns.message.make_query("n300.test", "A")
    assert dns.query.udp(query, server, port=port, timeout=5).answer[0][0].address == expected(300)
    query = dns.message.make_query("wide.test", "TXT", use_edns=0, payload=8192)
    strings = sorted(text.strings[0] for text in dns.query.udp(query, server, port=port, timeout=5).answer[0])
    assert strings == [b"%02d" % number * 100 for number in range(16)]
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = [server], port, 5
    for number in range(50):
        assert resolver.resolve(f"n{number}.test", "A")[0].address == expected(number)
    seen_as = resolver.resolve("me.test", "AAAA" if family == socket.AF_INET6 else "A")[0].address
    with socket.socket(family, socket.SOCK_DGRAM) as own:
        own.connect((server, port))
        assert own.getsockname()[0] == seen_as, (own.getsockname(), seen_as)


async def ask(number: int, backend: dns.asyncbackend.Backend) -> None:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = [server], port, 10
    answer = await resolver.resolve(f"n{number}.test", "A", backend=backend)
    assert answer[0].address == expected(number)


async def ask_at_once_asyncio() -> None:
    backend = dns.asyncbackend.get_backend("asyncio")
    await asyncio.gather(*[ask(number, backend) for number in range(AT_ONCE)])


async def ask_at_once_trio() -> None:
    backend = dns.asyncbackend.get_backend("trio")
    async with trio.open_nursery() as nursery:
        for number in range(AT_ONCE):
            nursery.start_soon(ask, number, backend)


for step, run in (
    ("sync", ask_in_sequence),
    ("asyncio", lambda: asyncio.run(ask_at_once_asyncio())),
    ("trio", lambda: trio.run(ask_at_once_trio)),
):
    run()
    print(f"{step} answered", flush=True)
print("done", flush=True)
