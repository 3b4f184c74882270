"""What a second's allowance of each kind of packet costs a full relay: seconds of one core.

A relay with 5,000 links and 16,384 sessions, in memory and without a socket, is sent by one leaf everything that the
leaf may send in a second (LINK_PACKETS_RATE packets, of which the relay takes what CONTROL_PER_LEAF allows), and by one
relay what a relay may; then by a hundred leaves at once, of which it reads TRAFFIC_TOTAL. `taken` is how many packets
it did not refuse. The goals are 0.05 for a leaf and 0.5 for all hostile links together.
"""

from __future__ import annotations

import argparse
import gc
import ipaddress
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from peer_relay_socket.codec.broadcast import Broadcast, BroadcastBody, broadcast_body, broadcast_content

sys.path.insert(0, str(Path(__file__).parent.parent))

from ends import machine

from peer_relay_socket.address import PeerId, Prefix
from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.control import Contact, Hello, SearchBody
from peer_relay_socket.codec.packet import Kind, LinkOp
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.engine.seal import OpeningKey, SealingKey
from peer_relay_socket.engine.session import Keys
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import LINK_PACKETS_RATE
from tests.sim.plain import PlainHandshake

WALL = 1_800_000_000.0
REFUSED = "dropped: too much control traffic"
GOAL_LEAF, GOAL_ALL = 0.05, 0.5


def engine(serves: bool, plain: bool) -> Engine:
    """Return a new engine."""
    config = EngineConfig(serves=serves, urls=("ws://8.8.8.8:80",) if serves else ())
    options = {"handshake": PlainHandshake} if plain else {}
    made = Engine(Identity.generate(), config, random=random.Random(1), entropy=os.urandom, now=0.0, **options)
    made._core.set_clock(WALL, 0.0)
    return made


class Relay:
    """The relay that is attacked."""

    def __init__(self, links: int, sessions: int) -> None:
        self.engine = engine(True, plain=True)
        self.now = 0.0
        self.stamp = 0
        self.hostile: list[tuple[Engine, int]] = []
        """Leaves, and the numbers of their links here."""
        self.repeated: dict[PeerId, bytes] = {}
        """The one broadcast of each that is sent again and again."""
        self.relays: list[tuple[Engine, int]] = []
        for number in range(links):
            serves = number % 100 == 0
            far = self._link(number + 1, serves)
            if serves:
                self.relays.append((far, number + 1))
            elif number >= links - 102:
                self.hostile.append((far, number + 1))
        table = self.engine._table
        for _ in range(sessions):
            session = table.session(os.urandom(20))
            index = os.urandom(4)
            keys = Keys(index, os.urandom(4), SealingKey(os.urandom(32)), OpeningKey(os.urandom(32)), 0.0)
            table.install(session, keys)
        for _ in range(8_000):
            self.engine._resolver.pin(Prefix(22, os.urandom(3) + bytes(17)), os.urandom(20))

    def _link(self, number: int, serves: bool) -> Engine:
        far = engine(serves, plain=True)
        host = f"9.{number >> 8 & 255}.{number & 255}.1"
        self.now += 0.001
        far.link_opened(1, url="ws://8.8.8.8:80", remote_host="8.8.8.8", now=self.now)
        self.engine.link_opened(number, url=None, remote_host=host, now=self.now)
        for _ in range(6):
            for _, chunks in self.engine.take_bundles():
                far.receive(1, b"".join(chunks), self.now) if far._links.all else None
            for _, chunks in far.take_bundles():
                self.engine.receive(number, b"".join(chunks), self.now)
        self.engine.take_effects()
        assert self.engine._links.all[number].up
        return far

    def cost(self, senders: list[tuple[Engine, int]], make: Make, count: int, rounds: int) -> tuple[float, int]:
        """Return seconds of one core that `count` packets of each sender take, the least of some rounds (what else the
        machine does only adds to it), and how many were not refused in that one."""
        return min(self._cost(senders, make, count) for _ in range(rounds))

    def _cost(self, senders: list[tuple[Engine, int]], make: Make, count: int) -> tuple[float, int]:
        bundles = []
        single = False
        for far, number in senders:
            link = next(iter(far._links.all.values()))
            packets = [make(self, far) for _ in range(count)]
            if packets[0][0] == Kind.LINK:
                single = True
                bundles += [(number, packet) for packet in packets]
                continue
            for at in range(0, count, 50):
                joined = b"".join(packets[at : at + 50])
                assert link.tagging is not None
                bundles.append((number, joined + link.tagging.tag(wire.covered(joined, len(joined)))))
        random.Random(2).shuffle(bundles) if len(senders) > 1 else None
        hub = self.engine
        self.now += 3.0
        hub.take_bundles()
        hub.take_effects()
        refused = hub.counters.get(REFUSED, 0)
        gc.collect()
        spent: set[int] = set()
        read = 0
        links = hub._links.all
        began = time.process_time()
        for number, bundle in bundles:
            if number not in spent:
                hub.receive(number, bundle, self.now)
                read += 1 if single else 50
                link = links[number]
                if link.traffic.packets.level < 0.0 or link.pool.level < 0.0:  # from now on it is not read
                    spent.add(number)
        hub.take_bundles()
        hub.take_effects()
        used = time.process_time() - began
        return used, read - (hub.counters.get(REFUSED, 0) - refused)


Make = Callable[[Relay, Engine], bytes]


def routed(kind: Kind, body: Callable[[], bytes], to: Callable[[Relay], PeerId] | None = None) -> Make:
    """Return a maker of packets from the sender itself."""

    def make(relay: Relay, far: Engine) -> bytes:
        return wire.packet(kind, os.urandom(20) if to is None else to(relay), far.peer_id, body())

    return make


def link_packet(operation: LinkOp, operand: Callable[[Relay], bytes]) -> Make:
    """Return a maker of LINK packets."""

    def make(relay: Relay, far: Engine) -> bytes:
        link = next(iter(far._links.all.values()))
        assert link.sealing is not None
        body = link.sealing.seal(bytes((operation,)) + operand(relay))
        return wire.packet(Kind.LINK, link.peer_id, far.peer_id, body, hop_limit=1)

    return make


def search(relay: Relay, far: Engine) -> bytes:
    """A search that is signed."""
    target = os.urandom(20)
    question = SearchBody(os.urandom(4), 160, int(WALL * 1e6) + random.getrandbits(20), far._core.identity.public_key)
    question = question._replace(signature=far._core.identity.sign(question.signed(target)))
    return wire.packet(Kind.DISCOVER, target, far.peer_id, control.search_body(question), hop_limit=8)


def broadcast(relay: Relay, far: Engine) -> bytes:
    """A broadcast that is signed."""
    identity = far._core.identity
    content = broadcast_content(Broadcast(4, 9, 9, "239.1.1.1", b"x"))
    relay.stamp += 1
    stamp = int((WALL + relay.now) * 1e6) + relay.stamp
    value = BroadcastBody(identity.public_key, stamp, bytes(12), b"", content)
    value = value._replace(signature=identity.sign(value.signed))
    return wire.packet(Kind.BROADCAST, bytes(20), far.peer_id, broadcast_body(value), hop_limit=2)


def heard_before(relay: Relay, far: Engine) -> bytes:
    """One broadcast again and again."""
    packet = relay.repeated.get(far.peer_id)
    if packet is None:
        packet = relay.repeated[far.peer_id] = broadcast(relay, far)
    return packet


def contacts(near: bool) -> Callable[[Relay], bytes]:
    """Return a maker of sixteen contacts."""

    def make(relay: Relay) -> bytes:
        front = relay.engine.peer_id[:12] if near else b""
        ids = [front + os.urandom(20 - len(front)) for _ in range(16)]
        return control.contacts([Contact(each, (f"ws://{os.urandom(3).hex()}.example:80",)) for each in ids])

    return make


def hello(_relay: Relay) -> bytes:
    """On, and off again."""
    serves = random.random() < 0.5
    network = ipaddress.IPv4Network("100.64.0.0/10")
    return control.hello(Hello(serves, network, ("ws://x.example",) if serves else ()))


def ages() -> bytes:
    """The question of which peer was known first, about as many as may be."""
    return control.resolve(os.urandom(4), 22, [os.urandom(20) for _ in range(16)])


def me(relay: Relay) -> PeerId:
    """The relay itself."""
    return relay.engine.peer_id


PACKETS: dict[str, Make] = {
    "HANDSHAKE, step 1": routed(Kind.HANDSHAKE, lambda: b"\x01" + os.urandom(4) + bytes(4) + os.urandom(36), me),
    "HANDSHAKE, passed on": routed(Kind.HANDSHAKE, lambda: b"\x01" + os.urandom(44)),
    "SEALED to nobody": routed(Kind.SEALED, lambda: os.urandom(60)),
    "SEALED to a session that is none": routed(Kind.SEALED, lambda: os.urandom(60), me),
    "RESOLVE, 22 bits": routed(Kind.RESOLVE, lambda: control.resolve(os.urandom(4), 22)),
    "RESOLVE, 8 bits": routed(Kind.RESOLVE, lambda: control.resolve(os.urandom(4), 8)),
    "RESOLVE, ages of 16": routed(Kind.RESOLVE, ages),
    "RESOLVED": routed(Kind.RESOLVED, lambda: control.resolved(os.urandom(4), True, [os.urandom(20)]), me),
    "FIND": routed(Kind.FIND, lambda: os.urandom(36)),
    "FOUND": routed(Kind.FOUND, lambda: os.urandom(4) + control.contacts([]), me),
    "DISCOVER, signed": search,
    "DISCOVER, forged": routed(Kind.DISCOVER, lambda: os.urandom(109)),
    "DISCOVERED": routed(Kind.DISCOVERED, lambda: os.urandom(4) + b"\0" + os.urandom(96), me),
    "NO_ROUTE": routed(Kind.NO_ROUTE, lambda: os.urandom(20), me),
    "NO_SESSION": routed(Kind.NO_SESSION, lambda: os.urandom(4), me),
    "DENIED": routed(Kind.DENIED, lambda: os.urandom(4), me),
    "TRACE": routed(Kind.TRACE, lambda: os.urandom(4), me),
    "BROADCAST": broadcast,
    "BROADCAST, heard before": heard_before,
    "BROADCAST, of another time": routed(Kind.BROADCAST, lambda: os.urandom(120), lambda _: bytes(20)),
    "LEGACY": routed(Kind.LEGACY, lambda: os.urandom(100)),
    "unknown kind": lambda relay, far: bytes((0x7F,)) + routed(Kind.TRACE, lambda: b"", me)(relay, far)[1:],
    "LINK PING": link_packet(LinkOp.PING, lambda _: b""),
    "LINK NEIGHBOURS": link_packet(LinkOp.NEIGHBOURS, contacts(False)),
    "LINK NEIGHBOURS, ids near ours": link_packet(LinkOp.NEIGHBOURS, contacts(True)),
    "LINK DIAL_BACK": link_packet(LinkOp.DIAL_BACK, lambda _: control.dial_back(os.urandom(8), False, 80)),
    "LINK NEAR": link_packet(LinkOp.NEAR, lambda _: control.near(os.urandom(4), os.urandom(20))),
    "LINK CHECKING": link_packet(LinkOp.CHECKING, lambda _: os.urandom(8)),
    # Last, for a relay lets go of some that say they relay, and then hears nothing more that they say.
    "LINK HELLO": link_packet(LinkOp.HELLO, hello),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=5_000)
    parser.add_argument("--sessions", type=int, default=16_384)
    parser.add_argument("--hostile", type=int, default=100, help="leaves that attack at once, at most 100")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=PACKETS, default=list(PACKETS), metavar="KIND")
    chosen = parser.parse_args()
    print(f"cost, {machine()}; {chosen.links} links, {chosen.sessions} sessions", flush=True)
    relay = Relay(chosen.links, chosen.sessions)
    gc.freeze()
    print("| packet | a leaf: s, taken | a relay: s, taken | hostile leaves together: s, taken |\n|---|---|---|---|")
    over = []
    for name in chosen.kinds:
        make, count = PACKETS[name], int(LINK_PACKETS_RATE)
        leaf, taken = relay.cost(relay.hostile[:1], make, count, chosen.rounds)
        one, passed = relay.cost(relay.relays[:1], make, count, chosen.rounds)
        # Each offers more than its share of TRAFFIC_TOTAL.
        every, all_taken = relay.cost(relay.hostile[: chosen.hostile], make, min(count, 1_500), chosen.rounds)
        print(f"| {name} | {leaf:.3f}, {taken} | {one:.3f}, {passed} | {every:.3f}, {all_taken} |", flush=True)
        if leaf > GOAL_LEAF or every > GOAL_ALL:
            over.append(name)
    print("above the goals:", ", ".join(over) or "none")


if __name__ == "__main__":
    main()
