"""The pair behind fileno(): on Unix sockets, and on UDP where a system has none."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from peer_relay_socket.bridge import readiness
from peer_relay_socket.bridge.readiness import Readiness, identity, pair


@pytest.fixture(params=["Unix", "UDP"])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, Readiness]]:
    if request.param == "UDP":
        monkeypatch.setattr(readiness, "AF_UNIX", None)
        monkeypatch.setattr(readiness, "KERNEL_DONTWAIT", 0)
        monkeypatch.setattr(readiness, "_write", readiness._write_socket)
    fd, hidden = pair()
    with socket.socket(fileno=fd) as program:
        ends = Readiness(hidden, lambda: program)
        yield program, ends
        ends.close()


def readable(sock: socket.socket, timeout: float = 0) -> bool:
    return bool(select.select([sock], [], [], timeout)[0])


def test_rings_are_readable_until_they_are_cleared(held: tuple[socket.socket, Readiness]) -> None:
    program, ends = held
    assert not readable(program)
    for _ in range(20):
        assert ends.ring()
    assert readable(program, 1)
    ends.clear(program)
    assert (ends.rung, readable(program)) == (0, False)


def test_clearing_a_bell_that_another_answered_does_not_wait(held: tuple[socket.socket, Readiness]) -> None:
    program, ends = held
    ends.ring()
    assert program.recv(1) == b"!"
    ends.clear(program)
    assert ends.rung == 0


def test_duplicates_are_one_and_others_are_not(held: tuple[socket.socket, Readiness]) -> None:
    program, _ = held
    with program.dup() as other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        assert identity(program.fileno()) == identity(other.fileno()) != identity(stranger.fileno())


def test_the_end_of_the_last_holder_is_noticed(held: tuple[socket.socket, Readiness]) -> None:
    program, ends = held
    other = program.dup()
    program.close()
    assert ends.is_open()
    other.close()
    assert not ends.is_open()
