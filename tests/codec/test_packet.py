"""The wire: one table of vectors drives writers and readers; all else raises PacketError or means something."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given
from hypothesis import strategies as st

from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.broadcast import (
    BROADCAST_DOMAIN,
    Broadcast,
    BroadcastBody,
    broadcast_body,
    broadcast_content,
    read_broadcast_body,
    read_broadcast_content,
)
from peer_relay_socket.codec.control import Contact, Hello
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind, LinkOp, Record
from peer_relay_socket.errors import PacketError
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import HOP_LIMIT, MAX_BODY, MAX_DATAGRAM, MAX_ROUND_TRIPS, MAX_URL, MAX_URLS

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "wire.json").read_text("ascii"))


def table(section: str) -> pytest.MarkDecorator:
    entries = VECTORS[section]
    return pytest.mark.parametrize("entry", entries, ids=[entry["name"] for entry in entries])


def data_of(entry: dict[str, Any]) -> bytes:
    return bytes.fromhex("".join(entry["hex"]))


# --- vectors ---------------------------------------------------------------------------------------------------


@table("packets")
def test_packet_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    fields, data = entry["fields"], data_of(entry)
    to, sender, body = (bytes.fromhex(fields[name]) for name in ("to", "sender", "body"))
    kind, flags, hop_limit = Kind(fields["kind"]), fields["flags"], fields["hop_limit"]
    assert wire.packet(kind, to, sender, body, flags=flags, hop_limit=hop_limit) == data
    for before in (b"", b"x" * 7):
        header = wire.read_header(before + data + b"after", len(before))
        assert header[:5] == (kind, hop_limit, flags, to, sender)
        assert (before + data)[header.body : header.end] == body
        assert header.end == len(before + data)


@table("datagrams")
def test_datagrams_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    fields, data = entry["fields"], data_of(entry)
    run = wire.Datagrams(
        fields["form"], fields["source_port"], fields["port"], list(map(bytes.fromhex, fields["datagrams"]))
    )
    assert wire.datagrams_record(*run) == data
    ((kind, start, end),) = wire.read_records(data)
    assert kind == Record.DATAGRAMS
    assert wire.read_datagrams(data, start, end) == run


@table("records")
def test_record_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    fields, data = entry["fields"], data_of(entry)
    content = bytes.fromhex(fields["content"])
    assert wire.record(fields["type"], content) == data
    assert [(kind, data[start:end]) for kind, start, end in wire.read_records(data)] == [(fields["type"], content)]


@table("hellos")
def test_hello_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    fields, data = entry["fields"], data_of(entry)
    udp = tuple(fields["udp"]) if "udp" in fields else None
    head = fields["serves"], ipaddress.IPv4Network(fields["ipv4_network"]), tuple(fields["urls"])
    value = Hello(
        *head, udp=udp, seen=fields.get("seen", ""), load=fields.get("load", 0), ordinary=fields.get("ordinary", 0)
    )
    assert control.hello(value) == data
    assert control.read_hello(data) == control.read_hello(data + b"later versions") == value


@table("contacts")
def test_contacts_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    value = [Contact(bytes.fromhex(each["peer_id"]), tuple(each["urls"])) for each in entry["fields"]]
    assert control.contacts(value) == data_of(entry)
    assert control.read_contacts(data_of(entry)) == value


@table("resolved")
def test_resolved_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    fields = entry["fields"]
    value = (bytes.fromhex(fields["token"]), fields["final"], list(map(bytes.fromhex, fields["ids"])))
    assert control.resolved(*value) == data_of(entry)
    assert control.read_resolved(data_of(entry)) == (*value, [], [])


@table("link_limits")
def test_link_limits_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    value = (entry["fields"]["packets"], entry["fields"]["bytes"])
    assert control.link_limits(*value) == data_of(entry)
    assert control.read_link_limits(data_of(entry)) == value


@table("dial_back")
def test_dial_back_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    fields, data = entry["fields"], data_of(entry)
    value = (bytes.fromhex(fields["nonce"]), fields["tls"], fields["port"])
    assert control.dial_back(*value) == data
    assert control.read_dial_back(data) == control.read_dial_back(data + b"later versions") == value


@table("dialling")
def test_dialling_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    value = (bytes.fromhex(entry["fields"]["nonce"]), entry["fields"]["url"])
    assert control.dialling(*value) == data_of(entry)
    assert control.read_dialling(data_of(entry)) == value


@table("proofs")
def test_proof_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    nonce, data = bytes.fromhex(entry["fields"]["nonce"]), data_of(entry)
    assert control.proof(nonce) == data
    assert control.read_proof(data) == nonce
    for other in (b"", data[:-1], data + b"x", bytes((wire.LINK_HANDSHAKE,)) + nonce):
        assert control.read_proof(other) is None


@table("contents")
def test_broadcast_content_vector_is_written_and_read(entry: dict[str, Any]) -> None:
    value = Broadcast(**{**entry["fields"], "datagram": bytes.fromhex(entry["fields"]["datagram"])})
    assert broadcast_content(value) == data_of(entry)
    assert read_broadcast_content(data_of(entry)) == value


@table("broadcasts")
def test_broadcast_vector_is_written_read_signed_and_sealed(entry: dict[str, Any]) -> None:
    fields = entry["fields"]
    texts = {name: bytes.fromhex(fields[name]) for name in ("public_key", "nonce", "signature", "content")}
    value = BroadcastBody(stamp=fields["stamp"], **texts)
    assert broadcast_body(value) == data_of(entry)
    assert read_broadcast_body(data_of(entry)) == value
    assert Identity.from_seed(bytes.fromhex(entry["seed"])).sign(value.signed) == value.signature
    content = value.content
    if entry["psk"]:
        key = hmac.digest(bytes.fromhex(entry["psk"]), BROADCAST_DOMAIN, "sha256")
        content = AESGCM(key).decrypt(value.nonce, content, value.associated)
    assert read_broadcast_content(content).datagram == b"hello"


READERS: dict[str, Callable[[bytes], object]] = {
    "packet": lambda data: wire.read_header(data, 0),
    "records": lambda data: list(wire.read_records(data)),
    "datagrams": lambda data: wire.read_datagrams(data, 0, len(data)),
    "contacts": control.read_contacts,
    "hello": control.read_hello,
    "resolved": control.read_resolved,
    "link_limits": control.read_link_limits,
    "dial_back": control.read_dial_back,
    "dialling": control.read_dialling,
    "broadcast": read_broadcast_body,
    "content": read_broadcast_content,
}


@table("malformed")
def test_malformed_vector_raises_packet_error(entry: dict[str, Any]) -> None:
    with pytest.raises(PacketError):
        READERS[entry["what"]](data_of(entry))


@pytest.mark.parametrize(
    ("numbers", "published"),
    [
        (Kind, {"LINK": 1, "HANDSHAKE": 16, "SEALED": 17, "NO_SESSION": 18, "RESOLVE": 19, "RESOLVED": 20}),
        (Kind, {"FIND": 21, "FOUND": 22, "NO_ROUTE": 23, "DISCOVER": 24, "DISCOVERED": 25}),
        (Record, {"DATAGRAMS": 1, "MESSAGE": 2, "ACK": 3, "PING": 4, "REFUSED": 5, "JOIN": 6}),
        (Record, {"SIGNAL": 7, "CONNECT": 8, "ECHO": 9, "ECHOED": 10, "ROUND_TRIPS": 11, "TRY": 12, "TRIED": 13}),
        (Record, {"SEGMENT": 14}),
        (LinkOp, {"READY": 1, "PING": 2, "PONG": 3, "GOODBYE": 4, "NEIGHBOURS": 5, "LIMITS": 6, "HELLO": 7}),
        (LinkOp, {"DIAL_BACK": 8, "DIALLING": 9, "NEAR": 10, "NEARNESS": 11, "CHECKING": 12, "CHECKED": 13}),
        (Kind, {"LEGACY": 26, "BROADCAST": 27}),
    ],
)
def test_numbers_once_published_stay(numbers: type[IntEnum], published: dict[str, int]) -> None:
    assert {name: numbers[name].value for name in published} == published


def test_no_packet_looks_like_a_link_handshake() -> None:
    assert (wire.LINK_HANDSHAKE, wire.DIALLED_BACK) == (0xF2, 0xF3)
    assert not {wire.LINK_HANDSHAKE, wire.DIALLED_BACK} & set(Kind)


# --- limits ----------------------------------------------------------------------------------------------------


def test_the_largest_body_is_read_and_one_more_is_not() -> None:
    header = wire.read_header(wire.packet(Kind.SEALED, bytes(20), bytes(20), bytes(MAX_BODY)), 0)
    assert header.end - header.body == MAX_BODY
    assert header.hop_limit == HOP_LIMIT
    with pytest.raises(PacketError):
        wire.read_header(wire.packet(Kind.SEALED, bytes(20), bytes(20), bytes(MAX_BODY + 1)), 0)


@pytest.mark.parametrize("others", [[], [b"x"]], ids=["alone", "with another"])
def test_the_largest_datagram_is_read_and_one_more_is_not(others: list[bytes]) -> None:
    good = wire.datagrams_record(4, 1, 2, [bytes(MAX_DATAGRAM), *others])
    assert wire.read_datagrams(good, 5, len(good)).datagrams[0] == bytes(MAX_DATAGRAM)
    bad = wire.datagrams_record(4, 1, 2, [bytes(MAX_DATAGRAM + 1), *others])
    with pytest.raises(PacketError):
        wire.read_datagrams(bad, 5, len(bad))


def test_a_packet_of_the_largest_datagram_fits_its_limit() -> None:
    assert len(wire.datagrams_record(4, 1, 2, [bytes(MAX_DATAGRAM)])) + 4 + 24 <= MAX_BODY


def test_the_most_datagrams_a_run_counts_are_written_and_read() -> None:
    data = wire.datagrams_record(6, 1, 2, [b""] * 65_535)
    assert len(wire.read_datagrams(data, 5, len(data)).datagrams) == 65_535


def test_urls_beyond_the_limit_are_not_advertised() -> None:
    network = ipaddress.IPv4Network("100.64.0.0/10")
    urls = tuple(f"ws://{n}" for n in range(MAX_URLS + 3))
    assert control.read_hello(control.hello(Hello(True, network, urls))).urls == urls[:MAX_URLS]
    longest = "ws://" + "a" * (MAX_URL - 5)
    assert control.read_hello(control.hello(Hello(True, network, (longest,)))).urls == (longest,)


# --- properties ------------------------------------------------------------------------------------------------

ids = st.binary(min_size=20, max_size=20)
ports = st.integers(1, 65_535)
urls = st.lists(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=MAX_URL), max_size=MAX_URLS)
networks = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: ipaddress.IPv4Network(pair, strict=False)
)


@given(st.sampled_from(Kind), ids, ids, st.binary(max_size=300), st.integers(0, 255), st.integers(0, 255))
def test_any_packet_comes_back(kind: Kind, to: bytes, sender: bytes, body: bytes, flags: int, hops: int) -> None:
    data = wire.packet(kind, to, sender, body, flags=flags, hop_limit=hops)
    assert len(data) == HEADER_BYTES + len(body)
    header = wire.read_header(data, 0)
    assert header == (kind, hops, flags, to, sender, HEADER_BYTES, len(data))
    assert data[header.body : header.end] == body


runs = st.tuples(
    st.sampled_from((0, 4, 6)), ports, ports, st.lists(st.binary(max_size=50), min_size=1, max_size=20)
).map(lambda run: wire.Datagrams(*run))


@given(st.lists(st.one_of(runs, st.tuples(st.integers(2, 255), st.binary(max_size=40))), max_size=8))
def test_any_sequence_of_records_comes_back(sequence: list[Any]) -> None:
    data = b"".join(
        wire.datagrams_record(*each) if isinstance(each, wire.Datagrams) else wire.record(*each) for each in sequence
    )
    back: list[Any] = []
    for kind, start, end in wire.read_records(data):
        is_run = kind == Record.DATAGRAMS
        back.append(wire.read_datagrams(data, start, end) if is_run else (kind, data[start:end]))
    assert back == sequence


def only_by_readers(data: bytes) -> tuple[int, int, int, bytes] | None:
    """What the readers of everything make of what `only_datagram` is to read."""
    try:
        found = list(wire.read_records(data))
        if [kind for kind, _, _ in found] != [Record.DATAGRAMS]:
            return None
        run = wire.read_datagrams(data, *found[0][1:])
    except PacketError:
        return None
    return (*run[:3], run.datagrams[0]) if len(run.datagrams) == 1 else None


fast_runs = st.builds(
    lambda form, source_port, port, data: wire.datagrams_record(form, source_port, port, [data]),
    st.sampled_from([0, 4, 6]),
    ports,
    ports,
    st.one_of(st.binary(max_size=50), st.sampled_from([MAX_DATAGRAM - 1, MAX_DATAGRAM, MAX_DATAGRAM + 1]).map(bytes)),
)


@given(fast_runs)
def test_a_datagram_alone_is_read_as_by_the_readers_of_everything(data: bytes) -> None:
    alone = wire.only_datagram(data)
    assert alone == only_by_readers(data)
    assert (alone is None) is (len(data) == 14 + MAX_DATAGRAM + 1)


@given(
    st.one_of(
        fast_runs,
        fast_runs,
        st.lists(st.one_of(fast_runs, runs.map(lambda run: wire.datagrams_record(*run)))).map(
            lambda many: b"".join(many)
        ),
        st.binary(max_size=40),
        st.just(b""),
    ),
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from([0, 1, 2, 4, 5, 6, 9, 10, 128, 255])), max_size=3),
    st.integers(-3, 20),
)
@example(wire.datagrams_record(4, 1, 2, [b"x"]), [(5, 5)], 0)  # no such form
@example(wire.datagrams_record(4, 1, 2, [b"x"]), [(7, 0)], 0)  # no source port
@example(wire.datagrams_record(4, 1, 2, [b"x"]), [(9, 0)], 0)  # no port
@example(wire.datagrams_record(4, 1, 2, [bytes(9)]), [(11, 2)], 0)  # two, and lengths that might add up
@example(wire.datagrams_record(4, 1, 2, [bytes(2), bytes(3)]), [(11, 1)], 0)
@example(wire.datagrams_record(4, 1, 2, [bytes(9)]), [(13, 8)], 0)  # its length and the record's differ
@example(wire.datagrams_record(4, 1, 2, [bytes(9)]), [(4, 17)], 0)
@example(wire.datagrams_record(4, 1, 2, [bytes(9)]), [(0, 2)], 0)  # another record
@example(wire.datagrams_record(4, 1, 2, [bytes(9)]), [], -1)
@example(wire.datagrams_record(4, 1, 2, [bytes(9)]), [], 1)
def test_altered_bytes_are_one_datagram_where_the_readers_of_everything_say_so(
    data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    altered = bytearray(data)
    for position, value in changes:
        if position < len(altered):
            altered[position] = value
    altered = altered[: max(0, len(altered) - cut)] if cut >= 0 else altered + bytes(-cut)
    assert wire.only_datagram(bytes(altered)) == only_by_readers(bytes(altered))


@given(
    st.booleans(),
    networks,
    urls,
    st.just("") | st.ip_addresses().map(str),
    st.tuples(st.integers(0, 255), st.integers(0, 255)),
)
def test_any_hello_comes_back(
    serves: bool, network: ipaddress.IPv4Network, given_urls: list[str], seen: str, load: tuple[int, int]
) -> None:
    value = Hello(serves, network, tuple(given_urls), seen=seen, load=load[0], ordinary=load[1])
    assert control.read_hello(control.hello(value)) == value


@given(st.lists(st.builds(Contact, ids, urls.map(tuple)), max_size=20))
def test_any_contacts_come_back(value: list[Contact]) -> None:
    assert control.read_contacts(control.contacts(value)) == value


@given(st.binary(min_size=4, max_size=4), st.booleans(), st.lists(ids, max_size=20), st.lists(ids, max_size=20))
def test_any_resolved_comes_back(token: bytes, final: bool, found: list[bytes], npm: list[bytes]) -> None:
    assert control.read_resolved(control.resolved(token, final, found, npm)) == (token, final, found, npm, [])


@given(st.binary(max_size=60), st.lists(st.integers(0, 20), max_size=4))
def test_split_cuts_or_refuses(body: bytes, sizes: list[int]) -> None:
    if sum(sizes) > len(body):
        with pytest.raises(PacketError):
            wire.split(body, *sizes)
    else:
        parts = wire.split(body, *sizes)
        assert b"".join(parts) == body
        assert [len(part) for part in parts[:-1]] == sizes


@pytest.mark.parametrize("what", READERS)
@given(data=st.binary(max_size=400))
def test_arbitrary_bytes_mean_something_or_raise_packet_error(what: str, data: bytes) -> None:
    with contextlib.suppress(PacketError):
        READERS[what](data)


READER_OF = {"packets": "packet", "hellos": "hello", "contents": "content", "broadcasts": "broadcast"}
GOOD: list[tuple[str, bytes]] = [
    (READER_OF.get(section, section), data_of(entry))
    for section in ("packets", "records", "hellos", "contacts", "resolved", "link_limits", "contents", "broadcasts")
    for entry in VECTORS[section]
] + [("datagrams", data_of(entry)[5:]) for entry in VECTORS["datagrams"]]


@pytest.mark.parametrize(("what", "data"), GOOD, ids=[f"{what}-{n}" for n, (what, _) in enumerate(GOOD)])
def test_every_mutation_means_something_or_raises_packet_error(what: str, data: bytes) -> None:
    read = READERS[what]
    mutants = [data[:size] for size in range(len(data))] + [data + b"\0", data + data]
    for position in range(len(data)):
        values = (0x00, 0x01, 0x7F, 0x80, 0xFF, data[position] ^ 1)
        mutants += [data[:position] + bytes((value,)) + data[position + 1 :] for value in values]
    for mutant in mutants:
        with contextlib.suppress(PacketError):
            read(mutant)


def test_round_trips_come_back_to_a_tenth_of_a_millisecond() -> None:
    found = [(bytes((n,)) * 20, seconds) for n, seconds in enumerate((0.0, 0.0123, 9.0))]
    assert control.read_round_trips(control.round_trips(found)) == [
        (peer_id, pytest.approx(min(seconds, 6.5535))) for peer_id, seconds in found
    ]
    assert control.read_round_trips(control.round_trips([]) + b"later versions add here") == []
    assert len(control.read_round_trips(control.round_trips(found * 9))) == MAX_ROUND_TRIPS


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02" + bytes(22 + 21)])
def test_round_trips_that_are_cut_short_raise_packet_error(data: bytes) -> None:
    with pytest.raises(PacketError):
        control.read_round_trips(data)
