"""What every spelling of an address means."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.address import ID_BITS, Prefix, Special, Spelling, parse_id
from peer_relay_socket.errors import ConfigError

ID = bytes(range(0x11, 0x11 + 20))
HEX = ID.hex()
SPELL = Spelling()
ids = st.binary(min_size=20, max_size=20)


def test_the_three_spellings_of_an_id() -> None:
    assert SPELL.ipv4(ID) == "100.68.68.132"
    assert SPELL.ipv6(ID) == "fd11:1213:1415:1617:1819:1a1b:1c1d:1e1f"
    assert SPELL.parse(HEX) == ID


@pytest.mark.parametrize(
    "text",
    [HEX, HEX.upper(), HEX + ".peer", HEX + ".PEER", HEX + ".peer.", HEX.upper() + ".Peer", f"  {HEX} ", HEX + "."],
)
def test_every_spelling_of_the_whole_id_is_the_id(text: str) -> None:
    assert SPELL.parse(text) == ID


@pytest.mark.parametrize(
    "text",
    [
        HEX[:-1],
        HEX + "0",
        HEX[:-1] + "g",
        HEX + ".peers",
        "peer",
        ".peer",
        HEX[:20] + " " + HEX[21:],
        "０" * 40,
        "0x" + HEX[:38],
        HEX + ".peer.example",
        "example.org",
        "256.1.1.1",
        "1.2.3",
        "100.64.0.1.2",
        "fd::1::2",
        "::ffff:100.64.0",
        "100.064.0.1",
        "\0",
        "100.64.0.1\0",
    ],
)
def test_what_is_no_address_is_a_name(text: str) -> None:
    assert SPELL.parse(text) is Special.NAME


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", Special.WILDCARD),
        ("0.0.0.0", Special.WILDCARD),
        ("::", Special.WILDCARD),
        ("::ffff:0.0.0.0", Special.WILDCARD),
        ("0:0:0:0:0:0:0:0", Special.WILDCARD),
        ("localhost", Special.LOOPBACK),
        ("LocalHost", Special.LOOPBACK),
        ("127.0.0.1", Special.LOOPBACK),
        ("127.255.0.9", Special.LOOPBACK),
        ("::1", Special.LOOPBACK),
        ("::ffff:127.0.0.1", Special.LOOPBACK),
        ("<broadcast>", Special.BROADCAST),
        ("255.255.255.255", Special.BROADCAST),
        ("224.0.0.251", Special.MULTICAST),
        ("ff02::fb", Special.MULTICAST),
        ("ff02::fb%eth0", Special.MULTICAST),
        ("8.8.8.8", Special.FOREIGN),
        ("10.1.2.3", Special.FOREIGN),
        ("100.63.255.255", Special.FOREIGN),
        ("100.128.0.0", Special.FOREIGN),
        ("::ffff:8.8.8.8", Special.FOREIGN),
        ("2001:db8::1", Special.FOREIGN),
        ("fc00::1", Special.FOREIGN),
        ("fe80::1%2", Special.FOREIGN),
    ],
)
def test_what_a_host_means_besides_a_peer(text: str, meaning: Special) -> None:
    assert SPELL.parse(text) is meaning


def test_short_spellings_give_prefixes_that_say_how_much_they_know() -> None:
    four = Prefix(22, (0b0001000100010010000101 << ID_BITS - 22).to_bytes(20))
    for text in ("100.68.68.133", "::ffff:100.68.68.133", "::FFFF:6444:4485"):
        assert SPELL.parse(text) == four
    for text in (SPELL.ipv6(ID), SPELL.ipv6(ID).upper(), SPELL.ipv6(ID) + "%eth0"):
        assert SPELL.parse(text) == Prefix(120, ID[:15] + bytes(5))


@given(ids, st.integers(0, 24))
def test_a_spelling_always_means_its_id(peer_id: bytes, length: int) -> None:
    network = ipaddress.IPv4Network((int(ipaddress.IPv4Address("100.64.0.0")), length), strict=False)
    spell = Spelling(network)
    assert spell.parse(peer_id.hex() + ".peer") == peer_id
    four, six = spell.parse(spell.ipv4(peer_id)), spell.parse(spell.ipv6(peer_id))
    assert isinstance(six, Prefix)
    assert six.matches(peer_id)
    if not isinstance(four, Special):  # a network of /0 spells some ids 0.0.0.0
        assert isinstance(four, Prefix)
        assert four.bits == 32 - length
        assert four.matches(peer_id)


@given(st.text(max_size=60))
def test_parse_never_raises(text: str) -> None:
    SPELL.parse(text)
    parse_id(text)


@given(ids, ids, st.integers(1, 160))
def test_a_prefix_matches_exactly_the_ids_that_begin_with_it(one: bytes, other: bytes, bits: int) -> None:
    prefix = Prefix.of(one, bits)
    assert prefix.matches(one)
    assert int.from_bytes(prefix.value) & (1 << ID_BITS - bits) - 1 == 0
    assert prefix.matches(other) == (int.from_bytes(one) ^ int.from_bytes(other) < 1 << ID_BITS - bits)


def test_two_ids_with_the_same_short_address_are_one_prefix_and_two_peers() -> None:
    twin = ID[:3] + bytes(17)
    assert SPELL.ipv4(ID) == SPELL.ipv4(twin)
    prefix = SPELL.parse(SPELL.ipv4(ID))
    assert isinstance(prefix, Prefix)
    assert prefix.matches(ID)
    assert prefix.matches(twin)
    six = SPELL.parse(SPELL.ipv6(ID))
    assert isinstance(six, Prefix)
    assert not six.matches(twin)


def test_a_network_too_small_for_peers_is_refused() -> None:
    Spelling(ipaddress.IPv4Network("10.0.0.0/24"))
    with pytest.raises(ConfigError, match="ipv4_network"):
        Spelling(ipaddress.IPv4Network("10.0.0.0/25"))
