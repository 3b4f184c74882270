"""Frames of datagram lanes: recorded bytes, and what is cut short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.codec import lane as wire
from peer_relay_socket.codec.lane import Sign, Step
from peer_relay_socket.codec.packet import BUNDLE_TAG

RECORDED = bytes.fromhex("c1 01020304 02 1111111111111111 2222222222222222 0000000000000033 0000000000000044")
VALUE = Sign(Step.CHALLENGE, b"\x11" * 8, b"\x22" * 8, 0x33, 0x44)
TAG = bytes(BUNDLE_TAG)


def test_a_frame_is_what_was_recorded_and_padded_to_the_size_asked_for() -> None:
    index = bytes((1, 2, 3, 4))
    assert wire.sign(index, VALUE) == RECORDED
    assert wire.read_sign(RECORDED + TAG) == VALUE
    assert len(RECORDED + TAG) == wire.SIGN_BYTES
    padded = wire.sign(index, VALUE, 1000)
    assert padded == RECORDED + bytes(1000 - BUNDLE_TAG - len(RECORDED))
    assert wire.read_sign(padded + TAG) == VALUE
    assert wire.sign(index, VALUE, 10) == RECORDED


@given(st.binary(max_size=100))
def test_whatever_comes_is_a_frame_or_none_and_no_stun_is(data: bytes) -> None:
    sign = wire.read_sign(data)
    assert (sign is None) == (len(data) < wire.SIGN_BYTES)
    assert wire.is_frame(data) == (len(data) > wire.FRONT_BYTES + BUNDLE_TAG and data[0] >= 0xC0)
