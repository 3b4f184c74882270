"""Two links on loopback: what goes in at one end comes out at the other."""

from __future__ import annotations

import random

from links import Echo, Recorder, anywhere, run

from peer_relay_socket import limits
from peer_relay_socket.transport.websocket import dial, listen

SIZES = [0, 1, 2, 125, 126, 127, 200, 1200, 65_535, 65_536, 100_000, limits.MAX_BUNDLE - 1, limits.MAX_BUNDLE]


def test_link_echoes_bundles_of_every_size_in_order() -> None:
    async def scenario() -> None:
        server, client = Echo(), Recorder()
        listener = await listen(server, "127.0.0.1", 0)
        link = await dial(client, f"ws://127.0.0.1:{listener.port}/", timeout=5, allow=anywhere)
        assert client.links == [link]
        sent = [random.Random(size).randbytes(size) for size in SIZES]
        for bundle in sent:
            link.send(bundle)
        await client.wait(lambda: len(client.bundles) == len(sent))
        assert client.bundles == sent
        assert all(type(bundle) is bytes for bundle in client.bundles)
        link.close()
        await client.wait(lambda: bool(client.closed))
        await server.wait(lambda: bool(server.closed))
        await listener.close()

    run(scenario())
