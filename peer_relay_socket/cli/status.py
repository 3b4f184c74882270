"""`peer-relay status`: what the running peers of this user know. Lives here: its options, the text, the rates."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from ..limits import CLOCK_SKEW
from ..observe.processes import ask_all, found
from . import screen
from .arguments import Arguments

_INTERVAL: Final = 1.0
_SEEN: Final = 20
"""Values in a sparkline."""
_CLEAR: Final = "\x1b[H\x1b[2J"
_LINKS: Final = 30
"""Links and sessions that the text shows of a peer; --json shows all."""


def command(arguments: list[str]) -> int:
    """Print the records of peers, of one process or of all of this user's.

    Returns: 0 when a peer was found, 1 when none was.
    Raises: SystemExit with status 2 and one line for bad input.
    """
    parser = Arguments(
        prog="peer-relay status",
        description="Show the links, bootstrap URLs, sockets, sessions and losses of every process of this user that "
        "holds a peer. The processes are not disturbed.",
    )
    parser.add_argument("pid", nargs="?", type=int, metavar="PID", help="only this process")
    parser.add_argument("--watch", action="store_true", help="show it every second, with rates, until interrupted")
    parser.add_argument("--json", action="store_true", help='print an object {"peers": [...]}; with --watch one a line')
    options = parser.parse_args(arguments)
    if options.pid is not None and options.pid <= 0:
        parser.error(f"argument PID: {options.pid} is no process")
    if not options.watch:
        return _show(options.pid, as_json=options.json)
    try:
        return _watch(options.pid, as_json=options.json)
    except KeyboardInterrupt:
        return 0


def _ask(pid: int | None) -> list[dict[str, Any]]:
    peers, complaints = ask_all(found() if pid is None else [pid])
    for complaint in complaints:
        if pid is not None or not complaint.endswith("holds no peer"):
            print(f"peer-relay status: {complaint}", file=sys.stderr)
    return peers


def _show(pid: int | None, *, as_json: bool) -> int:
    peers = _ask(pid)
    if as_json:
        print(json.dumps({"peers": peers}))
    elif peers:
        print("\n\n".join("\n".join(_text(peer, None)) for peer in peers))
    elif pid is None:
        print("peer-relay status: no process of this user holds a peer", file=sys.stderr)
    return 0 if peers else 1


def _watch(pid: int | None, *, as_json: bool) -> int:
    rates = Rates()
    on_terminal = sys.stdout.isatty() and not as_json
    while True:
        began = time.monotonic()
        peers = _ask(pid)
        rates.take(peers, began)
        if as_json:
            print(json.dumps({"peers": peers}), flush=True)
        else:
            text = "\n\n".join("\n".join(_text(peer, rates)) for peer in peers)
            text = text or "no process of this user holds a peer"
            if on_terminal:  # asked each time: its size may change
                text = _CLEAR + "\n".join(screen.fitted(text.split("\n"), *shutil.get_terminal_size()))
            print(text, flush=True)
        if pid is not None and not peers:
            return 1
        time.sleep(max(0.0, _INTERVAL - (time.monotonic() - began)))


class Rates:
    """Bytes per second of links, from one look to the next."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, str], tuple[float, int]] = {}
        self._rates: dict[tuple[int, str], deque[float]] = {}

    def take(self, peers: list[dict[str, Any]], now: float) -> None:
        """Note what all links have carried by `now`."""
        last, rates = self._last, self._rates
        self._last, self._rates = {}, {}
        for peer in peers:
            for link in peer["links"]:
                key = peer["pid"], peer["id"] + link["id"]
                total = link["rx_bytes"] + link["tx_bytes"]
                self._last[key] = now, total
                self._rates[key] = rates.get(key) or deque(maxlen=_SEEN)
                if key in last:
                    self._rates[key].append(max(0, total - last[key][1]) / max(0.001, now - last[key][0]))

    def of(self, peer: dict[str, Any], link: dict[str, Any]) -> deque[float]:
        """Return the rates of a link, oldest first."""
        return self._rates.get((peer["pid"], peer["id"] + link["id"])) or deque()


def _text(peer: dict[str, Any], rates: Rates | None) -> Iterator[str]:
    """Yield the lines of one peer's record."""
    role = "relays" if peer["relays"] else "does not relay"
    yield f"{peer['program']} (pid {peer['pid']}), up {screen.span(peer['uptime_s'])}, {role}"
    yield f"  {peer['id']}  {peer['ipv4']}  {peer['ipv6']}"
    if peer["listens"]:
        yield f"  listens at {', '.join(peer['listens'])}"
    if peer["relays"]:
        yield f"  passed on {peer['forwarded_packets']} packets, {screen.size(peer['forwarded_bytes'])}"
    if peer["clock_skew_s"] is not None and abs(peer["clock_skew_s"]) > CLOCK_SKEW:
        yield f"  clock: {peer['clock_skew_s']:+.0f} s beside the relays': set it (NTP)"
    if peer["certificate_expires"] is not None:
        yield f"  certificate: {(peer['certificate_expires'] - time.time()) / 86400:.0f} days left"
    yield from _bootstrap(peer)
    yield from _links(peer, rates)
    yield from _sockets(peer)
    yield from _sessions(peer)
    if peer["counters"]:
        yield "  counters"
        yield from screen.table([(str(count), name) for name, count in sorted(peer["counters"].items())], "    ")


def _bootstrap(peer: dict[str, Any]) -> Iterator[str]:
    if peer["bootstrap"]:
        yield "  bootstrap"
    for place in peer["bootstrap"]:
        text = f"    {place['url']}  {place['state']}"
        if place["state"] == "dialling" and not place["last_error"]:
            text += ", no answer so far"
        if place["last_error"]:
            text += f", {place['failures']} failed: {place['last_error']}"
        if place["next_try_s"] is not None:
            text += f"; next try in {place['next_try_s']:.1f} s"
        yield text


def _links(peer: dict[str, Any], rates: Rates | None) -> Iterator[str]:
    links = peer["links"]
    yield f"  links ({len(links)})" if links else "  no link"
    if rates is not None:
        links = sorted(links, key=lambda link: -(rates.of(peer, link) or [0.0])[-1])
    rows = []
    for link in links[:_LINKS]:
        marks = ["home"] if link["role"] == "home" else []
        marks += [name for name in ("throttled", "full") if link[name]]
        row = [
            link["id"][:8],
            link["url"] or f"from {link['host'] or 'behind a proxy'}",
            ", ".join([link["carrier"] + ("+udp" if _has_lane(link) else ""), link["scope"], *marks]),
            screen.seconds(link["rtt_s"]),
            "up " + screen.span(link["up_s"]),
            "in " + screen.size(link["rx_bytes"]),
            "out " + screen.size(link["tx_bytes"]),
        ]
        if rates is not None:
            seen = rates.of(peer, link)
            row += [f"{screen.size(seen[-1] if seen else 0)}/s", screen.sparkline(seen)]
        rows.append(row)
    yield from screen.table(rows, "    ")
    if len(links) > _LINKS:
        yield f"    and {len(links) - _LINKS} more"


def _has_lane(link: dict[str, Any]) -> bool:
    lane = link.get("lane")  # a process of an earlier version says nothing of it
    return lane is not None and lane["state"] == "live"


def _sockets(peer: dict[str, Any]) -> Iterator[str]:
    if peer["sockets"]:
        yield "  sockets"
    rows = [
        (f"{sock['address']} port {sock['port']}", f"{screen.size(sock['waiting_bytes'])} wait", f"{sock['lost']} lost")
        for sock in peer["sockets"]
    ]
    yield from screen.table(rows, "    ")


def _sessions(peer: dict[str, Any]) -> Iterator[str]:
    if peer["sessions"]:
        yield "  sessions"
    rows = []
    for session in peer["sessions"][:_LINKS]:
        state = session["state"] + (f" via {session['via'][:8]}" if session["via"] else "")
        state += ", chosen" if session["chosen"] else ""
        reason = session["why"] or (f"not direct: {session['why_not_direct']}" if session["why_not_direct"] else "")
        name = session["id"] if "." in session["id"] or ":" in session["id"] else session["id"][:8]
        rows.append((name, state, screen.seconds(session["rtt_s"]), reason))
    yield from screen.table(rows, "    ")
    if len(peer["sessions"]) > _LINKS:
        yield f"    and {len(peer['sessions']) - _LINKS} more"
