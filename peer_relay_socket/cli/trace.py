"""`peer-relay trace`: the relays on the way to a peer. Lives here: its options and its text."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from ..address import Destination
from ..bridge.host import Host
from . import screen
from .arguments import Arguments
from .asking import add_options, ask
from .ping import CURES


def command(arguments: list[str]) -> int:
    """Trace the way to a peer.

    Returns: 0 when the peer at its end answered, 1 when not.
    Raises: SystemExit with status 2 and one line for bad input.
    """
    parser = Arguments(
        prog="peer-relay trace",
        description="Show every relay on the way to a peer, with the round trip to it, and why the way is not direct. "
        "What is behind the first relay is what relays say. A fresh identity asks, unless --from names a process.",
    )
    add_options(parser)
    options = parser.parse_args(arguments)
    numbers = count(1)

    def own(host: Host, peer: Destination) -> Any:
        return host.trace(peer, emit)

    def emit(hop: Any) -> None:
        if not options.json:
            where = f"  {hop['url']}" if hop["url"] else ""
            udp = "  by UDP" if hop.get("lane") else ""  # a process of an earlier version says nothing of it
            name = "no answer" if hop["id"] is None else f"{hop['id']}  {screen.seconds(hop['rtt_s'])}{where}{udp}"
            print(f"{next(numbers):2}  {name}", flush=True)

    def began(asker: Any) -> None:
        if not options.json:
            who = f"process {options.pid}" if options.pid is not None else "a fresh identity"
            print(f"trace {options.peer} as {asker['from'][:8]} ({asker['ipv4']}, {who})", flush=True)

    def finish(end: dict[str, Any]) -> int:
        if options.json:
            print(json.dumps(end), flush=True)
        elif end["state"] != "answered":
            print(f"{end['state']}: {end['why']}; {CURES[end['state']]}", flush=True)
        elif end["why_not_direct"]:
            print(f"not direct: {end['why_not_direct']}", flush=True)
        return 0 if end["state"] == "answered" else 1

    try:
        return ask(parser, options, {"ask": "trace", "peer": options.peer}, own, began, emit, finish)
    except KeyboardInterrupt:
        return 1
