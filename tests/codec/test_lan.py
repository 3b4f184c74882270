"""Frames between peers on one link: what they say, and to whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.codec.lan import FRAME, TOKEN, LanFrame, LanKind, lan_frame, read_lan_frame
from peer_relay_socket.errors import PacketError

KEY, NONCE = b"k" * 32, b"n" * TOKEN


@given(
    st.builds(
        LanFrame,
        kind=st.sampled_from(LanKind),
        token=st.binary(min_size=TOKEN, max_size=TOKEN),
        peer_id=st.binary(min_size=20, max_size=20),
        port=st.integers(1, 65535),
        tls=st.booleans(),
    )
)
def test_a_frame_is_read_as_written_and_questions_are_as_long_as_answers(frame: LanFrame) -> None:
    data = lan_frame(KEY, NONCE, frame)
    assert len(data) == FRAME
    assert read_lan_frame(KEY, data) == frame


FRAMED = LanFrame(LanKind.QUESTION, b"t" * TOKEN, b"i" * 20, 80, False)


def test_a_frame_of_another_network_a_changed_one_and_a_port_of_zero_are_refused() -> None:
    data = lan_frame(KEY, NONCE, FRAMED)
    with pytest.raises(PacketError):
        read_lan_frame(b"x" * 32, data)
    for i in range(FRAME):
        with pytest.raises(PacketError):
            read_lan_frame(KEY, data[:i] + bytes((data[i] ^ 1,)) + data[i + 1 :])
    with pytest.raises(PacketError):
        read_lan_frame(KEY, lan_frame(KEY, NONCE, FRAMED._replace(port=0)))


def test_nothing_of_a_frame_but_its_kind_can_be_read_without_the_key() -> None:
    data = lan_frame(KEY, NONCE, FRAMED)
    assert FRAMED.peer_id not in data
    assert lan_frame(KEY, NONCE, FRAMED._replace(peer_id=b"j" * 20))[: 5 + 2 * TOKEN] == data[: 5 + 2 * TOKEN]


@given(st.binary(max_size=2 * FRAME))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    for each in (data, b"PRL1" + data):
        with pytest.raises(PacketError):
            read_lan_frame(KEY, each)
