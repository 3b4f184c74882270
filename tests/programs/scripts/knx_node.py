"""KNX/IP routing over multicast (PyPI xknx): listen | send, on a local address or the machine's own"""

import asyncio
import sys

from xknx import XKNX
from xknx.dpt import DPTBinary
from xknx.io import ConnectionConfig, ConnectionType
from xknx.telegram import GroupAddress, Telegram
from xknx.telegram.apci import GroupValueRead, GroupValueResponse

GROUP = GroupAddress("1/2/3")
role, local = sys.argv[1], (sys.argv[2:] or [None])[0]
heard: asyncio.Event


def take(telegram: Telegram) -> None:
    """A telegram of the other's, or of our own."""
    wanted = GroupValueRead if role == "listen" else GroupValueResponse
    if isinstance(telegram.payload, wanted) and telegram.direction.value == "Incoming":
        heard.set()


async def main() -> None:
    global heard
    heard = asyncio.Event()
    config = ConnectionConfig(connection_type=ConnectionType.ROUTING, local_ip=local)
    async with XKNX(connection_config=config, telegram_received_cb=take) as bus:
        if role == "listen":
            print("READY", flush=True)
            await asyncio.wait_for(heard.wait(), 30)
            print("asked", flush=True)
            for _ in range(3):  # the bus has no acknowledgement
                await bus.telegrams.put(Telegram(GROUP, payload=GroupValueResponse(DPTBinary(1))))
                await asyncio.sleep(0.2)
        else:
            for _ in range(40):
                await bus.telegrams.put(Telegram(GROUP, payload=GroupValueRead()))
                try:
                    await asyncio.wait_for(heard.wait(), 0.5)
                except TimeoutError:
                    continue
                print("answered", flush=True)
                break


asyncio.run(main())
