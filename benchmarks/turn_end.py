"""The asking end of a benchmark behind a TURN server, with aioice's client: what ends.py's `ask` does.

turn_end.py SERVER_PORT ANSWERING_ADDRESS, both JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from aioice.turn import create_turn_endpoint
from ends import BURST, CONTROL_SECONDS, RETRY_SECONDS, clock


class Heard(asyncio.DatagramProtocol):
    """Keeps what comes until it is read."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: Any, addr: object) -> None:
        self.queue.put_nowait(bytes(data))


class Asking:
    """The asking end."""

    def __init__(self, transport: asyncio.DatagramTransport, heard: Heard, where: tuple[str, int]) -> None:
        self._transport = transport
        self._heard = heard
        self._where = where

    async def control(self, run: int, echo: bool) -> tuple[int, float]:
        """As ends.control."""
        deadline = clock() + CONTROL_SECONDS
        question = clock()
        asked = b"\0" + json.dumps({"run": run, "echo": echo, "question": question}).encode()
        while clock() < deadline:
            self._transport.sendto(asked, self._where)
            try:
                async with asyncio.timeout(RETRY_SECONDS):
                    while True:
                        data = await self._heard.queue.get()
                        if data[0] == 0 and (reply := json.loads(data[1:]))[3] == question:
                            return reply[1], reply[2]
            except TimeoutError:
                continue
        raise TimeoutError(f"no answer through the TURN server within {CONTROL_SECONDS:.0f} s")

    async def flood(self, run: int, size: int, seconds: float) -> dict[str, float]:
        """As ends.flood."""
        await self.control(run, False)
        payload = bytes([run]) + os.urandom(size - 1)
        sent, began = 0, clock()
        while clock() - began < seconds:
            for _ in range(BURST):
                self._transport.sendto(payload, self._where)
            sent += BURST
            await asyncio.sleep(0)
        sending = clock() - began
        received, receiving = await self.control(run, False)
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            again, receiving = await self.control(run, False)
            if again == received:
                return {"sent": sent, "sending": sending, "received": received, "receiving": receiving}
            received = again

    async def ping(self, run: int, size: int, count: int) -> dict[str, Any]:
        """As ends.ping."""
        await self.control(run, True)
        payload = bytes([run]) + os.urandom(size - 1)
        took, lost = [], 0
        for _ in range(count):
            began = clock()
            self._transport.sendto(payload, self._where)
            try:
                async with asyncio.timeout(1.0):
                    while await self._heard.queue.get() != payload:
                        pass
            except TimeoutError:
                lost += 1
                continue
            took.append(clock() - began)
        return {"seconds": took, "lost": lost}


async def main(port: int, where: tuple[str, int]) -> None:
    transport, heard = await create_turn_endpoint(Heard, server_addr=("127.0.0.1", port), username="u", password="p")
    asking = Asking(transport, heard, where)
    await asking.control(0xFF, False)  # the first datagram makes the permission and the channel
    print(json.dumps("ready"), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        print(json.dumps(await getattr(asking, command.pop("do"))(**command)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), tuple(json.loads(sys.argv[2]))))
