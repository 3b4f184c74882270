"""What the conformance product prints of sockets that are as the kernel's, and of some that are not."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from peer_relay_socket.conformance import __main__ as conformance
from peer_relay_socket.conformance.cases import CASES
from peer_relay_socket.conformance.cases6 import SIX
from peer_relay_socket.surface.udp_socket import Socket

FOUR = dict.fromkeys(("a", "b", "c", "gone"), int(socket.AF_INET))


class Chatty:
    """Says of a datagram that one byte less was sent, and waits where the kernel does not."""

    def __init__(self, *args: Any) -> None:
        self._sock = socket.socket(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendto(self, *args: Any) -> int:
        return self._sock.sendto(*args) - 1

    def shutdown(self, how: int) -> None:
        self._sock.setblocking(True)


def test_a_difference_is_told_with_the_call_and_both_outcomes() -> None:
    (told,) = conformance.differences(Chatty, CASES["boundaries"], FOUR)
    assert told == "a.sendto(b'\\x00\\x00\\x00', @b): kernel ('returns', 3), here ('returns', 2)"


def test_a_call_that_does_not_return_is_a_difference() -> None:
    (told,) = conformance._within(0.2, Chatty, CASES["shutdown reading"], FOUR)
    assert told.startswith("a call that returns on the kernel's socket")


@pytest.mark.parametrize("kind", [socket.socket, Socket])
def test_sockets_that_do_the_same_differ_in_nothing(kind: type) -> None:
    assert conformance.differences(kind, CASES["refused on recvmsg"], FOUR) == []


def test_what_is_no_factory_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        conformance.main(["socket:no_such_thing"])
    assert ended.value.code == 2
    assert "socket:no_such_thing" in capsys.readouterr().err


def test_what_makes_no_sockets_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        conformance.main(["os:getpid"])
    assert ended.value.code == 2
    assert "os:getpid makes no sockets: TypeError" in capsys.readouterr().err


def test_what_fails_between_calls_is_told_as_what_it_is() -> None:
    def only_ipv4(family: int, kind: int) -> socket.socket:
        if family != socket.AF_INET:
            raise OSError("no such family")
        return socket.socket(family, kind)

    (told,) = conformance._within(5.0, only_ipv4, SIX["names"], {"a": int(socket.AF_INET6)})
    assert told == "between calls: OSError: no such family"


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["socket:socket", "peer_relay:socket"])
def test_every_case_is_as_the_kernels(factory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert conformance.main([factory]) == 0
    assert "0 otherwise" in capsys.readouterr().out
