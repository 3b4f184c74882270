"""The npm wire: vectors captured from real node processes (npm peer-relay 0.0.2), and what is refused."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.codec import npm
from peer_relay_socket.codec.npm import Answer, Datagram, Envelope
from peer_relay_socket.errors import PacketError
from peer_relay_socket.limits import (
    MAX_BODY,
    MAX_BUNDLE,
    MAX_DATAGRAM,
    NPM_DEPTH,
    NPM_FOUND,
    NPM_HOPS,
    NPM_NONCE,
    NPM_PATH,
)

NODE = bytes.fromhex("1339f4273fa88d64c1841eded45d9a9e6f5fdcd8")
SEVENS, EIGHTS, NINES = b"\x07" * 20, b"\x08" * 20, b"\x09" * 20
ID_FRAME = '{"type":"Buffer","data":[19,57,244,39,63,168,141,100,193,132,30,222,212,93,154,158,111,95,220,216]}'
HEAD = f'{{"to":"{SEVENS.hex()}","from":"{NODE.hex()}","path":["{NODE.hex()}"],'
ORIGIN = (SEVENS, NODE, (NODE,))

CAPTURED: list[tuple[str, Envelope]] = [
    (
        HEAD + f'"nonce":"177943961591129","data":{{"type":"findPeers","data":"{NODE.hex()}"}}}}',
        Envelope(*ORIGIN, "177943961591129", "findPeers", NODE),
    ),
    (
        HEAD + '"nonce":"577844193104385","data":{"type":"user","data":{"buffer":{"type":"Buffer","data":'
        f'[112,105,110,103]}},"address":"{NODE.hex()}","port":1007}}}}}}',
        Envelope(*ORIGIN, "577844193104385", "user", Datagram(1007, b"ping")),
    ),
    (
        HEAD + '"nonce":"49108230949292","data":{"type":"user","data":{"a":[1,"\\u00e9",null]}}}',
        Envelope(*ORIGIN, "49108230949292", "user", {"a": [1, "é", None]}),
    ),
    (
        HEAD + '"nonce":"628073364363263","data":{"type":"handshake-offer"}}',
        Envelope(*ORIGIN, "628073364363263", "handshake-offer", None),
    ),
    (
        HEAD + f'"nonce":"176766098062075","data":{{"type":"foundPeers","data":["{SEVENS.hex()}"]}}}}',
        Envelope(*ORIGIN, "176766098062075", "foundPeers", [SEVENS]),
    ),
    (
        HEAD + '"nonce":"537491800293933","data":{"type":"handshake-answer",'
        '"data":{"ws":"ws://localhost:35745","wrtc":false}}}',
        Envelope(*ORIGIN, "537491800293933", "handshake-answer", Answer("ws://localhost:35745", False)),
    ),
]
RELAYED = (
    '{"to":{"type":"Buffer","data":[9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9]},"from":{"type":"Buffer","data":'
    f'[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8]}},"path":["{EIGHTS.hex()}","{NODE.hex()}"],"nonce":"22",'
    '"data":{"type":"user","data":"relay"}}'
)


def text(**changes: Any) -> str:
    """Return an envelope with some of its members changed, or left out (...)."""
    whole: dict[str, Any] = {
        "to": SEVENS.hex(),
        "from": NODE.hex(),
        "path": [NODE.hex()],
        "nonce": "1",
        "data": {"type": "user", "data": "hello"},
    }
    whole |= changes
    return json.dumps({key: value for key, value in whole.items() if value is not ...})


def content(kind: Any, data: Any = ...) -> str:
    return text(data={"type": kind} if data is ... else {"type": kind, "data": data})


# --- what node sends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("captured", "envelope"), CAPTURED, ids=[envelope.kind for _, envelope in CAPTURED])
def test_captured_envelopes_are_read_and_written_as_node_writes_them(captured: str, envelope: Envelope) -> None:
    assert npm.read_envelope(captured) == envelope
    assert npm.envelope_text(envelope) == captured


def test_a_relayed_envelope_has_its_ids_as_buffers() -> None:
    assert npm.read_envelope(RELAYED) == Envelope(NINES, EIGHTS, (EIGHTS, NODE), "22", "user", "relay")


def test_the_id_frame_is_a_buffer() -> None:
    assert npm.id_text(NODE) == ID_FRAME
    assert npm.read_id(ID_FRAME) == NODE


@pytest.mark.parametrize("form", [f'"{NODE.hex()}"', f'"{NODE.hex().upper()}"', json.dumps(list(NODE))])
def test_ids_are_taken_in_every_form_that_node_takes(form: str) -> None:
    assert npm.read_id(form) == NODE


@pytest.mark.parametrize("buffer", [{"type": "Buffer", "data": [104, 105]}, [104, 105], "hi"])
def test_datagrams_are_taken_in_every_form_that_node_takes(buffer: Any) -> None:
    read = npm.read_envelope(content("user", {"buffer": buffer, "address": "whoever", "port": 9}))
    assert read.data == Datagram(9, b"hi")


@pytest.mark.parametrize(
    "data", ["TEST1", 0, False, [], {}, {"buffer": "x"}, {"buffer": [1], "address": "a", "port": "5"}, {"port": 1}]
)
def test_other_user_data_stays_what_it_is(data: Any) -> None:
    assert npm.read_envelope(content("user", data)).data == data


def test_a_path_may_repeat_a_peer() -> None:
    assert npm.read_envelope(text(path=[NODE.hex(), NODE.hex()])).path == (NODE, NODE)


# --- what is refused ---------------------------------------------------------------------------------------------

DEEP = "[" * (NPM_DEPTH + 1) + "]" * (NPM_DEPTH + 1)
REFUSED = [
    *("", "nonsense", "null", "[]", "7", '"text"', "{", "NaN", "9" * 5000),
    *(text(path=...), text(path="x"), text(path=[5]), text(path=[NODE.hex()] * (NPM_PATH + 1))),
    *(text(nonce=...), text(nonce=5), text(nonce=""), text(nonce="1" * (NPM_NONCE + 1)), text(nonce='"')),
    *(text(to=None), text(to="07"), text(to=[256] * 20), text(to=[0.5] * 20), text(to={"type": "Buffer"})),
    *(text(to="zz" * 20), text(to=" 7" * 20), text(to={"type": "Buffer", "data": "AAAA"}), text(**{"from": []})),
    *(text(data=None), text(data=[]), text(data={}), content(5), content("x" * 65)),
    *(content("user"), content("user", None), content("findPeers"), content("foundPeers"), content("signal", 1)),
    *(content("signal", {}), content("signal", {"type": "offer"}), content("signal", {"type": "x", "sdp": "x"})),
    *(content("signal", {"candidate": "x"}), content("signal", {"candidate": {"candidate": "x"}, "sdp": "x"})),
    *(content("foundPeers", ["zz"]), content("foundPeers", [NODE.hex()] * (NPM_FOUND + 1))),
    *(content("handshake-answer"), content("handshake-answer", {"ws": "http://x/"})),
    *(content("handshake-answer", {"ws": "ws://"}), content("handshake-answer", {"ws": "ws://a:99999/"})),
    *(content("handshake-answer", {"ws": 5}), content("handshake-answer", {"ws": "ws://a b/"})),
    content("user", {"buffer": {"type": "Buffer", "data": "AAAA"}, "address": "a", "port": 5}),
    content("user", {"buffer": 7, "address": "a", "port": 5}),
    content("user", {"buffer": [0] * (MAX_DATAGRAM + 1), "address": "a", "port": 5}),
    text(data={"type": "user", "data": float("nan")}),
    text().replace('"hello"', DEEP),
    " " * MAX_BUNDLE + text(),
]


@pytest.mark.parametrize("bad", REFUSED, ids=range(len(REFUSED)))
def test_what_would_end_a_node_process_or_is_no_envelope_is_refused(bad: str) -> None:
    with pytest.raises(PacketError):
        npm.read_envelope(bad)


@pytest.mark.slow
@given(st.text() | st.recursive(st.none() | st.text() | st.floats(), lambda s: st.lists(s)).map(json.dumps))
def test_nothing_else_is_raised(garbage: str) -> None:
    for read in (npm.read_id, npm.read_envelope):
        try:
            read(garbage)
        except PacketError:
            continue


@given(st.binary(max_size=200))
def test_nothing_else_is_raised_for_packets(body: bytes) -> None:
    try:
        npm.unpack(SEVENS, NODE, body)
    except PacketError:
        return


@pytest.mark.parametrize("data", [float("inf"), float("nan"), object()])
def test_what_json_has_no_word_for_is_not_written(data: object) -> None:
    with pytest.raises(PacketError):
        npm.envelope_text(Envelope(*ORIGIN, "1", "user", data))


WORST = [
    "[" * 270_000,
    '"' + "\\\\" * 100_000,
    '\\"' * 130_000,
    '["' * 135_000,
    "{" * 100 + "]" * 200_000,
    "[" + ",".join(["[]"] * 89_000) + "]]",
    "[" + ",".join(["{}", '"["'] * 38_000) + "]]",
    "[" * 31 + ",".join(["[[]]"] * 53_000) + "]" * 31 + "]",
]


@pytest.mark.parametrize("payload", WORST, ids=range(len(WORST)))
def test_no_text_costs_much_time_before_it_is_refused(payload: str) -> None:
    def cost() -> float:
        started = time.process_time()
        with pytest.raises(PacketError):
            npm.read_json(payload)
        return time.process_time() - started

    assert min(cost() for _ in range(3)) < 0.04  # a loop in Python took 0.1 s and more


_TRICKY = st.text('["{\\}]a')


@given(
    st.recursive(_TRICKY, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TRICKY, inner, max_size=2)),
    st.integers(0, NPM_DEPTH + 3),
)
def test_depth_is_what_the_value_has(value: Any, levels: int) -> None:
    def depth(part: Any) -> int:
        inside = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
        return 0 if inside is None else 1 + max(map(depth, inside), default=0)

    for _ in range(levels):
        value = [value]
    value = {"value": value, "filler": [[]] * NPM_DEPTH}  # so that the number of brackets alone never decides
    text = json.dumps(value)
    if depth(value) <= NPM_DEPTH:
        assert npm.read_json(text) == value
    else:
        with pytest.raises(PacketError, match="deep"):
            npm.read_json(text)


def test_brackets_inside_strings_are_not_depth() -> None:
    assert npm.read_envelope(content("user", "[{" * 1000)).data == "[{" * 1000


# --- datagrams, and the way across the overlay -------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
).filter(lambda value: value is not None)
IDS = st.binary(min_size=20, max_size=20)
CONTENTS = st.one_of(
    st.tuples(st.just("user"), st.builds(Datagram, st.integers(0, 65535), st.binary(max_size=300)) | JSON),
    st.tuples(st.just("findPeers"), IDS),
    st.tuples(st.just("foundPeers"), st.lists(IDS, max_size=20)),
    st.tuples(st.just("handshake-offer"), st.none()),
    st.tuples(st.just("handshake-answer"), st.builds(Answer, st.none() | st.just("wss://a:1/x"), st.booleans())),
    st.tuples(
        st.just("signal"), st.fixed_dictionaries({"type": st.sampled_from(["offer", "answer"]), "sdp": st.text()})
    ),
    st.tuples(st.just("signal"), st.fixed_dictionaries({"candidate": st.fixed_dictionaries({"candidate": st.text()})})),
)


@given(IDS, IDS, st.lists(IDS, max_size=20).map(tuple), st.integers(0, 10**15).map(str), CONTENTS)
def test_envelopes_come_back_as_they_were(
    to: bytes, sender: bytes, path: tuple[bytes, ...], nonce: str, what: tuple[str, Any]
) -> None:
    envelope = Envelope(to, sender, path, nonce, *what)
    assert npm.read_envelope(npm.envelope_text(envelope)) == envelope
    assert npm.unpack(to, sender, npm.pack(envelope)) == envelope


@pytest.mark.parametrize("size", [0, 1, 1200, MAX_DATAGRAM])
def test_a_datagram_fits_a_message_and_a_packet(size: int) -> None:
    path = (ORIGIN[1],) * NPM_HOPS
    envelope = Envelope(*ORIGIN[:2], path, "1" * NPM_NONCE, "user", Datagram(65535, b"\xff" * size))
    assert len(npm.envelope_text(envelope)) <= MAX_BUNDLE
    assert len(npm.pack(envelope)) <= MAX_BODY


def test_what_is_too_long_for_a_message_or_a_packet_is_not_made() -> None:
    with pytest.raises(PacketError):
        npm.envelope_text(Envelope(*ORIGIN, "1", "user", "x" * MAX_BUNDLE))
    with pytest.raises(PacketError):
        npm.pack(Envelope(*ORIGIN, "1", "user", "x" * MAX_BODY))
