"""Look for plugs by broadcast (PyPI python-kasa): BROADCAST-ADDRESS PORT"""

import asyncio
import sys

from kasa import Discover


async def main() -> None:
    found = {}
    for _ in range(10):
        found = await Discover.discover(
            target=sys.argv[1], port=int(sys.argv[2]), discovery_timeout=1, discovery_packets=2
        )
        if found:
            break
    for device in found.values():
        print("found", device.alias, device.model, flush=True)
        await device.disconnect()


asyncio.run(main())
