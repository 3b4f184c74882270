"""The numbers of socket options: the table against this system's, and against macOS's and Windows's."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from peer_relay_socket.surface.option_numbers import of_linux

DARWIN = SimpleNamespace(
    SOL_SOCKET=0xFFFF,
    SO_REUSEADDR=4,
    SO_REUSEPORT=0x200,
    SO_BROADCAST=0x20,
    SO_ERROR=0x1007,
    SO_RCVBUF=0x1002,
    IPPROTO_IP=0,
    IP_TTL=4,
    IP_MULTICAST_TTL=10,
    IPPROTO_IPV6=41,
    IPV6_V6ONLY=27,
)
"""From its sys/socket.h and netinet/in.h; SO_REUSEADDR has there what is SO_ERROR's number here."""


def test_options_have_the_numbers_that_this_kernel_gives_them() -> None:
    assert all(key == number for key, number in of_linux(socket).items())
    assert len(of_linux(socket)) > 30


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ((0xFFFF, 4), (1, 2)),
        ((0xFFFF, 0x200), (1, 15)),
        ((0xFFFF, 0x1007), (1, 4)),
        ((0, 4), (0, 2)),
        ((0, 10), (0, 33)),
        ((41, 27), (41, 26)),
    ],
)
def test_options_of_another_system_are_known_by_their_names(theirs: tuple[int, int], ours: tuple[int, int]) -> None:
    assert of_linux(DARWIN)[theirs] == ours


def test_options_that_a_system_lacks_have_no_number() -> None:
    assert (0xFFFF, 0x1001) not in of_linux(DARWIN)
