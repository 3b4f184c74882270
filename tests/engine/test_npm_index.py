"""Npm peers by how their ids begin: as many steps however many there are."""

from __future__ import annotations

from random import Random

from peer_relay_socket.address import Prefix
from peer_relay_socket.engine.npm.id_index import IdIndex, IndexedTable


def test_an_index_finds_what_a_walk_through_all_tables_finds() -> None:
    dice = Random(1)
    index = IdIndex()
    tables: list[IndexedTable[int]] = [IndexedTable(index) for _ in range(3)]
    ids = [dice.randbytes(20) for _ in range(200)]
    for step in range(3_000):
        table, peer_id = dice.choice(tables), dice.choice(ids)
        if dice.random() < 0.5:
            table[peer_id] = step
        else:
            table.pop(peer_id, None)
        if step % 20 == 0:
            prefix = Prefix.of(dice.choice(ids), dice.randrange(1, 12))
            walked = sorted({each for table in tables for each in table if prefix.matches(each)})
            assert list(index.matching(prefix)) == walked
    for table in tables:
        table.clear()
    assert list(index.matching(Prefix.of(bytes(20), 0))) == []
