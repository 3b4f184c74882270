"""The resolver look-alikes: arithmetic for peers' names, the stdlib's own answers for the rest."""

from __future__ import annotations

import socket

import peer_relay
import pytest

from peer_relay_socket.address import AF_PEER, Spelling

PEER = bytes(range(20))
HEX = PEER.hex()
IPV4 = Spelling().ipv4(PEER)
IPV6 = Spelling().ipv6(PEER)


@pytest.mark.parametrize("host", [HEX, f"{HEX}.peer", f"{HEX.upper()}.PEER", f"{HEX}.peer.", f"{HEX}.peer".encode()])
def test_getaddrinfo_gives_ipv4_before_ipv6_for_a_peer(host: str | bytes) -> None:
    answers = peer_relay.getaddrinfo(host, 53, type=socket.SOCK_DGRAM)
    assert answers == [
        (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "", (IPV4, 53)),
        (socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "", (IPV6, 53, 0, 0)),
    ]


def test_getaddrinfo_answers_as_the_stdlib_does_for_the_spelled_address() -> None:
    for arguments in [("domain", 0, 0, 0), (53, 0, socket.SOCK_STREAM, 0), (None, 0, 0, 17), ("123", 0, 0, 0)]:
        port, _, kind, proto = arguments
        expected = socket.getaddrinfo(IPV4, port, socket.AF_INET, kind, proto)
        expected += socket.getaddrinfo(IPV6, port, socket.AF_INET6, kind, proto)
        assert peer_relay.getaddrinfo(f"{HEX}.peer", *arguments) == expected


def test_getaddrinfo_honours_family_and_flags() -> None:
    name = f"{HEX}.peer"
    udp = socket.SOCK_DGRAM
    assert [a[4][0] for a in peer_relay.getaddrinfo(name, 1, socket.AF_INET, udp)] == [IPV4]
    assert [a[4][0] for a in peer_relay.getaddrinfo(name, 1, socket.AF_INET6, udp)] == [IPV6]
    mapped = socket.AI_V4MAPPED | socket.AI_ALL
    in_ipv6 = peer_relay.getaddrinfo(name, 1, socket.AF_INET6, udp, flags=mapped)
    assert [a[4][0] for a in in_ipv6] == [IPV6, f"::ffff:{IPV4}"]
    assert [a[3] for a in peer_relay.getaddrinfo(HEX, 1, 0, udp, flags=socket.AI_CANONNAME)] == [name, ""]
    assert peer_relay.getaddrinfo(name, 9, AF_PEER, udp) == [(AF_PEER, udp, socket.IPPROTO_UDP, "", (HEX, 9))]


@pytest.mark.parametrize(
    ("arguments", "keywords", "code"),
    [
        (("nobody.peer", 1), {}, socket.EAI_NONAME),
        (("nobody.peer.", 1), {}, socket.EAI_NONAME),
        ((f"{HEX}.peer", 1), {"flags": socket.AI_NUMERICHOST}, socket.EAI_NONAME),
        ((f"{HEX}.peer", 1, socket.AF_UNIX), {}, socket.EAI_FAMILY),
        ((f"{HEX}.peer", "no-such-service"), {}, socket.EAI_SERVICE),
    ],
)
def test_getaddrinfo_refuses_as_a_resolver_does(
    arguments: tuple[object, ...], keywords: dict[str, int], code: int
) -> None:
    with pytest.raises(socket.gaierror) as caught:
        peer_relay.getaddrinfo(*arguments, **keywords)  # type: ignore[arg-type]
    assert caught.value.errno == code


def test_other_names_get_the_stdlibs_answers() -> None:
    for host in ("127.0.0.1", "::1", "localhost", None, IPV4, b"127.0.0.1"):
        assert peer_relay.getaddrinfo(host, 80) == socket.getaddrinfo(host, 80)
    assert peer_relay.gethostbyname("localhost") == socket.gethostbyname("localhost")
    assert peer_relay.gethostbyname_ex("localhost") == socket.gethostbyname_ex("localhost")
    assert peer_relay.getnameinfo(("127.0.0.1", 53), 0) == socket.getnameinfo(("127.0.0.1", 53), 0)
    assert peer_relay.gethostbyaddr("127.0.0.1") == socket.gethostbyaddr("127.0.0.1")
    assert peer_relay.getfqdn("localhost") == socket.getfqdn("localhost")


def test_gethostbyname_knows_peers() -> None:
    assert peer_relay.gethostbyname(HEX) == IPV4
    assert peer_relay.gethostbyname(f"{HEX}.peer") == IPV4
    assert peer_relay.gethostbyname_ex(HEX) == (f"{HEX}.peer", [], [IPV4])
    assert peer_relay.getfqdn(HEX) == f"{HEX}.peer"
    with pytest.raises(socket.gaierror):
        peer_relay.gethostbyname("nobody.peer")


def test_getnameinfo_reads_every_spelling() -> None:
    service = socket.getservbyport(53)
    assert peer_relay.getnameinfo((IPV4, 53), socket.NI_NUMERICHOST) == (IPV4, service)
    assert peer_relay.getnameinfo((IPV6, 53, 0, 0), socket.NI_NUMERICSERV) == (IPV6, "53")
    assert peer_relay.getnameinfo((HEX, 53), 0) == (f"{HEX}.peer", service)
    assert peer_relay.getnameinfo((HEX, 53), socket.NI_NUMERICHOST) == (HEX, service)
    with pytest.raises(socket.gaierror) as caught:
        peer_relay.getnameinfo((IPV4, 53), socket.NI_NAMEREQD)
    assert caught.value.errno == socket.EAI_NONAME


def test_gethostbyaddr_names_whole_ids_and_tells_dns_of_no_other() -> None:
    assert peer_relay.gethostbyaddr(HEX) == (f"{HEX}.peer", [], [IPV4])
    with pytest.raises(socket.herror):
        peer_relay.gethostbyaddr(IPV4)


def test_names_follow_the_ipv4_network_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEER_RELAY_IPV4_NETWORK", "10.0.0.0/8")
    assert peer_relay.gethostbyname(HEX) == "10.0.1.2"
