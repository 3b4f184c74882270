"""What two ends tell each other before a WebRTC link: session descriptions, and the servers that help to write them.

Lives here: making a stranger's description safe, and ours discreet. May not live here: connections.

Law: of a description that another peer wrote, only what a data channel needs is handed on: one media section, at most
RTC_CANDIDATES candidates, none of which leads to this very machine or its wire, or where the caller does not allow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ..limits import RTC_CANDIDATE, RTC_CANDIDATES, RTC_CHECK_SHARE, RTC_CHECKS_LEAST, RTC_DESCRIPTION
from ..scope import Scope
from .link import LinkError


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate for the one media section there is, named as in the browsers' API."""

    candidate: str
    sdpMid: str | None = None  # noqa: N815
    sdpMLineIndex: int = 0  # noqa: N815


@dataclass(frozen=True, slots=True)
class Description:
    """A session description, named as in the browsers' API."""

    sdp: str
    type: str


def has_candidates(sdp: str) -> bool:
    """Return whether a description names at least one address."""
    return "\na=candidate:" in sdp


def safe_description(sdp: str, allow: Callable[[str], bool], *, more: bool = False) -> str:
    """Return `sdp` without what is unsafe to act on, and with an end of candidates (without one a failure is never
    noticed). `more`: candidates may follow one by one, so that there may be none here, and no end of them is told.

    Args: allow: asked with the IP literal of each candidate that could be tried.
    Raises: LinkError unless it describes exactly one data transport, with a usable candidate if no more come.
    """
    if len(sdp) > RTC_DESCRIPTION or not sdp.isascii():
        raise LinkError("their session description is too long, or not ASCII")
    lines, candidates, media = [], 0, 0
    for line in sdp.splitlines():
        if line.startswith("a=candidate:"):
            if candidates >= RTC_CANDIDATES or not _usable(line.split(), allow):
                continue
            candidates += 1
        elif line.startswith("m="):
            media += 1
            if media > 1 or not line.startswith("m=application "):
                raise LinkError("their session description is not that of a data channel")
        elif line == "a=end-of-candidates" or not line:
            continue
        lines.append(line)
    text = "\r\n".join([*lines, *([] if more else ["a=end-of-candidates"]), ""])
    if not media or not (more or has_candidates(text)):
        raise LinkError("they named no address that can be tried")
    return text


class Checks:
    """How many pairs of a candidate and an address of ours may still be tried, by the bytes that the other end sent."""

    def __init__(self, size: int = 0, addresses: tuple[int, int] = (1, 1)) -> None:
        """Args: size: bytes of its description. addresses: how many of ours look for a path, of IPv4 and of IPv6."""
        self._left = max(RTC_CHECKS_LEAST * RTC_CHECK_SHARE, size)
        self._addresses = addresses

    def take(self, host: str, size: int = 0) -> bool:
        """Return whether a candidate at an IP literal may be tried, too, for which `size` bytes more came."""
        price = self._addresses[":" in host] * RTC_CHECK_SHARE
        self._left += size
        if price > self._left:
            return False
        self._left -= price
        return True


def affordable_description(sdp: str, checks: Checks) -> str:
    """Return a safe description with no more candidates than `checks` has room for: one of each kind and family first,
    so that of many addresses of one kind some are left out, and not the only one that others can reach."""
    candidates = [line for line in sdp.splitlines() if line.startswith("a=candidate:")]
    seen: Counter[tuple[str, bool]] = Counter()
    ranked = []
    for at, line in enumerate(candidates):
        words = line.split()
        kind = words[7], ":" in words[4]
        seen[kind] += 1
        ranked.append((seen[kind], at, words[4], line))
    spared = {line for _, _, host, line in sorted(ranked) if not checks.take(host)}
    return "\r\n".join([*(line for line in sdp.splitlines() if line not in spared), ""])


def shown_description(sdp: str, nearest: Scope) -> str:
    """Return our own description with no address in it that reaches less far than `nearest`, but for those at which
    STUN and TURN servers see us.

    Raises: LinkError when that leaves none.
    """
    if nearest <= Scope.PRIVATE:
        return sdp
    lines = []
    for line in sdp.splitlines():
        words = line.split()
        if line.startswith("a=candidate:"):
            if words[7] == "host" and not nearest.covers(words[4]):
                continue
            for i in range(8, len(words) - 1, 2):  # where a server saw us from
                words[i + 1] = {"raddr": "0.0.0.0", "rport": "0"}.get(words[i], words[i + 1])
            line = " ".join(words)
        elif line.startswith("m="):
            line = " ".join([words[0], "9", *words[2:]])
        elif line.startswith(("c=", "o=")):
            line = " ".join([*words[:-2], "IP4", "0.0.0.0"])
        lines.append(line)
    text = "\r\n".join([*lines, ""])
    if not has_candidates(text):
        raise LinkError(
            "this machine has no public address to show: a relay that UDP reaches, or a STUN server (ice_servers),"
            " finds one, candidates=all shows the private ones"
        )
    return text


def safe_candidate(candidate: str, allow: Callable[[str], bool]) -> str | None:
    """Return a candidate that came by itself ("candidate:..."), or None where it is unsafe to act on."""
    candidate = candidate.removeprefix("a=")
    if len(candidate) > RTC_CANDIDATE or not candidate.isascii() or not candidate.startswith("candidate:"):
        return None
    return candidate if _usable(candidate.split(), allow) else None


def _usable(words: list[str], allow: Callable[[str], bool]) -> bool:
    """Whether a candidate is UDP to an address that may be tried. What is link-local, aioice itself never names.

    `.local` names (browsers hide the machine's addresses behind them) are left out: each may take a second to look up,
    by multicast, and nothing is lost by it: the browser checks our addresses, and shows its own by that.
    """
    if len(words) < 8 or words[2].lower() != "udp":
        return False
    port = int(words[5]) if words[5].isdecimal() and len(words[5]) < 6 else 0
    return 0 < port < 65536 and Scope.PRIVATE.covers(words[4]) and allow(words[4])
