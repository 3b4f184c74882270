"""What npm peers may take from a gateway."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec import npm as wire
from peer_relay_socket.engine.effects import Throttle
from peer_relay_socket.limits import LINK_PACKETS_RATE, NPM_TEXT_UNIT
from tests.engine.npm_world import FAR, HIGH, World


def test_a_text_counts_for_the_time_that_it_takes_to_read() -> None:
    world = World()
    engine = world.engine()
    node = world.node(engine, HIGH)
    text = "[" + "1," * 100_000 + "1]"
    engine.take_effects()
    pauses: list[Throttle] = []
    taken = 0
    while not pauses and taken < 1_000:
        engine.link_text(node.number, text, world.now)
        pauses += [effect for effect in engine.take_effects() if isinstance(effect, Throttle)]
        taken += 1
    assert taken == pytest.approx(LINK_PACKETS_RATE / (len(text) / NPM_TEXT_UNIT), abs=2)


def test_a_link_is_known_by_its_id_until_it_closes() -> None:
    world = World()
    engine = world.engine()
    first = world.node(engine, FAR, greet=False)
    links = engine._gateway.links  # type: ignore[attr-defined]
    assert not links.knows(FAR)
    first.raw(wire.id_text(FAR))
    assert links.knows(FAR)
    engine.link_closed(first.number, world.now)
    assert not links.knows(FAR)
    assert not links._greeted
