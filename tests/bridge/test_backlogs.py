"""Neighbours that read nothing: real links, whose other ends are not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.bridge.backlogs import Backlogs
from peer_relay_socket.bridge.runtime import Runtime
from peer_relay_socket.transport.link import Link
from tests.patience import LIMIT, until

MIB = 1024 * 1024
PIECE = bytes(60_000)


def on_the_loop(call: Callable[[], object]) -> object:
    async def made() -> object:
        return call()

    return Runtime.current().submit(made()).result(LIMIT)


@pytest.fixture
def links() -> Iterator[tuple[list[Link], list[Link]]]:
    """The links of a peer to six neighbours, and the other ends of these."""
    peers = [Peer(port=0, host="127.0.0.1", wrtc=False)]
    peers += [Peer(bootstrap=peers[0].url, wrtc=False) for _ in range(6)]
    for peer in peers:
        assert peer.wait_connected(LIMIT)
    until(lambda: len(peers[0].peers) == 6)
    here = list(peers[0]._host.driver._links.values())
    theirs = [next(iter(peer._host.driver._links.values())) for peer in peers[1:]]
    yield here, theirs
    on_the_loop(lambda: [link.resume_reading() for link in theirs])  # so that they say goodbye
    for peer in peers:
        peer.destroy()


def stop_reading(links: list[Link]) -> None:
    on_the_loop(lambda: [link.pause_reading() for link in links])


def test_all_backlogs_stay_within_the_budget_and_each_link_gets_its_share(links):
    here, theirs = links
    stop_reading(theirs)
    account = Backlogs(Runtime.current().loop, budget=12 * MIB, stalled=1000.0)

    def flood() -> tuple[int, list[int]]:
        for _ in range(250):
            for link in here:
                account.send(link, link.send, PIECE)
        return sum(link.backlog for link in here), [link.backlog for link in here]

    total, each = on_the_loop(flood)
    assert 6 * MIB < total <= 14 * MIB
    assert max(each) < 2 * min(each) + MIB
    assert not account.send(here[0], here[0].send, PIECE)


def test_a_neighbour_that_reads_gets_all_while_others_use_up_the_budget(links):
    here, theirs = links
    stop_reading(theirs[1:])
    account = Backlogs(Runtime.current().loop, budget=12 * MIB, stalled=1000.0)
    reading = next(link for link in here if link.remote_port == theirs[0]._transport.get_extra_info("sockname")[1])

    def flood() -> None:
        for _ in range(250):
            for link in here:
                if link is not reading:
                    account.send(link, link.send, PIECE)

    on_the_loop(flood)
    for _ in range(20):
        assert on_the_loop(lambda: account.send(reading, reading.send, PIECE))


@pytest.mark.slow
def test_a_link_whose_neighbour_takes_nothing_is_dropped_and_others_stay(links):
    here, theirs = links
    stop_reading(theirs[:1])
    account = Backlogs(Runtime.current().loop, stalled=1.0)

    def send() -> None:
        for link in here:
            for _ in range(3):
                account.send(link, link.send, PIECE)

    def ended_under_more() -> bool:
        on_the_loop(send)
        return not all(link._open for link in here)

    until(ended_under_more)
    ended = [link for link in here if not link._open]
    assert [link.remote_port for link in ended] == [theirs[0]._transport.get_extra_info("sockname")[1]]
