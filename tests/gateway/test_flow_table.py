"""The table of ways: bounded, and found by address."""

from __future__ import annotations

import random
import struct

from peer_relay_socket.bridge.outbox import Flow, Outbox
from peer_relay_socket.gateway.flow_table import FlowTable
from peer_relay_socket.limits import FLOWS_PER_DEVICE


class Sender:
    """What a flow asks of its sender; nothing is sent here."""

    came = 0
    pending = 0
    starved = False

    def sent(self, size: int) -> None:
        raise AssertionError(size)


OWN = bytes((100, 64, 0, 1))


def key(address: int, port: int, source_port: int = 7) -> bytes:
    return OWN + struct.pack("!IHH", address, source_port, port)


def flow(address: int, port: int) -> Flow:
    """A flow in which a datagram waits, as for a peer that is not found."""
    made = Flow(Outbox(), Sender(), Sender(), struct.pack("!I", address), 7, port, 4)
    made.waiting.append(b"x")
    return made


def test_flows_are_found_by_key_and_by_address() -> None:
    table = FlowTable()
    first, second, other = flow(1, 9), flow(1, 10), flow(2, 9)
    six = bytes(15) + b"\x01" + bytes(12) + b"\0\0\0\2" + b"\0\7\0\x09"
    for each, made in ((key(1, 9), first), (key(1, 10), second), (key(2, 9), other), (six, other)):
        table.add(each, made)
    assert table[key(1, 10)] is second
    assert table.leading_to(struct.pack("!I", 1)) == [first, second]
    assert table.leading_to(bytes(12) + b"\0\0\0\2") == [other]
    assert table.leading_to(struct.pack("!I", 3)) == []
    table.clear()
    assert (len(table), table.leading_to(struct.pack("!I", 1))) == (0, [])


def test_oldest_flows_go_although_datagrams_wait_in_them() -> None:
    dice, table = random.Random(5), FlowTable()
    keys = [key(dice.randrange(300), dice.randrange(65_536), number & 0xFFFF) for number in range(FLOWS_PER_DEVICE)]
    for each in keys:
        table.add(each, flow(0, 0))
    for number in range(1000):
        table.add(key(1000, number), flow(0, 0))
    assert list(table)[:-1000] == keys[1000:]
    found = [each for address in (*range(300), 1000) for each in table.leading_to(struct.pack("!I", address))]
    assert sorted(map(id, found)) == sorted(map(id, table.values()))
