"""A signal handler or a finaliser may send whenever it comes: also while the network starts."""

import gc
import os
import signal
import socket
import time

ticks = []
beat = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


class Finalised:
    """Sends when it is collected."""

    def __del__(self) -> None:
        beat.sendto(b"gone", ("100.88.7.202", 9))


def tick(number: int, frame: object) -> None:
    ticks.append(None)
    beat.sendto(b"beat", ("100.88.7.200", 9))
    if len(ticks) < 400:
        signal.setitimer(signal.ITIMER_REAL, 0.0005)


signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.0005)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("100.88.7.201", 9))
cycle = [Finalised()]
cycle.append(cycle)
del cycle
gc.collect()
end = time.monotonic() + 20
while len(ticks) < 100:
    assert time.monotonic() < end
    time.sleep(0.001)
os._exit(0)
