"""What a fuzzer feeds: each target takes any bytes and raises only when something is wrong.

Lives here: the targets. May not live here: the fuzzer (`__main__.py` needs atheris; these do not).

Law: a target is deterministic: the same bytes give the same run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from typing import Final

from peer_relay_socket import limits
from peer_relay_socket.codec import control, lane, npm
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.broadcast import (
    broadcast_body,
    broadcast_content,
    read_broadcast_body,
    read_broadcast_content,
)
from peer_relay_socket.codec.packet import Kind, Record
from peer_relay_socket.engine.authentication import LINK_PROLOGUE, Handshake, StaticKey
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.effects import Deliver, Describe, Message, PeerUp
from peer_relay_socket.engine.npm.engine import GatewayEngine
from peer_relay_socket.errors import HandshakeError, PacketError
from peer_relay_socket.gateway import packets
from peer_relay_socket.identity import Identity
from peer_relay_socket.transport.frames import FrameReader
from tests.engine.lane_bench import LaneBench, lost, straight
from tests.sim.bench import Bench, Node

ALICE, BOB = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
_HEADS: Final = [bytes((kind, 24, 0, 0)) for kind in sorted(Kind)]


def codec(data: bytes) -> None:
    """Every reader: PacketError or a meaning that is written back as the same bytes."""
    with contextlib.suppress(PacketError):
        header = wire.read_header(data, 0)
        body = data[header.body : header.end]
        again = wire.packet(header.kind, header.to, header.sender, body, flags=header.flags, hop_limit=header.hop_limit)  # type: ignore[arg-type]
        assert again[:3] == data[:3]
        assert again[4:] == data[4 : header.end]
    with contextlib.suppress(PacketError):
        for kind, start, end in wire.read_records(data):
            assert 5 <= start <= end <= len(data)
            if kind == Record.DATAGRAMS:
                run = wire.read_datagrams(data, start, end)
                assert wire.datagrams_record(*run) == data[start - 5 : end]
    with contextlib.suppress(PacketError):
        assert control.contacts(control.read_contacts(data)) == data
    with contextlib.suppress(PacketError):
        assert control.resolved(*control.read_resolved(data))[6:] == data[6:]
    with contextlib.suppress(PacketError):
        question = control.read_resolve(data)
        assert control.read_resolve(control.resolve(*question)) == question
    with contextlib.suppress(PacketError):
        hello = control.read_hello(data)
        assert control.read_hello(control.hello(hello)) == hello
    with contextlib.suppress(PacketError):
        control.read_link_limits(data)
    with contextlib.suppress(PacketError):
        assert broadcast_body(read_broadcast_body(data)) == data
    with contextlib.suppress(PacketError):
        assert broadcast_content(read_broadcast_content(data)) == data
    with contextlib.suppress(PacketError):
        asked = control.read_dial_back(data)
        assert control.read_dial_back(control.dial_back(*asked)) == asked
    with contextlib.suppress(PacketError):
        told = control.read_dialling(data)
        assert control.read_dialling(control.dialling(*told)) == told
    nonce = control.read_proof(data)
    assert nonce is None or control.proof(nonce) == data
    with contextlib.suppress(PacketError):
        assert broadcast_body(read_broadcast_body(data)) == data
    with contextlib.suppress(PacketError):
        assert broadcast_content(read_broadcast_content(data)) == data


def handshake(data: bytes) -> None:
    """Both sides of a handshake, with and without a network key: HandshakeError, and the true message still works."""
    if not data:
        return
    psk = b"k" * 32 if data[0] & 1 else None
    stage, garbage = data[0] >> 1 & 3, data[1:]
    dice = Random(0)
    first, second = (
        Handshake(
            initiator=initiator,
            static=StaticKey(identity, dice.randbytes),
            prologue=LINK_PROLOGUE,
            psk=psk,
            entropy=dice.randbytes,
        )
        for initiator, identity in ((True, ALICE), (False, BOB))
    )
    for step in range(3):
        message = first.write(b"payload %d" % step)
        if step == stage:
            for forged in (garbage, message[: len(garbage)] + garbage, garbage + message[len(garbage) :]):
                if forged == message:
                    continue
                with contextlib.suppress(HandshakeError):
                    second.read(forged)
                    assert step == 0  # anybody can write a first message, and only that
                    return
        assert second.read(message) == b"payload %d" % step
        first, second = second, first
    assert first.complete
    assert second.complete


def engine(data: bytes) -> None:
    """A peer with a link and a session, fed by a hostile neighbour and by the authentic other end.

    data: commands: kind (1) || length (1) || that many bytes.
    """
    bench = Bench()
    relay, victim, other = bench.node("relay", serves=True), bench.node("victim"), bench.node("other")
    cable = bench.join(victim, relay)
    bench.join(other, relay)
    bench.flow()
    other.send(victim, b"hello")
    bench.advance(0.3)
    assert victim.heard() == [b"hello"]
    people = [victim.peer_id, other.peer_id, relay.peer_id, bytes(20)]
    for node in bench.nodes:
        node.effects.clear()
    sealed = 0
    offset = 0
    while offset + 2 <= len(data) and cable.alive:
        command, length = data[offset], data[offset + 1]
        rest = data[offset + 2 : offset + 2 + length]
        offset += 2 + length
        sealed += command % 8 == 5
        _perform(bench, relay, victim, other, people, command, rest)
    bench.advance(1.0)
    delivered = victim.take(Deliver)
    assert len(delivered) <= sealed * 64
    assert all(deliver.source == other.peer_id for deliver in delivered)
    assert all(message.source == other.peer_id for message in victim.take(Message))
    assert not victim.take(PeerUp)


def _perform(
    bench: Bench, relay: Node, victim: Node, other: Node, people: list[bytes], command: int, rest: bytes
) -> None:
    cable = next(iter(victim.cables.values()))
    to, sender = people[command >> 6], people[command >> 4 & 3]
    if command % 8 == 0:
        bench.inject(cable, victim, rest)
    elif command % 8 == 5:
        session = other.engine._table.get(victim.peer_id)
        if session is not None and session.keys is not None:
            body = session.keys.remote + session.keys.sealing.seal(rest)
            bench.inject(cable, victim, wire.packet(Kind.SEALED, victim.peer_id, other.peer_id, body))
    elif command % 8 == 6:
        link = relay.engine._links.by_id.get(victim.peer_id)
        if link is not None and link.sealing is not None:
            body = link.sealing.seal(rest)
            bench.inject(cable, victim, wire.packet(Kind.LINK, victim.peer_id, relay.peer_id, body))
    elif command % 8 == 7:
        bench.advance((len(rest) + 1) * 0.1)
    elif rest:
        head = _HEADS[rest[0] % len(_HEADS)] + (len(rest) - 1).to_bytes(4)
        bench.inject(cable, victim, head + to + sender + rest[1:])


def npm_codec(data: bytes) -> None:
    """Every reader of npm's wire: PacketError, or a meaning that is written back as the same meaning."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(PacketError):
        peer_id = npm.read_id(text)
        assert npm.read_id(npm.id_text(peer_id)) == peer_id
    for read in (npm.read_envelope, lambda text: npm.unpack(ALICE.peer_id, BOB.peer_id, data)):
        with contextlib.suppress(PacketError):
            envelope = read(text)
            with contextlib.suppress(PacketError):  # 1e999 is JSON that JSON has no word for
                assert npm.read_envelope(npm.envelope_text(envelope)) == envelope
            with contextlib.suppress(PacketError):
                across = npm.unpack(envelope.to, envelope.sender, npm.pack(envelope))
                assert across == envelope


def npm_engine(data: bytes) -> None:
    """A peer with two npm neighbours, of which one sends lines of any text and packets: it never raises, and whatever
    it tells either of them is npm's wire.

    data: lines; one that begins with a digit goes to that link, and to the other one otherwise; time passes with each.
    """
    dice = Random(0)
    config = EngineConfig(serves=True, urls=("ws://hub.example",), webrtc=True)
    hub = GatewayEngine(ALICE, config, random=dice, entropy=dice.randbytes, now=0.0)
    hub.start(0.0)
    now = 0.0
    for number in (1, 2):
        hub.link_opened(number, url=None, remote_host=f"8.0.0.{number}", now=now, native=False)
        hub.link_text(number, npm.id_text(bytes((number,)) * 20), now)
    for line in data.split(b"\n")[:64]:
        now += 0.1
        number = 2 if line[:1] == b"2" else 1
        hub.link_text(number, line[line[:1] in (b"1", b"2") :].decode("utf-8", "replace"), now)
        hub.handle_timer(now)
        hub.take_bundles()
        for effect in hub.take_effects():
            if isinstance(effect, Describe):
                hub.described(effect.attempt, "v=0", now)
        for _, told in hub.take_texts():
            try:
                npm.read_envelope(told)
            except PacketError:
                npm.read_id(told)


def ip_packets(data: bytes) -> None:
    """Frames as a TUN device gives them: PacketError, or a meaning; what they become stays within its bounds.

    data: frames: length (2) || that many bytes.
    """
    reassembly = packets.Reassembly()
    offset, now = 0, 0.0
    while offset + 2 <= len(data):
        length = int.from_bytes(data[offset : offset + 2])
        frame = data[offset + 2 : offset + 2 + length].ljust(packets.VIRTIO, b"\0")
        offset += 2 + length
        now += 0.5
        plain = packets.udp_key(frame)
        if plain is not None:
            assert len(plain[0]) in (12, 36)
            assert b"".join(packets.segments(frame, frame[plain[1] :])) in (frame[plain[1] :], b"")
        with contextlib.suppress(PacketError):
            packet: packets.Packet | None = packets.read_packet(frame[packets.VIRTIO :])
            if packet is not None and packet.fragment is not None:
                packet = reassembly.add(packet, now)
            if packet is None:
                continue
            packets.read_refusal(packet)
            answer = packets.tcp_reset(packet)
            if answer is not None:
                reset = packets.segment_frame(packet.destination, packet.source, answer)
                back = packets.read_packet(reset[packets.VIRTIO :])
                assert (back.source, back.destination) == (packet.destination, packet.source)
                assert packets.tcp_reset(back) is None  # or two resets would answer one another for ever
            assert len(packet.payload) <= 65_535
            packets.read_udp(packet.payload)
            packets.read_segment(packet.payload)


def frames(data: bytes) -> None:
    """A WebSocket stream in one piece, and the same cut anywhere: the reader gives the same.

    data: flags (1) || number of cuts (1) || where each is (2) || the stream.
    """
    if len(data) < 2:
        return
    count = data[1] % 7
    stream = data[2 + 2 * count :]
    cuts = sorted(int.from_bytes(data[2 + 2 * n : 4 + 2 * n]) % (len(stream) + 1) for n in range(count))
    bounds = [0, *cuts, len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(bounds) if start < end]
    whole, split = (_read_frames(each, bool(data[0] & 1)) for each in ([stream] if stream else [], pieces))
    assert whole == split


def _read_frames(pieces: list[bytes], masked: bool) -> tuple[list[bytes], bytes, list[int]]:
    """Return the messages, all that is left for the WebSocket core, and before which message its first bytes came."""
    reader = FrameReader(masked=masked, max_size=limits.MAX_BUNDLE)
    plain: list[bytes] = []
    odd: list[tuple[int, bytes]] = []
    for piece in pieces:
        more, strange = reader.feed(memoryview(piece))
        odd += [(len(plain) + before, part) for before, part in strange]
        plain += more
    return plain, b"".join(part for _, part in odd), [before for before, _ in odd[:1]]


def relay(data: bytes) -> None:
    """A relay between two peers in a session, and a hostile neighbour of it, which claims to be a relay, too: nothing
    is delivered but what its author sent, and packets between the two still arrive in the end.

    data: commands: kind (1) || length (1) || that many bytes.
    """
    bench = Bench()
    hub, beside = bench.node("hub", serves=True), bench.node("beside", serves=True)
    low, high, hostile = bench.node("low"), bench.node("high"), bench.node("hostile", serves=True)
    for node in (low, high, beside, hostile):
        bench.join(node, hub)
    bench.flow()
    low.send(high, b"hello")
    bench.advance(0.3)
    assert high.heard() == [b"hello"]
    ids = [node.peer_id for node in bench.nodes] + [bytes(20), b"\xff" * 20]
    for node in bench.nodes:
        node.effects.clear()
    for command, rest in _commands(data):
        if command % 10 < 6 and hostile.cables:
            _inject_from(bench, hostile, hub, ids, rest)
        elif command % 10 == 6:
            bench.advance((len(rest) + 1) * 0.25)
        elif command % 10 == 7:
            low.send(high, b"real")
            bench.flow()
        elif command % 10 == 8:
            hostile.restart()
            bench.join(hostile, hub)
            bench.flow()
    bench.advance(2.0)
    for node in (low, high, hub, beside):
        for deliver in node.take(Deliver):
            assert (node, deliver.source, set(deliver.datagrams)) == (high, low.peer_id, {b"real"})


def _commands(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield at most 40 commands: kind (1) || length (1) || that many bytes."""
    offset = 0
    for _ in range(40):
        if offset + 2 > len(data):
            return
        yield data[offset], data[offset + 2 : offset + 2 + data[offset + 1]]
        offset += 2 + data[offset + 1]


def _inject_from(bench: Bench, sender: Node, to: Node, ids: list[bytes], rest: bytes) -> None:
    """Have `sender` write a packet: which kind, to and from whom, flags, hop limit, one byte each, and the body."""
    if len(rest) < 5:
        return
    kind = sorted(Kind)[rest[0] % len(Kind)]
    target, origin = ids[rest[1] % 7], ids[rest[2] % 7]
    if rest[1] & 0x80:
        target = target[:3] + bytes(17)
    link = sender.engine._links.by_id.get(to.peer_id)
    body = rest[5:]
    if kind is Kind.LINK and link is not None and link.sealing is not None:
        body = link.sealing.seal(body)
    cable = next(iter(sender.cables.values()))
    bench.inject(cable, to, wire.packet(kind, target, origin, body, flags=rest[3], hop_limit=rest[4]))


def npm_beside(data: bytes) -> None:
    """A gateway with two npm neighbours and a relay, which says anything about npm's peers: it never raises, and what
    it delivers in the name of a peer with a key was sealed by that peer.

    data: commands: kind (1) || length (1) || that many bytes.
    """
    bench = Bench()
    hub, end, hostile = bench.node("hub", serves=True), bench.node("end"), bench.node("hostile", serves=True)
    hub.config.webrtc = True
    dice = Random(1)
    hub.engine = GatewayEngine(hub.identity, hub.config, random=dice, entropy=dice.randbytes, now=0.0)
    for node in (end, hostile):
        bench.join(node, hub)
    bench.flow()
    for number in (1001, 1002):
        address = f"9.0.0.{number - 1000}"
        hub.engine.link_opened(number, url=None, remote_host=address, now=bench.now, native=False)
        hub.engine.link_text(number, npm.id_text(bytes((number - 1000,)) * 20), bench.now)
    ids = [node.peer_id for node in bench.nodes] + [bytes((n,)) * 20 for n in (1, 2, 3, 4)]
    for command, rest in _commands(data):
        if command % 8 < 4:
            text = rest.decode("utf-8", "replace")
            for number, peer_id in enumerate(ids):
                text = text.replace(f"<{number}>", peer_id.hex())
            hub.engine.link_text(1001 + command % 2, text, bench.now)
        elif command % 8 == 4 and hostile.cables:
            _inject_from(bench, hostile, hub, ids, rest)
        elif command % 8 == 5:
            bench.advance((len(rest) + 1) * 0.2)
        elif rest:
            hub.engine.send(ids[rest[0] % len(ids)], 4, 9, 5, [b"out"], bench.now)
        hub.engine.take_texts()
        bench.flow()
        for describe in hub.take(Describe):
            hub.engine.described(describe.attempt, "v=0", bench.now)
    assert not [deliver for deliver in hub.take(Deliver) if deliver.source in (end.peer_id, hostile.peer_id)]


def lanes(data: bytes) -> None:
    """A relay and two peers with datagram lanes, and a path that loses, repeats, alters and makes up frames and their
    sources: only what was sent is delivered, once, and to other addresses go challenges alone.

    data: commands: kind (1) || length (1) || that many bytes.
    """
    bench = LaneBench().start()
    bench.talk()
    one, other = bench.peers
    sent = 0
    for command, rest in _commands(data):
        elsewhere = ("9.9.9.9", 53) if command & 0x80 else bench.place_of(one)
        if command % 8 < 3:
            sent += 1
            one.send(other, b"%d" % sent)
            bench.flow()
        elif command % 8 == 3:
            bench.path = lost if rest else straight
        elif command % 8 == 4:
            bench.advance((len(rest) % 16 + 1) * 0.25)
        elif command % 8 == 5 and len(rest) > 1:
            _, to, frame = bench.frames[(rest[0] << 8 | rest[1]) % len(bench.frames)]
            changed = bytes(a ^ b for a, b in zip(frame, rest[2:], strict=False))
            bench.deliver(elsewhere, to, changed + frame[len(changed) :])
            bench.flow()
        elif command % 8 > 5:
            bench.deliver(elsewhere, bench.place_of(bench.relay), rest)
            bench.flow()
    bench.advance(1.0)
    heard = other.heard()
    assert len(set(heard)) == len(heard) <= sent
    assert {int(each) for each in heard} <= set(range(1, sent + 1))
    for _, to, frame in bench.frames:
        assert to in bench.places or frame[0] == lane.SIGN


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "codec": codec,
    "handshake": handshake,
    "engine": engine,
    "npm_codec": npm_codec,
    "npm_engine": npm_engine,
    "ip_packets": ip_packets,
    "frames": frames,
    "relay": relay,
    "npm_beside": npm_beside,
    "lanes": lanes,
}
