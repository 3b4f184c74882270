"""A datagram that the thread which waits for it has read goes to its inbox the short way, or not at all."""

from __future__ import annotations

import errno
import gc
from collections.abc import Iterator

import pytest

from peer_relay_socket.address import PeerId
from peer_relay_socket.bridge.binding import WILDCARD
from peer_relay_socket.bridge.inbox import cost
from peer_relay_socket.bridge.waiting import Waiters
from peer_relay_socket.engine.fast_path import Run
from peer_relay_socket.engine.seal import OpeningKey, SealingKey
from peer_relay_socket.engine.session import Keys, Session
from tests.bridge.test_ports import FAR, World


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def lone_run(world: World, port: int) -> Run:
    """A run of datagrams from `FAR`, of which one was taken in."""
    keys = Keys(b"", b"", SealingKey(bytes(32)), OpeningKey(bytes(32)), 0.0)
    run = Run(Session(PeerId(FAR), 0.0), keys, 4, 9, port)
    assert world.ports.deliver(run.deliver(b"first"))
    return run


def test_a_lone_datagram_goes_where_others_of_its_run_went_until_that_changes(world: World) -> None:
    end = world.bound(WILDCARD, 53)
    run = lone_run(world, 53)
    for data in (b"second", b"third"):
        assert world.ports.deliver_lone(run, data)
    (_, source), *others = end.inbox.ready
    assert others == [(b"second", source), (b"third", source)]
    assert (end.inbox.came, end.inbox.waiting_size) == (3, cost([b"first", b"second", b"third"]))
    world.ports.remove(end)
    assert not world.ports.deliver_lone(run, b"x")
    another = world.bound(WILDCARD, 53)
    assert not world.ports.deliver_lone(run, b"x")
    assert world.ports.deliver(run.deliver(b"x"))
    assert world.ports.deliver_lone(run, b"y")
    assert [data for data, _ in another.inbox.ready] == [b"x", b"y"]


@pytest.mark.parametrize("more", ["polled", "stamped", "failed", "closed", "awaited", "filling", "conflict"])
def test_a_lone_datagram_is_left_to_the_common_way_where_there_is_more_to_do(world: World, more: str) -> None:
    end = world.bound(WILDCARD, 53)
    run = lone_run(world, 53)
    inbox = end.inbox
    if more == "conflict":
        run.session.address_conflict = True
    else:
        assert world.ports.deliver_lone(run, b"x")
    if more == "failed":
        inbox.fail(errno.ECONNREFUSED)
    elif more == "closed":
        inbox.close()
    elif more == "awaited":
        inbox.blocked.append(0)
    elif more == "filling":
        inbox.bound = 2 * cost([b"first", b"x"])
    elif more != "conflict":
        setattr(inbox, {"polled": "observed"}.get(more, more), True)
    before = list(inbox.ready), inbox.came
    assert not world.ports.deliver_lone(run, b"y")
    assert (list(inbox.ready), inbox.came) == before


def test_the_main_thread_does_not_wait_beside_a_lone_datagram_that_comes_as_it_begins_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = world.bound(WILDCARD, 53).inbox
    run = lone_run(world, 53)
    inbox.ready.clear()
    enter = Waiters.enter

    def late(waiters: Waiters) -> object:
        assert world.ports.deliver_lone(run, b"late")
        return enter(waiters)

    monkeypatch.setattr(Waiters, "enter", late)
    monkeypatch.setattr(Waiters, "wait", lambda *_: pytest.fail("it waits"))
    assert inbox.take(None) is None
    assert [data for data, _ in inbox.ready] == [b"late"]
    assert not inbox.waiters.bells


def test_no_thread_begins_to_wait_between_the_look_for_those_that_wait_and_the_put(world: World) -> None:
    inbox = world.bound(WILDCARD, 53).inbox
    run = lone_run(world, 53)
    assert world.ports.deliver_lone(run, b"second")
    found: list[int] = []

    def another(*_: object) -> None:
        """As a thread to which the interpreter changed while a finalizer ran."""
        if not inbox.blocked:
            found.append(len(inbox.ready))
            inbox.blocked.append(0)

    gc.callbacks.append(another)
    gc.disable()
    held = [(object(), object()) for _ in range(gc.get_threshold()[0] + 3000)]  # so that no pair is in stock
    try:
        gc.enable()
        taken_in = world.ports.deliver_lone(run, b"third")
    finally:
        gc.callbacks.remove(another)
        gc.enable()
    assert held
    assert found == [3 if taken_in else 2]
