"""A sensor that reports, and the collector of its readings.

python sensor.py collect                # prints its address; with PEER_RELAY_IDENTITY it keeps it
python sensor.py report ADDRESS NAME    # one reading a second
"""

import json
import os
import sys
import time

import peer_relay as socket

PORT, PERIOD = 5006, 1.0


def collect() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", PORT))
    print("report to", sock.peer.address, flush=True)
    last: dict[str, int] = {}
    while True:
        data, (address, _) = sock.recvfrom(1500)
        try:
            name, number, load = json.loads(data)
            lost = number - last.get(name, number - 1) - 1
        except (ValueError, TypeError):  # whoever knows the address may send anything
            continue
        last[name] = number
        print(f"{name} ({address}) reading {number}: load {load}, {max(0, lost)} lost before", flush=True)


def report(address: str, name: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    number = 0
    while True:
        number += 1
        sock.sendto(json.dumps([name, number, os.getloadavg()[0]]).encode(), (address, PORT))
        time.sleep(PERIOD)


if __name__ == "__main__":
    collect() if sys.argv[1] == "collect" else report(*sys.argv[2:4])
