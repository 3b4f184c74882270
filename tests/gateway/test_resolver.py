"""DNS answers are what dpkt reads, and no bytes raise."""

from __future__ import annotations

import socket

import dpkt  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.address import Spelling
from peer_relay_socket.gateway import resolver

PEER = "0123456789" * 4
A, AAAA, TXT = 1, 28, 16


def asked(name: str, kind: int) -> dpkt.dns.DNS:
    query = dpkt.dns.DNS(id=7, op=0x0100, qd=[dpkt.dns.DNS.Q(name=name, type=kind)])
    question = resolver.read_question(bytes(query))
    assert question is not None
    return dpkt.dns.DNS(resolver.answer(question, Spelling()))


@pytest.mark.parametrize(
    ("name", "kind", "code", "found"),
    [
        (PEER + ".peer", A, 0, [socket.inet_aton(Spelling().ipv4(bytes.fromhex(PEER)))]),
        (PEER.upper() + ".PEER", A, 0, [socket.inet_aton(Spelling().ipv4(bytes.fromhex(PEER)))]),
        (PEER + ".peer", AAAA, 0, [socket.inet_pton(socket.AF_INET6, Spelling().ipv6(bytes.fromhex(PEER)))]),
        (PEER + ".peer", TXT, 0, []),
        ("nobody.peer", A, 3, []),
        ("peer", A, 3, []),
        ("example.org", A, 5, []),
        (PEER, A, 5, []),
    ],
)
def test_peer_names_have_addresses_and_others_are_refused(name: str, kind: int, code: int, found: list[bytes]) -> None:
    answer = asked(name, kind)
    assert (answer.id, answer.qr, answer.rcode, answer.qd[0].name.lower()) == (7, 1, code, name.lower())
    assert [record.rdata for record in answer.an] == found


@given(st.binary(max_size=300))
def test_garbage_has_an_answer_or_none(data: bytes) -> None:
    for message in (data, b"\0\7\1\0\0\1" + bytes(6) + data):
        question = resolver.read_question(message)
        if question is not None:
            assert resolver.answer(question, Spelling())[:2] == message[:2]
