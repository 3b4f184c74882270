"""What our own session descriptions show: every address, or the public ones and those that servers saw."""

from __future__ import annotations

import asyncio
import re

import aiortc
import pytest

from peer_relay_socket.limits import MAX_REFLECTION, RTC_ADDRESSES, RTC_CHECK_SHARE, RTC_CHECKS_LEAST
from peer_relay_socket.scope import Scope
from peer_relay_socket.transport.link import LinkError
from peer_relay_socket.transport.rtc_description import (
    Checks,
    affordable_description,
    safe_description,
    shown_description,
)
from peer_relay_socket.transport.rtc_implementation import look_from

SDP = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 192.168.7.2",
        "s=-",
        "m=application 40000 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 192.168.7.2",
        "a=candidate:1 1 udp 2130706431 192.168.7.2 40000 typ host",
        "a=candidate:2 1 udp 2130706431 10.8.0.3 40001 typ host",
        "a=candidate:3 1 udp 2130706431 fd00::7 40002 typ host",
        "a=candidate:4 1 udp 2130706431 2600::7 40003 typ host",
        "a=candidate:5 1 udp 1694498815 203.0.113.10 40000 typ srflx raddr 192.168.7.2 rport 40000",
        "a=candidate:6 1 udp 16777215 198.51.100.1 50000 typ relay raddr 203.0.113.10 rport 40000",
        "a=end-of-candidates",
        "",
    ]
)


def test_all_is_shown_where_it_may_be() -> None:
    assert shown_description(SDP, Scope.PRIVATE) == SDP


def test_private_addresses_are_shown_nowhere_in_a_public_description() -> None:
    shown = shown_description(SDP, Scope.GLOBAL)
    assert re.findall(r"192\.168|10\.8\.|fd00", shown) == []
    assert [line.split()[4] for line in shown.splitlines() if "candidate:" in line] == [
        "2600::7",
        "203.0.113.10",
        "198.51.100.1",
    ]
    assert shown.count("raddr 0.0.0.0 rport 0") == 2
    assert safe_description(shown, lambda _host: True).count("a=candidate:") == 3


def _description(candidates: list[str]) -> str:
    keys = ["a=ice-ufrag:abcd", "a=ice-pwd:" + 22 * "x", "a=fingerprint:sha-256 " + 95 * "A", "a=setup:actpass"]
    head, tail = SDP.split("a=candidate:1")[0] + "\r\n".join(keys), "a=end-of-candidates"
    return "\r\n".join([head.rstrip(), *(f"a=candidate:{line}" for line in candidates), tail, ""])


@pytest.mark.parametrize(("host", "check"), [("9.9.9.9", 116), ("2600::9", 136)])
@pytest.mark.parametrize("addresses", [1, RTC_ADDRESSES])
@pytest.mark.parametrize("count", [1, 3, 4, 8, 16, 40])
def test_a_short_description_makes_us_send_to_few_addresses(count: int, addresses: int, host: str, check: int) -> None:
    text = _description([f"{number} 1 udp 1 {host} {1000 + number} typ host" for number in range(count)])
    sent = 60 + len(text)  # with the headers around it
    safe = safe_description(text, lambda _host: True)
    tried = affordable_description(safe, Checks(len(text), (addresses, addresses))).count("a=candidate:")
    assert tried >= min(count, RTC_CHECKS_LEAST // addresses)
    assert tried * addresses * 5 * check <= MAX_REFLECTION * sent, "checks: five for each candidate and address"


def test_of_many_candidates_those_of_each_kind_and_family_are_tried_first() -> None:
    many = [f"{number} 1 udp 1 10.0.0.{number} 1000 typ host" for number in range(1, 12)]
    rare = ["20 1 udp 1 9.9.9.9 1 typ srflx raddr 0.0.0.0 rport 0", "21 1 udp 1 2600::9 1 typ host"]
    text = _description([*many, *rare])
    kept = affordable_description(safe_description(text, lambda _host: True), Checks(4 * 3 * RTC_CHECK_SHARE, (3, 3)))
    assert re.findall("candidate:([0-9]+)", kept) == ["1", "2", "20", "21"]
    assert kept.splitlines()[-1] == "a=end-of-candidates"


def test_candidates_that_come_by_themselves_are_paid_for_by_their_messages() -> None:
    checks = Checks(0, (3, 3))
    assert [checks.take("9.9.9.9", 250) for _ in range(5)] == [True, True, False, True, False]


def test_what_leaves_nothing_to_show_says_what_to_do() -> None:
    bare = "\r\n".join(line for line in SDP.splitlines() if not re.search("2600|srflx|relay", line))
    with pytest.raises(LinkError, match=r"no public address to show: a relay .* candidates=all"):
        shown_description(bare, Scope.GLOBAL)


def test_aiortc_describes_and_takes_a_public_description() -> None:
    async def perform() -> None:
        ends = aiortc.RTCPeerConnection(), aiortc.RTCPeerConnection()
        ends[0].createDataChannel("x", negotiated=True, id=0)
        await ends[0].setLocalDescription(await ends[0].createOffer())
        offer = ends[0].localDescription.sdp
        public = offer.replace("a=end-of-candidates", SDP.splitlines()[9] + "\r\na=end-of-candidates", 1)
        shown = shown_description(public, Scope.GLOBAL)
        own = {line.split()[4] for line in offer.splitlines() if line.startswith("a=candidate:")}
        private = [address for address in own if not Scope.GLOBAL.covers(address)]
        assert [address for address in private if address in shown] == []
        await ends[1].setRemoteDescription(aiortc.RTCSessionDescription(shown, "offer"))
        for end in ends:
            await end.close()

    asyncio.run(perform())


async def test_a_path_is_looked_for_from_few_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [f"127.0.0.{number}" for number in range(2, 9)]
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: hosts)
    pc = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    pc.createDataChannel("x", negotiated=True, id=0)
    assert look_from(pc, 3) == (3, 1)
    await pc.setLocalDescription(await pc.createOffer())
    assert re.findall(r"127\.0\.0\.(\d) \d+ typ host", pc.localDescription.sdp) == ["2", "3", "4"]
    await pc.close()
