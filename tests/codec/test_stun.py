"""STUN binding requests and answers, as aioice (another implementation) reads and writes them."""

from __future__ import annotations

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.codec.stun import MAX_REQUEST, binding_answer


def request(attributes: bytes = b"") -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, b"transaction!")
    bare = bytes(message)
    return bare[:2] + len(attributes).to_bytes(2) + bare[4:] + attributes


SOFTWARE = b"\x80\x22\0\4test"


@pytest.mark.parametrize(("host", "attributes"), [("203.0.113.7", b""), ("2001:db8::1", SOFTWARE)])
def test_an_answer_says_where_the_request_came_from(host: str, attributes: bytes) -> None:
    asked = request(attributes)
    answer = binding_answer(asked, host, 54321)
    assert answer is not None
    assert len(answer) <= 2 * len(asked)
    read = stun.parse_message(answer)
    assert (read.message_class, read.transaction_id) == (stun.Class.RESPONSE, asked[8:20])
    assert read.attributes["XOR-MAPPED-ADDRESS"] == (host, 54321)


def test_an_answer_of_more_than_twice_the_requests_bytes_is_not_given() -> None:
    assert binding_answer(request(), "2001:db8::1", 1) is None


ASKED = request()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ASKED[:19],
        ASKED + b"\0",
        b"\1\1" + ASKED[2:],  # an answer: two that answered each other would never end
        b"\0\x11" + ASKED[2:],  # an indication
        ASKED[:4] + bytes(4) + ASKED[8:],
        ASKED[:2] + b"\0\2" + ASKED[4:] + b"\0\0",
        request(bytes(MAX_REQUEST)),
    ],
)
def test_what_is_no_binding_request_is_not_answered(data: bytes) -> None:
    assert binding_answer(data, "203.0.113.7", 1) is None


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_get_a_short_answer_or_none(data: bytes, framed: bool) -> None:
    asked = request(data[: len(data) & ~3]) if framed else data
    answer = binding_answer(asked, "203.0.113.7", 1)
    assert answer is None or len(answer) <= 2 * len(asked)
    assert framed is False or answer is not None
