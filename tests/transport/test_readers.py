"""The poll set of links: it finds what is to be read until it was read, and says when to leave that to the loop."""

from __future__ import annotations

import socket

import pytest

from peer_relay_socket import limits
from peer_relay_socket.system import select as system_select
from peer_relay_socket.transport.readers import Readers, Source
from tests.patience import LIMIT

pytestmark = pytest.mark.skipif(not hasattr(system_select, "epoll"), reason="where there is no epoll, asyncio reads")


class Silent:
    def read_fast(self) -> bool:
        return True

    def read(self) -> None:
        pass


def waiting(readers: Readers, timeout: float) -> list[Source]:
    """What is to be read."""
    return [readers.sources[fd] for fd, _ in readers.poll(timeout)]


def test_readers_find_what_is_to_be_read_again_and_again_until_it_is() -> None:
    readers = Readers()
    one, two = socket.socketpair()
    three, four = socket.socketpair()
    with one, two, three, four:
        first, second = Silent(), Silent()
        readers.add(one.fileno(), first)
        readers.add(one.fileno(), second)  # it is read already
        readers.add(three.fileno(), second)
        assert waiting(readers, 0) == []
        two.send(b"x")
        assert waiting(readers, LIMIT) == [first]
        assert waiting(readers, LIMIT) == [first]
        four.send(b"x")
        assert sorted(map(id, waiting(readers, LIMIT))) == sorted(map(id, (first, second)))
        assert sorted(readers.fds()) == sorted((readers.fd, one.fileno(), three.fileno()))
        readers.remove(one.fileno())
        readers.remove(one.fileno())
        assert not readers.reads(one.fileno())
        assert readers.reads(three.fileno())
        assert waiting(readers, LIMIT) == [second]
        three.recv(1)
        assert waiting(readers, 0) == []


def test_one_read_of_something_else_does_not_end_reads_past_the_loop_and_two_do() -> None:
    readers = Readers()
    readers.fast_reads = 1000
    assert readers.missed()
    readers.fast_reads += 1
    assert not readers.missed()
    readers.fast_reads += limits.LEADER_AFTER
    assert not readers.missed()
    assert readers.fast_reads == 0 or not readers.missed()
