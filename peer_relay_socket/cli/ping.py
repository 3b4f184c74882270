"""`peer-relay ping`: is a peer there, by which way, and if not, why. Lives here: its options and its text."""

from __future__ import annotations

import json
from typing import Any, Final

from ..address import Destination
from ..bridge.host import Host
from ..limits import PING_MOST
from . import screen
from .arguments import Arguments
from .asking import add_options, ask

_COUNT: Final = 4
CURES: Final = {
    "no relay linked": "see `peer-relay doctor`",
    "nobody has this address": "is the peer running, in this network, and linked? `peer-relay status` there tells",
    "found, does not answer": "is its process stopped or overloaded? Or another network key is set there",
    "refuses us": "have it admit our id, or ask through a process that it admits (--from PID)",
    "port refused": "which ports are bound there? `peer-relay status` there tells",
    "answers no pings": "send it something instead",
}
"""What helps, by the state in which a question ended."""


def command(arguments: list[str]) -> int:
    """Ping a peer.

    Returns: 0 when it answered (and the port, if one is named, is bound), 1 when not.
    Raises: SystemExit with status 2 and one line for bad input.
    """
    parser = Arguments(
        prog="peer-relay ping",
        description="Ask a peer for a sign of life; its program hears nothing of it. Within 5 s it is said why none "
        "comes. A fresh identity asks, unless --from names a process.",
    )
    add_options(parser)
    parser.add_argument("port", nargs="?", type=int, default=0, metavar="PORT", help="say also whether it is bound")
    parser.add_argument("-c", dest="count", type=int, default=_COUNT, metavar="N", help="how often (default 4)")
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error(f"argument PORT: {options.port} is no port (1-65535)")
    if not 1 <= options.count <= PING_MOST:
        parser.error(f"argument -c: {options.count} is no number of pings (1-{PING_MOST})")

    def own(host: Host, peer: Destination) -> Any:
        return host.ping(peer, options.port, options.count, emit)

    def emit(pong: Any) -> None:
        print(json.dumps(pong) if options.json else _line(options.peer, pong), flush=True)

    def began(asker: Any) -> None:
        if not options.json:
            who = f"process {options.pid}" if options.pid is not None else "a fresh identity"
            port = f" port {options.port}" if options.port else ""
            print(f"ping {options.peer}{port} as {asker['from'][:8]} ({asker['ipv4']}, {who})", flush=True)

    def finish(end: dict[str, Any]) -> int:
        print(json.dumps(end) if options.json else summary(options.peer, end), flush=True)
        return 0 if end["received"] else 1

    request = {"ask": "ping", "peer": options.peer, "port": options.port, "count": options.count}
    try:
        return ask(parser, options, request, own, began, emit, finish)
    except KeyboardInterrupt:
        return 1


def _line(name: str, pong: dict[str, Any]) -> str:
    if pong["rtt_s"] is None:
        return f"no answer: seq {pong['seq']}"
    via = f" via {pong['via'][:8]}" if pong["via"] else ""
    udp = " by UDP" if pong.get("lane") else ""  # a process of an earlier version says nothing of it
    return f"{name} answers: seq {pong['seq']}, {pong['path']}{via}{udp}, {screen.seconds(pong['rtt_s'])}"


def summary(name: str, end: dict[str, Any]) -> str:
    """Return what became of a ping, as text."""
    lines = []
    found_by = f"found by {end['found_by'][:8]}" if end["found_by"] else ""
    if end["id"] is not None and end["id"] != name:
        lines.append(f"{name} is {end['id']}{found_by and ', ' + found_by}")
    elif found_by:
        lines.append(f"{name} was {found_by}")
    if end["received"]:
        lost = 100 * (end["sent"] - end["received"]) / end["sent"]
        times = "/".join(screen.seconds(end[key]) for key in ("min_s", "avg_s", "max_s"))
        lines.append(f"{end['sent']} sent, {end['received']} answered, {lost:.0f} % lost, min/avg/max {times}")
        if end["why_not_direct"]:
            lines.append(f"not direct: {end['why_not_direct']}")
    if end["state"] != "answered":
        lines.append(f"{end['state']}: {end['why']}; {CURES[end['state']]}")
    return "\n".join(lines)
