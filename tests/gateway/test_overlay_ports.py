"""What gateways share: sources are forgotten when idle or too many, addresses are read or refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer_relay_socket.address import Prefix, Spelling
from peer_relay_socket.errors import ConfigError
from peer_relay_socket.gateway.overlay_ports import Sources, parse_local, parse_peer_port, parse_port
from peer_relay_socket.limits import GATEWAY_IDLE, GATEWAY_SOURCES


class Loop(asyncio.SelectorEventLoop):
    """A loop whose clock can be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead

    def advance(self, seconds: float) -> None:
        """Run everything that is due within so many seconds."""
        self.ahead += seconds
        self.run_until_complete(asyncio.sleep(0.0))
        self.run_until_complete(asyncio.sleep(0.0))


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_stalest_source_goes_when_there_are_too_many(loop: Loop) -> None:
    gone: list[int] = []
    sources: Sources[int, str] = Sources(loop, lambda key, value: gone.append(key))
    for number in range(GATEWAY_SOURCES):
        sources.add(number, "x")
    assert sources.get(0) == "x"
    sources.add(GATEWAY_SOURCES, "x")
    assert (gone, len(sources)) == ([1], GATEWAY_SOURCES)
    sources.clear()
    assert len(gone) == GATEWAY_SOURCES + 1


def test_idle_source_is_forgotten_and_one_that_talks_never(loop: Loop) -> None:
    gone: list[str] = []
    sources: Sources[str, int] = Sources(loop, lambda key, value: gone.append(key))
    sources.add("idle", 1)
    sources.add("busy", 2)
    for _ in range(10):
        loop.advance(GATEWAY_IDLE / 4)
        assert sources.get("busy") == 2
    assert gone == ["idle"]
    loop.advance(GATEWAY_IDLE + 1)
    assert gone == ["idle", "busy"]
    sources.clear()


def test_addresses_are_read() -> None:
    assert parse_local("53") == ("127.0.0.1", 53)
    assert parse_local("0.0.0.0:0") == ("0.0.0.0", 0)
    assert parse_local("[::1]:53") == ("::1", 53)
    peer = "0123456789" * 4
    parse = Spelling().parse
    assert parse_peer_port(f"{peer}:53", parse) == (bytes.fromhex(peer), 53, 4)
    assert parse_peer_port(f"{peer}.peer:53", parse) == (bytes.fromhex(peer), 53, 4)
    for text, form in (("100.64.1.2:53", 4), ("[fd00::1]:53", 6)):
        destination, port, spelled = parse_peer_port(text, parse)
        assert isinstance(destination, Prefix)
        assert (port, spelled) == (53, form)


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (parse_local, parse_port, lambda text: parse_peer_port(text, Spelling().parse)):
        with contextlib.suppress(ConfigError):
            read(text)
