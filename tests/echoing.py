"""A peer that answers what it is sent, with the same."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import LIMIT


@contextlib.contextmanager
def echoing(sock: Socket) -> Iterator[None]:
    """Answer on a thread of its own; `sock` is closed at the end."""

    def echo() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                data, source = sock.recvfrom(70_000)
                sock.sendto(data, source)

    sock.settimeout(None)
    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sock.close()
        thread.join(LIMIT)
    assert not thread.is_alive()
