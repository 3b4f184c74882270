"""Sockets that nobody closed are closed by the garbage collector, on whatever thread it comes to them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from peer_relay_socket.bridge import errands
from peer_relay_socket.bridge.runtime import Runtime
from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import until

SOON = 4.0
"""Seconds: less than EXIT_TIME, for which a peer that is destroyed may wait for the loop."""


def on_the_relay_thread(call: Callable[[], object]) -> None:
    async def made() -> None:
        call()

    Runtime.current().submit(made()).result(SOON)


def on_the_thread_of_errands(call: Callable[[], object]) -> None:
    done = threading.Event()
    errands.aside(call)
    errands.aside(done.set)
    assert done.wait(SOON)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("somewhere", [on_the_relay_thread, on_the_thread_of_errands])
def test_a_socket_that_is_collected_holds_nothing_up(somewhere: Callable[[Callable[[], object]], None]) -> None:
    kept = [Socket(port=0, host="127.0.0.1", wrtc=False)]
    host = kept[0].peer._host
    somewhere(kept.clear)
    until(lambda: host.closed, SOON)
