"""A node of a Kademlia DHT (pip install kademlia), whose library knows nothing of the relay network.

python dht.py                       # the first node: prints its address, and serves
python dht.py ADDRESS               # four more: each joins by way of the first, and serves
python dht.py ADDRESS KEY           # joins, prints what is stored under KEY, ends
python dht.py ADDRESS KEY VALUE     # joins, stores VALUE under KEY, ends
"""

import asyncio
import sys

import peer_relay

peer_relay.patch()  # before the library makes its socket

from kademlia.network import Server  # noqa: E402

PORT = 8468


async def main(address: str = "", key: str = "", value: str = "") -> None:
    node = Server()
    await node.listen(PORT)
    while address and not await node.bootstrap([(address, PORT)]):  # noqa: ASYNC110  # the library has no event for it
        await asyncio.sleep(0.2)  # the first node's address may not be found yet
    if value:
        print("stored", await node.set(key, value), flush=True)
    elif key:
        print(await node.get(key), flush=True)
    else:
        with peer_relay.socket() as sock:
            print("node at", sock.peer.address, flush=True)
        await asyncio.Event().wait()
    node.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
