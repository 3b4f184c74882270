"""Which relays a domain names, and what is said of one that names none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.asyncresolver
import pytest

from peer_relay_socket import limits
from peer_relay_socket.transport import lookup as module
from peer_relay_socket.transport.link import LinkError
from peer_relay_socket.transport.lookup import lookup
from tests.transport.name_server import NameServer

ID, OTHER = "ab" * 20, "cd" * 20
ZONE = """
@ 60 IN SOA ns. root. 1 2 3 4 60
@ 60 IN NS ns.
"""


@asynccontextmanager
async def asking(zone: str | None) -> AsyncIterator[tuple[dns.asyncresolver.Resolver, NameServer]]:
    """A resolver that asks a server for `zone` at example.org."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(zone and ZONE + zone), ("127.0.0.1", 0)
    )
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = server.port
    try:
        yield resolver, server
    finally:
        transport.close()


async def found(zone: str | None) -> list[str]:
    async with asking(zone) as (resolver, _):
        return await lookup("dns:example.org", resolver)


async def test_srv_records_are_plain_and_tls_relays_by_priority() -> None:
    zone = """
_peer-relay._tcp 60 IN SRV 20 0 8080 b.example.org.
_peer-relay._tcp 60 IN SRV 10 0 80 a.example.org.
_peer-relays._tcp 60 IN SRV 15 0 443 c.example.org.
"""
    assert await found(zone) == ["ws://a.example.org:80", "wss://c.example.org:443", "ws://b.example.org:8080"]


async def test_srv_records_of_one_priority_come_first_as_often_as_their_weights_say() -> None:
    zone = """
_peer-relay._tcp 60 IN SRV 1 9 80 heavy.example.org.
_peer-relay._tcp 60 IN SRV 1 1 80 light.example.org.
_peer-relay._tcp 60 IN SRV 1 0 80 last.example.org.
"""
    async with asking(zone) as (resolver, _):
        firsts = [(await lookup("dns:example.org", resolver))[0] for _ in range(30)]
    assert firsts.count("ws://heavy.example.org:80") > 18


async def test_txt_records_name_urls_and_pin_ids_among_whatever_else_stands_there() -> None:
    zone = f"""
_peer-relay._tcp 60 IN SRV 1 0 80 a.example.org.
_peer-relay._tcp 60 IN TXT "peer-relay=ws://a.example.org:80#{ID}"
@ 60 IN TXT "v=spf1 -all"
@ 60 IN TXT "peer-relay=wss://r.example.org/relay" "#{OTHER}"
@ 60 IN TXT "peer-relay=http://r.example.org"
@ 60 IN TXT "peer-relay=ws://r.example.org#nonsense"
@ 60 IN TXT "peer-relay=dns:example.org"
"""
    assert await found(zone) == [f"ws://a.example.org:80#{ID}", f"wss://r.example.org/relay#{OTHER}"]


async def test_a_domain_names_no_more_than_its_limit() -> None:
    lines = [f'@ 60 IN TXT "peer-relay=ws://r{i}"' for i in range(2 * limits.LOOKUP_URLS)]
    assert len(await found("\n".join(lines))) == limits.LOOKUP_URLS


async def test_a_domain_that_says_there_is_no_such_service_or_nothing_names_no_relay() -> None:
    for zone in ("_peer-relay._tcp 60 IN SRV 0 0 0 .", '@ 60 IN TXT "v=spf1 -all"', "other 60 IN A 1.2.3.4"):
        with pytest.raises(LinkError, match=r"^names no relay: no SRV record at .*, no TXT record peer-relay=URL$"):
            await found(zone)


async def test_a_silent_server_ends_the_lookup_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKUP_TIME", 0.2)
    with pytest.raises(LinkError, match=r"^no name server answers within 0.2 s$"):
        await found(None)


async def test_a_machine_without_a_name_server_is_told_in_one_line() -> None:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = []
    with pytest.raises(LinkError) as told:
        await lookup("dns:example.org", resolver)
    assert "\n" not in str(told.value)
