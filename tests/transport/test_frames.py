"""FrameReader against websockets' core: the same stream, cut anywhere, gives the same messages and the same verdict."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol

from peer_relay_socket.transport.frames import FrameReader, binary_frame

MAX_SIZE = 70_000  # past 65,535, so that all three length forms are met


class Outcome:
    """What a stream came to: completed frames in order, and how the core ended."""

    def __init__(self, core: Protocol) -> None:
        self.core = core
        self.messages: list[tuple[int, bool, bytes]] = []

    def give(self, data: bytes) -> None:
        self.core.receive_data(data)
        for frame in self.core.events_received():
            assert isinstance(frame, Frame)
            self.messages.append((frame.opcode, frame.fin, bytes(frame.data)))

    def verdict(self) -> tuple[object, object, object]:
        return self.core.state, self.core.close_sent, self.core.close_rcvd


def core(masked: bool) -> Protocol:
    return Protocol(SERVER if masked else CLIENT, max_size=MAX_SIZE)


def by_core(stream: bytes, masked: bool) -> Outcome:
    outcome = Outcome(core(masked))
    outcome.give(stream)
    return outcome


def by_reader(pieces: list[bytes], masked: bool) -> Outcome:
    outcome = Outcome(core(masked))
    reader = FrameReader(masked=masked, max_size=MAX_SIZE)
    for piece in pieces:
        plain, odd = reader.feed(memoryview(piece))
        assert all(type(payload) is bytes for payload in plain)
        start = 0
        for position, raw in [*odd, (len(plain), b"")]:
            if outcome.core.state is OPEN:  # as connection.py has it
                outcome.messages += [(Opcode.BINARY, True, payload) for payload in plain[start:position]]
            start = position
            outcome.give(raw)
    return outcome


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in pairwise(edges)]


def serialized(frame: Frame, masked: bool) -> bytes:
    return frame.serialize(mask=masked)


sizes = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65_535, 65_536, MAX_SIZE, MAX_SIZE + 1]))
data_frames = st.builds(
    lambda opcode, size, fin: Frame(opcode, bytes(range(256)) * (size // 256) + bytes(size % 256), fin),
    st.sampled_from([Opcode.BINARY, Opcode.BINARY, Opcode.BINARY, Opcode.TEXT, Opcode.CONT]),
    sizes,
    st.sampled_from([True, True, False]),
)
control_frames = st.builds(Frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))
close_frames = st.builds(lambda data: Frame(Opcode.CLOSE, data), st.sampled_from([b"", b"\x03\xe8bye", b"\x03"]))
streams = st.lists(st.one_of(data_frames, data_frames, control_frames, close_frames), max_size=8)


@given(frames=streams, places=st.lists(st.integers(0, 400_000), max_size=12), masked=st.booleans())
def test_reader_agrees_with_core_when_frames_are_cut_anywhere(
    frames: list[Frame], places: list[int], masked: bool
) -> None:
    stream = b"".join(serialized(frame, masked) for frame in frames)
    expected, got = by_core(stream, masked), by_reader(cut(stream, places), masked)
    assert got.messages == expected.messages
    assert got.verdict() == expected.verdict()


@example(frames=[], flips=[], tail=b"\x03~", places=[], masked=False)  # refused before its length is known
@example(frames=[], flips=[], tail=b"\x82\xfe", places=[], masked=False)
@given(
    frames=streams,
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), max_size=4),
    tail=st.binary(max_size=40),
    places=st.lists(st.integers(0, 400_000), max_size=6),
    masked=st.booleans(),
)
@example(frames=[], flips=[], tail=b"\x03\xfe", places=[], masked=True)  # wrong at once, header unfinished
def test_reader_agrees_with_core_when_bytes_are_wrong(
    frames: list[Frame], flips: list[tuple[int, int]], tail: bytes, places: list[int], masked: bool
) -> None:
    stream = bytearray(b"".join(serialized(frame, masked) for frame in frames) + tail)
    for place, bits in flips:
        if stream:
            stream[place % len(stream)] ^= bits
    expected, got = by_core(bytes(stream), masked), by_reader(cut(bytes(stream), places), masked)
    assert got.verdict() == expected.verdict()
    assert got.messages == expected.messages


@pytest.mark.parametrize("masked", [False, True])
def test_reader_gives_the_same_byte_by_byte(masked: bool) -> None:
    frames = [
        Frame(Opcode.BINARY, b""),
        Frame(Opcode.BINARY, b"a" * 126),
        Frame(Opcode.PING, b"now"),
        Frame(Opcode.BINARY, b"b" * 3, fin=False),
        Frame(Opcode.PING, b"between"),
        Frame(Opcode.CONT, b"c" * 200),
        Frame(Opcode.TEXT, "é".encode()),
        Frame(Opcode.BINARY, b"d" * 65_536),
        Frame(Opcode.CLOSE, b"\x03\xe8"),
    ]
    stream = b"".join(serialized(frame, masked) for frame in frames)
    expected = by_core(stream, masked)
    got = by_reader([stream[i : i + 1] for i in range(len(stream))], masked)
    assert len(expected.messages) == len(frames)
    assert (got.messages, got.verdict()) == (expected.messages, expected.verdict())


def with_length(size: int, form: int, announced: int, masked: bool) -> bytes:
    """A binary frame of `size` bytes that announces its length in the form of 7 bits (0), 126 or 127."""
    bit = 0x80 if masked else 0
    head = {0: bytes((bit | announced & 127,)), 126: bytes((bit | 126,)) + (announced & 65_535).to_bytes(2)}
    return b"\x82" + head.get(form, bytes((bit | 127,)) + announced.to_bytes(8)) + bytes(4 * masked) + bytes(size)


edges = st.sampled_from([0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, MAX_SIZE, MAX_SIZE + 1])
chunks = st.one_of(
    st.builds(lambda data, masked: (binary_frame(data, masked=masked), masked), edges.map(bytes), st.booleans()),
    st.builds(
        lambda size, form, off, masked: (with_length(size, form, max(0, size + off), masked), masked),
        edges,
        st.sampled_from([0, 126, 127]),
        st.sampled_from([0, 0, -1, 1]),
        st.booleans(),
    ),
    st.tuples(streams.map(lambda frames: b"".join(frame.serialize(mask=False) for frame in frames)), st.booleans()),
    st.tuples(streams.map(lambda frames: b"".join(frame.serialize(mask=True) for frame in frames)), st.booleans()),
    st.tuples(st.binary(max_size=12), st.booleans()),
)


@example(chunk=(b"\x82\x7e\0\0", False), end=0, flips=[], before=[])  # nothing, and its length not in the shortest form
@example(chunk=(b"\x82\xfe\0\0abcd", True), end=0, flips=[], before=[])
@example(chunk=(b"\x82\x7f" + bytes(127), False), end=0, flips=[], before=[])  # 127 is no length
@example(chunk=(b"\x82\xffabcd" + bytes(127), True), end=0, flips=[], before=[])
@example(chunk=(b"\x82\x02abcdef", True), end=0, flips=[], before=[])  # not masked
@example(chunk=(b"\x82\x82ab", False), end=0, flips=[], before=[])  # masked
@given(
    chunk=chunks,
    end=st.integers(-2, 8),
    flips=st.lists(st.tuples(st.integers(0, 14), st.integers(1, 255)), max_size=2),
    before=st.lists(st.sampled_from([b"\x82\x80abcd", b"\x82\0", b"\x89\0", b"\x82\x81abcdx"]), max_size=2),
)
def test_what_comes_first_is_what_the_reader_would_give(
    chunk: tuple[bytes, bool], end: int, flips: list[tuple[int, int]], before: list[bytes]
) -> None:
    data, masked = chunk
    altered = bytearray(data[: len(data) - end] if end > 0 else data + bytes(-end))
    for place, bits in flips:
        if place < len(altered):
            altered[place] ^= bits
    data = bytes(altered)
    reader = FrameReader(masked=masked, max_size=MAX_SIZE)
    for piece in before:
        reader.feed(memoryview(piece))
    if not reader.between:
        return
    first = reader.first(data)
    assert reader.between
    twin = FrameReader(masked=masked, max_size=MAX_SIZE)
    if first is not None:
        payload, end = first
        assert twin.feed(memoryview(data[:end])) == ([payload], [])
        assert type(payload) is bytes
        assert twin.between
    else:
        plain, odd = twin.feed(memoryview(data))
        assert not plain or (odd and not odd[0][0]) or len(data) < 4 or data[1] & 127 == 127, "it was there"


@pytest.mark.parametrize("masked", [True, False])
def test_what_comes_first_is_no_larger_than_a_message_may_be(masked: bool) -> None:
    reader = FrameReader(masked=masked, max_size=300)
    frame = binary_frame(bytes(300), masked=masked)
    assert reader.first(frame + b"more") == (bytes(300), len(frame))
    assert reader.first(binary_frame(bytes(301), masked=masked)) is None


@pytest.mark.parametrize("masked", [True, False])
def test_reader_is_between_frames_only_where_a_plain_one_would_be_a_message(masked: bool) -> None:
    reader = FrameReader(masked=masked, max_size=MAX_SIZE)
    assert reader.between
    fragments = [Frame(Opcode.BINARY, b"a", False), Frame(Opcode.CONT, b"b", False), Frame(Opcode.PING, b"c")]
    stream = [serialized(frame, masked) for frame in (*fragments, Frame(Opcode.CONT, b"d"), Frame(Opcode.BINARY, b"e"))]
    seen = []
    for piece in stream:
        for byte in piece:
            reader.feed(memoryview(bytes((byte,))))
            seen.append(reader.between)
    last_two = sum(map(len, stream[-1:])) + 1
    assert seen == [False] * (len(seen) - last_two) + [True] + [False] * (last_two - 2) + [True]
    reader.feed(memoryview(b"\x83"))
    reader.feed(memoryview(bytes(4)))
    assert not reader.between, "what no frame begins with"


def test_reader_holds_no_more_than_the_largest_frame_when_a_header_announces_more() -> None:
    reader = FrameReader(masked=False, max_size=MAX_SIZE)
    header = b"\x82\x7f" + (2**62).to_bytes(8)
    plain, odd = reader.feed(memoryview(header))
    assert (plain, odd) == ([], [(0, header)])
    assert reader.feed(memoryview(bytes(1000))) == ([], [(0, bytes(1000))])


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, MAX_SIZE])
@pytest.mark.parametrize("masked", [True, False])
def test_frames_that_are_written_are_what_the_core_would_write(size: int, masked: bool) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    frame = binary_frame(memoryview(payload)[:size], masked=masked)
    assert by_core(frame, masked).messages == [(Opcode.BINARY, True, payload[:size])]
    if not masked:
        assert frame == Frame(Opcode.BINARY, payload[:size]).serialize(mask=False)


def test_masks_differ() -> None:
    assert len({binary_frame(bytes(50), masked=True) for _ in range(20)}) == 20
