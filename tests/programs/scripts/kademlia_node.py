"""One node of a DHT (PyPI kademlia): BIND PORT [--join HOST PORT] [--store TAG] [--read TAG,TAG...]

Every node that stores keeps ten values under its tag; one that reads checks all of them and exits.
"""

import argparse
import asyncio
import hashlib

from kademlia.network import Server

VALUES = 10


def value(key: str) -> str:
    return hashlib.sha512(key.encode()).hexdigest() * 6  # 768 characters


def keys(tag: str) -> list[str]:
    return [f"{tag}/{number}" for number in range(VALUES)]


async def serve(arguments: argparse.Namespace) -> None:
    node = Server()
    await node.listen(arguments.port, interface=arguments.bind)
    if arguments.join:
        host, port = arguments.join
        assert await node.bootstrap([(host, int(port))]), "the node to join through did not answer"
    if arguments.store:
        stored = await asyncio.gather(*[node.set(key, value(key)) for key in keys(arguments.store)])
        assert all(stored), stored
    if arguments.read:
        wanted = [key for tag in arguments.read.split(",") for key in keys(tag)]
        read = await asyncio.gather(*[node.get(key) for key in wanted])
        right = sum(got == value(key) for got, key in zip(read, wanted, strict=True))
        print(f"read {right} of {len(wanted)} values, {len(node.bootstrappable_neighbors())} neighbours", flush=True)
        node.stop()
        return
    print("READY", flush=True)
    await asyncio.Event().wait()


parser = argparse.ArgumentParser()
parser.add_argument("bind")
parser.add_argument("port", type=int)
parser.add_argument("--join", nargs=2)
parser.add_argument("--store")
parser.add_argument("--read")
asyncio.run(serve(parser.parse_args()))
