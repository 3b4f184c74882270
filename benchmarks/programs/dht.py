"""PyPI kademlia: a node that does what it reads, a line at a time, and prints the seconds: `dht.py BIND PORT`.

join HOST PORT | store TAG | read TAG
"""

import asyncio
import sys
import time

from kademlia.network import Server

ROUNDS, AT_ONCE = 10, 10
"""More at once make the kernel's own buffers drop some, and kademlia waits 5 s for each."""


def entries(tag: str) -> list[dict[str, str]]:
    return [{f"{tag}/{turn}/{n}": f"{tag} {turn} {n} " * 60 for n in range(AT_ONCE)} for turn in range(ROUNDS)]


async def main(bind: str, port: str) -> None:
    node = Server()
    await node.listen(int(port), interface=bind)
    print("READY", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        verb, *words = line.split()
        began = time.perf_counter()
        if verb == "join":
            assert await node.bootstrap([(words[0], int(words[1]))]), "nobody answered"
        elif verb == "store":
            for some in entries(words[0]):
                assert all(await asyncio.gather(*[node.set(key, value) for key, value in some.items()]))
        else:
            for some in entries(words[0]):
                assert await asyncio.gather(*map(node.get, some)) == list(some.values())
        print(time.perf_counter() - began, flush=True)


asyncio.run(main(*sys.argv[1:]))
