"""What `peer-relay doctor` looks at: settings, and for each relay names, TCP, TLS, the link; clock, NAT.

Lives here: one function a check, each with a limit. May not live here: how findings are shown (cli/doctor.py).

Law: a check asks the network as the program would, under a fresh key, changes nothing, and ends within CHECK_TIME or
LINK_CHECK_TIME. Every finding that is not good says what helps.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from email.utils import parsedate_to_datetime
from itertools import chain, zip_longest
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from websockets.uri import parse_uri

from ..bridge.dialler import EMBEDDED_URL
from ..bridge.host import Host
from ..bridge.probes import NOWHERE
from ..config import PeerConfig, unknown_variables
from ..foreign_text import one_line
from ..limits import CERTIFICATE_DAYS, CHECK_TIME, CLOCK_SKEW, LINK_CHECK_TIME, LINK_HANDSHAKE_MAX
from ..scope import is_this_machine
from ..setting_values import LOOKUP, IceServer
from ..transport.link import LinkError
from ..transport.proxy import proxy_for

State = Literal["good", "warning", "failed"]
_STUN_COOKIE: Final = 0x2112A442
_MOST: Final = 3
"""Reasons and losses that are shown of a running peer, the most frequent first."""
_ASK: Final = "ask its operator, or mend the setting that it names"
_ABOVE: Final = "see the lines about its name, TCP and TLS"
_SET: Final = "start a program of yours here, or set PEER_RELAY_BOOTSTRAP to a relay's URL"
_PING: Final = "`peer-relay ping` says more"
_TABLE: Final = "the table of counters in the operator's guide has cause and cure"


class Finding(NamedTuple):
    """What one check came to."""

    check: str
    target: str
    state: State
    detail: str
    cure: str = ""


def settings(environ: Mapping[str, str]) -> list[Finding]:
    """Return a warning for each PEER_RELAY_* variable that means nothing."""
    unknown = unknown_variables(environ)
    return [Finding("settings", name, "warning", "no such variable", cure) for name, cure in unknown.items()]


def relays(config: PeerConfig, *, link: bool = True) -> list[Finding]:
    """Return what was found of each bootstrap URL, and of those that a domain names, all looked at at once.

    Args: link: whether to link to them, under fresh identities.
    """
    findings: list[Finding] = []
    urls = [url for place in config.bootstrap for url in _named(place, findings)]
    with ThreadPoolExecutor(max(1, 2 * len(urls))) as pool:
        paths = [pool.submit(_path, url) for url in urls if url != EMBEDDED_URL]
        links = [pool.submit(_link, config, url) for url in urls if link]
        for part in chain.from_iterable(zip_longest(paths, links)):
            findings += [] if part is None else part.result()
    return findings


def _named(place: str, findings: list[Finding]) -> list[str]:
    """Return the URLs that `place` stands for, itself or a domain, and note what was found of that."""
    if not place.startswith(LOOKUP):
        return [place]
    from ..transport.lookup import lookup  # 60 ms, and only for domains

    try:
        urls = asyncio.run(lookup(place))
    except LinkError as error:
        cure = "mend its SRV and TXT records; does this machine reach its name server (/etc/resolv.conf)?"
        findings.append(Finding("names", place, "failed", str(error), cure))
        return []
    findings.append(Finding("names", place, "good", f"names {', '.join(urls)}"))
    return urls


def running(peer: Mapping[str, Any]) -> list[Finding]:
    """Return what the record of a running peer says: of its links, its home relay, its datagram lanes, its clock, who
    reaches it, its sessions' relays, what it lost."""
    name = peer["id"][:8]
    findings = [_place(name, place, bool(peer["links"])) for place in peer["bootstrap"]]
    if not peer["bootstrap"]:
        state: State = "good" if peer["links"] or peer["relays"] else "warning"
        findings.append(Finding("link", name, state, f"{len(peer['links'])} links, no bootstrap URL is set"))
    findings += [
        Finding("home", name, "good", f"{link['id'][:8]}, {1000 * link['rtt_s']:.0f} ms away")
        for link in peer["links"]
        if link["role"] == "home" and link["rtt_s"] is not None
    ]
    findings += _lanes(name, peer)
    if peer["clock_skew_s"] is not None:
        findings.append(_skew(name, peer["clock_skew_s"]))
    for reach in peer["reachability"]:
        if reach["reachable"] is False:
            detail = (
                f"nobody reaches it ({reach['scope']}, {reach['witnesses']} neighbours tried): it relays for nobody"
            )
            findings.append(Finding("reachability", name, "warning", detail, "forward its port, or set public_url"))
    away = [each for each in peer["sessions"] if each["state"] in ("refused", "unreachable")]
    findings += [
        Finding("peers", each["id"], "warning", f"{each['state']}: {each['why']}", _PING) for each in away[:_MOST]
    ]
    chosen = sum(each["chosen"] for each in peer["sessions"])
    if chosen:
        detail = f"{chosen} sessions take the relay with the shortest round trip for both ends"
        findings.append(Finding("relay choice", name, "good", detail))
    reasons = Counter(each["why_not_direct"] for each in peer["sessions"] if each["why_not_direct"])
    for reason, count in reasons.most_common(_MOST):
        findings.append(Finding("direct paths", name, "good", f"{count} sessions are relayed: {reason}"))
    lost = Counter({what: count for what, count in peer["counters"].items() if what.startswith("dropped")})
    for what, count in lost.most_common(_MOST):
        findings.append(Finding("losses", name, "warning", f"{count} {what}", _TABLE))
    return findings


def _lanes(name: str, peer: Mapping[str, Any]) -> list[Finding]:
    """Return which links have small packets go by UDP, and whether that failed."""
    findings = []
    lanes = [(link["id"][:8], link.get("lane")) for link in peer["links"]]  # an earlier version says nothing of it
    live = [f"{far} ({lane['lost']:.1%} lost)" for far, lane in lanes if lane and lane["state"] == "live"]
    if live:
        shown = ", ".join(live[:_MOST]) + ", ..." * (len(live) > _MOST)
        findings.append(
            Finding(
                "lane", name, "good", f"small packets go by UDP on {len(live)} link{'s' * (len(live) > 1)}: {shown}"
            )
        )
    failed = peer["counters"].get("datagram lanes left: no probe was answered", 0)
    if failed:
        detail = f"UDP did not come through to a relay (tries: {failed}): packets there take TCP"
        cure = "let UDP through to the relay's port (its TCP port's number, or --public-udp), here and there"
        findings.append(Finding("lane", name, "warning", detail, cure))
    return findings


def _place(name: str, place: Mapping[str, Any], linked: bool) -> Finding:
    if place["state"] == "linked" or (place["state"] == "idle" and not place["last_error"]):
        return Finding("link", place["url"], "good", f"{place['state']}, as {name}")
    detail = f"{place['state']}, as {name}, {place['failures']} failed: {place['last_error'] or 'no answer so far'}"
    cure = _ABOVE if _is_of_the_way(place["last_error"] or "no answer") else _ASK
    return Finding("link", place["url"], "warning" if linked else "failed", detail, cure)


def _is_of_the_way(reason: str) -> bool:
    """Return whether a dial failed for what names, TCP and TLS show better."""
    return "refuses us" not in reason and "speak" not in reason


def _path(url: str) -> list[Finding]:
    """Look at the way to a URL, layer by layer."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80)
    try:
        proxy = proxy_for(parse_uri(url.partition("#")[0]), True)
    except LinkError as error:
        return [Finding("proxy", url, "failed", str(error), "mend https_proxy, or name the host in no_proxy")]
    if proxy is not None and not is_this_machine(host):
        shown = f"{proxy.scheme}://{proxy.host}:{proxy.port}"
        return [Finding("proxy", url, "good", f"reached through {shown}: names, TCP and TLS are its business")]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        cure = "is the name right? does this machine reach its name server (/etc/resolv.conf)?"
        return [Finding("names", url, "failed", f"{host}: {reason}", cure)]
    addresses: dict[socket.AddressFamily, tuple[Any, ...]] = {}
    for family, _, _, _, where in found:
        addresses.setdefault(family, where)
    names = ", ".join(dict.fromkeys(str(entry[4][0]) for entry in found))
    findings = [Finding("names", url, "good", f"{host} is {names}")]
    tried = [_tcp(url, family, where) for family, where in addresses.items()]
    reached = next((where for where, each in zip(addresses.values(), tried, strict=True) if each.state == "good"), None)
    if reached is not None:  # then a family that does not is no obstacle
        tried = [each._replace(state="warning") if each.state == "failed" else each for each in tried]
    findings += tried
    if reached is not None:
        findings += _tls_and_clock(url, parts, str(reached[0]), port)
    return findings


def _tcp(url: str, family: socket.AddressFamily, where: tuple[Any, ...]) -> Finding:
    name = f"TCP over {'IPv6' if family == socket.AF_INET6 else 'IPv4'}"
    began = time.monotonic()
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(CHECK_TIME)
        try:
            sock.connect(where)
        except TimeoutError:
            detail = f"{where[0]} port {where[1]}: no answer within {CHECK_TIME:g} s"
            return Finding(name, url, "failed", detail, "a firewall drops it: let it out, or set https_proxy")
        except ConnectionRefusedError:
            detail = f"{where[0]} port {where[1]}: Connection refused"
            return Finding(name, url, "failed", detail, "nothing listens there: start the relay, or mend the port")
        except OSError as error:
            state: State = "warning" if family == socket.AF_INET6 else "failed"
            return Finding(name, url, state, f"{where[0]}: {error.strerror or error}", "this network has no way there")
    return Finding(
        name, url, "good", f"{where[0]} port {where[1]} answers in {1e3 * (time.monotonic() - began):.1f} ms"
    )


def _tls_and_clock(url: str, parts: SplitResult, address: str, port: int) -> list[Finding]:
    """Look at the certificate, and at the time that the relay's HTTP answer gives."""
    host = parts.hostname or ""
    findings = []
    try:
        with ExitStack() as stack:
            sock: socket.socket = stack.enter_context(socket.create_connection((address, port), CHECK_TIME))
            if parts.scheme == "wss":
                secured = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
                sock = stack.enter_context(secured)
                findings.append(_certificate(url, secured))
            head = _head(sock, parts.netloc.rpartition("@")[2])
    except ssl.SSLCertVerificationError as error:
        cure = "renew it, put its name right, or trust its authority (SSL_CERT_FILE)"
        return [Finding("TLS", url, "failed", f"certificate refused: {error.verify_message}", cure)]
    except ssl.SSLError as error:
        return [Finding("TLS", url, "failed", f"{error.reason or error}", "is it wss:// there, or ws://?")]
    except OSError as error:
        detail = f"no HTTP answer: {error.strerror or error or type(error).__name__}"
        findings.append(Finding("HTTP", url, "failed", detail, "no relay answers there: is the port right?"))
        return findings
    date = re.search(r"\r\ndate:\s*([^\r]*)", head, re.IGNORECASE)
    return findings if date is None else [*findings, *_clock(url, date[1])]


def _head(sock: socket.socket, place: str) -> str:
    """Return the head of the HTTP answer of `place`. Whatever answers has CHECK_TIME for all of it.

    Raises: OSError.
    """
    end = time.monotonic() + CHECK_TIME
    sock.sendall(f"GET /healthz HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < LINK_HANDSHAKE_MAX:
        sock.settimeout(max(0.001, end - time.monotonic()))
        piece = sock.recv(LINK_HANDSHAKE_MAX)
        if not piece:
            break
        head += piece
    if not head.startswith(b"HTTP/1."):
        raise OSError(f"it says {one_line(head[:40].decode(errors='replace'))!r}" if head else "it closes")
    return head.partition(b"\r\n\r\n")[0].decode("latin-1")


def _certificate(url: str, sock: ssl.SSLSocket) -> Finding:
    certificate = sock.getpeercert() or {}
    days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86400
    detail = f"{sock.version()}, the certificate has {days:.0f} days left"
    if days < CERTIFICATE_DAYS:
        return Finding("TLS", url, "warning", detail, "have its operator renew it")
    return Finding("TLS", url, "good", detail)


def _clock(url: str, date: str) -> list[Finding]:
    try:
        skew = time.time() - parsedate_to_datetime(date).timestamp() - 0.5
    except (ValueError, OverflowError):
        return []
    return [_skew(url, skew)]


def _skew(target: str, skew: float) -> Finding:
    if abs(skew) > CLOCK_SKEW:
        detail = f"this clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the relay's"
        return Finding("clock", target, "warning", detail, "set it (NTP): broadcasts and certificates depend on it")
    return Finding("clock", target, "good", "agrees with the relay's to a second or so")


def _link(config: PeerConfig, url: str) -> list[Finding]:
    """Link to one relay as a peer does."""
    alone = replace(config, bootstrap=(url,), port=None, identity=None, embedded=False, wrtc=False, remember=False)
    host = Host(alone)
    try:
        host.start()
        end = time.monotonic() + LINK_CHECK_TIME
        while time.monotonic() < end and not host.linked.wait(0.05):
            places = host.status()["bootstrap"]
            if places and places[0]["failures"] >= 2:
                break
        record = host.status()
        if record["links"]:
            link = record["links"][0]
            took = "" if link["rtt_s"] is None else f", round trip {1e3 * link['rtt_s']:.1f} ms"
            role = "relays" if link["relays"] else "does not relay"
            who = f"as {host.peer_id.hex()[:8]}, a fresh identity"
            return [Finding("link", url, "good", f"{link['id'][:8]} {role}{took} ({who})"), *_seen_by(host, url)]
        reason = record["bootstrap"][0]["last_error"] if record["bootstrap"] else None
        if url == EMBEDDED_URL:
            return [Finding("link", "this machine", "failed", NOWHERE, _SET)]
        cure = _ASK if reason and not _is_of_the_way(reason) else _ABOVE
        return [Finding("link", url, "failed", reason or f"no link within {LINK_CHECK_TIME:g} s", cure)]
    finally:
        host.destroy(0.5)


def _seen_by(host: Host, url: str) -> list[Finding]:
    """Ask a relay, which is linked, where it sees this machine."""
    findings = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for place in host.stun_servers():
            try:
                seen, port = _mapped(sock, place)
            except OSError:
                cure = "a firewall drops UDP: traffic goes by relays, over TCP"
                findings.append(Finding("NAT", url, "warning", f"{place}: no answer by UDP", cure))
            else:
                findings.append(Finding("NAT", url, "good", f"UDP passes; the relay sees {seen} port {port}"))
    return findings


# --- NAT ---------------------------------------------------------------------------------------------------------


def nat(servers: Iterable[IceServer], wrtc: bool) -> list[Finding]:
    """Return how this network's NAT maps one UDP socket, by the answers of the STUN servers that are set."""
    if not wrtc:
        return [Finding("direct paths", "WebRTC", "warning", "WebRTC is turned off", "unset PEER_RELAY_WRTC=0")]
    places = [server.url.partition(":")[2] for server in servers if server.url.startswith("stun:")]
    if not places:
        return [Finding("NAT", "UDP", "good", "no STUN server is set: relays are asked where they see this machine")]
    seen: dict[str, tuple[str, int]] = {}
    findings = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for place in places[:3]:
            try:
                seen[place] = _mapped(sock, place)
            except OSError as error:
                detail = f"no answer by UDP: {error.strerror or error}"
                cure = "a firewall drops UDP, or the server is gone: direct paths need one of both"
                findings.append(Finding("NAT", place, "failed" if len(places) == 1 else "warning", detail, cure))
    if len(seen) == 1:
        ((host, port),) = seen.values()
        detail = f"UDP passes; seen as {host} port {port}; a second STUN server would tell the kind of NAT"
        findings.append(Finding("NAT", "UDP", "good", detail))
    elif len(set(seen.values())) == 1:
        findings.append(Finding("NAT", "UDP", "good", "one mapping for all: direct paths are possible"))
    elif seen:
        detail = "another mapping for each destination (symmetric): no direct path to another such network"
        findings.append(Finding("NAT", "UDP", "warning", detail, "traffic goes by relays; a TURN server helps"))
    return findings


def _mapped(sock: socket.socket, place: str) -> tuple[str, int]:
    """Return how a STUN server sees `sock` (RFC 8489, binding request).

    Raises: OSError when it does not answer.
    """
    host, _, port = place.partition("?")[0].rpartition(":") if ":" in place else (place, "", "3478")
    token = secrets.token_bytes(12)
    where = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_DGRAM)[0][4]
    end = time.monotonic() + CHECK_TIME
    for wait in (0.3, 0.7, CHECK_TIME):
        sock.sendto(struct.pack(">HHI", 1, 0, _STUN_COOKIE) + token, where)
        limit = min(end, time.monotonic() + wait)
        while (left := limit - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                data = sock.recv(2048)
            except TimeoutError:
                break
            if data[8:20] == token and (found := _xor_mapped(data)) is not None:
                return found
    raise TimeoutError(f"{place}: no answer within {CHECK_TIME:g} s")


def _xor_mapped(data: bytes) -> tuple[str, int] | None:
    offset = 20
    while offset + 4 <= len(data):
        kind, size = struct.unpack_from(">HH", data, offset)
        if kind == 0x0020 and size >= 8 and offset + 12 <= len(data) and data[offset + 5] == 1:
            port, address = struct.unpack_from(">HI", data, offset + 6)
            return socket.inet_ntoa((address ^ _STUN_COOKIE).to_bytes(4)), port ^ _STUN_COOKIE >> 16
        offset += 4 + (size + 3 & ~3)
    return None
