"""Counts the frames of three universes (PyPI sacn, multicast): FRAMES to wait for of each"""

import collections
import sys
import threading
from typing import Any

import sacn

wanted = int(sys.argv[1])
frames: collections.Counter[int] = collections.Counter()
enough = threading.Event()
receiver = sacn.sACNreceiver()
receiver.start()


def heard(packet: Any) -> None:
    frames[packet.universe] += 1
    if all(frames[universe] >= wanted for universe in (1, 2, 3)):
        enough.set()


for universe in (1, 2, 3):
    receiver.register_listener("universe", heard, universe=universe)
    receiver.join_multicast(universe)
print("READY", flush=True)
print("all" if enough.wait(30) else f"too few: {frames}", flush=True)
receiver.stop()
