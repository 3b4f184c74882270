"""The links of one peer, by number."""

from __future__ import annotations

from peer_relay_socket.bridge.link_table import LinkTable
from peer_relay_socket.transport.link import Link
from tests.transport.links import Recorder, pair, raw_client, serving


class Tabled(Recorder):
    """Keeps its links in a table, as a driver does."""

    def __init__(self) -> None:
        super().__init__()
        self.table = LinkTable()
        self.gone: list[int | None] = []

    def link_opened(self, link: Link) -> None:
        self.table.add(link)
        super().link_opened(link)

    def link_closed(self, link: Link, reason: str) -> None:
        self.gone.append(self.table.closed(link))
        super().link_closed(link, reason)


async def test_a_number_is_of_one_link_until_the_engine_lets_go_or_the_link_is_gone() -> None:
    server = Tabled()
    async with serving(server) as listener, raw_client(listener.port) as one, raw_client(listener.port) as two:
        await one.upgrade()
        await two.upgrade()
        assert list(server.table.by_number) == [1, 2]
        server.table.close(1, "enough")
        assert list(server.table.by_number) == [2]
        assert (await one.read_frames(1))[0].data[2:] == b"enough"
        await one.close()
        await server.wait(lambda: server.gone == [None])
        await two.close()
        await server.wait(lambda: server.gone == [None, 2])
        async with raw_client(listener.port) as three:
            await three.upgrade()
            assert server.table.numbers == {server.links[-1]: 3}
            server.links[-1].dropped = 7
            server.table.close_all()
            assert not server.table.by_number
            await three.read_frames(1)
            assert not server.table.losses()["dropped: a link took no more"]
        await server.wait(lambda: len(server.gone) == 3)
        assert server.table.losses()["dropped: a link took no more"] == 7


async def test_the_end_of_all_links_waits_for_goodbyes_no_longer_than_it_may() -> None:
    server = Tabled()
    async with serving(server) as listener, raw_client(listener.port) as silent:
        await silent.upgrade()
        await server.table.end(0.05)
        await server.wait(lambda: server.gone == [1])
        assert server.reasons == ["closed here: 1000"]


async def test_the_end_of_all_links_waits_no_longer_than_for_the_last_goodbye() -> None:
    server = Tabled()
    async with pair(server, Recorder()):
        await server.table.end(3600.0)
        assert server.gone == [1]
