"""What ping and trace share: which peer is meant, and which peer asks.

Lives here: the options, speaking through another process, an asker of our own. May not live here: what is printed.

Law: an asker of our own takes a fresh key and serves nothing: it never takes the place of a running peer.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..address import Destination, Special, Spelling
from ..bridge.dialler import EMBEDDED_URL
from ..bridge.host import Host
from ..config import PeerConfig, peer_config
from ..errors import ConfigError
from ..limits import PING_ANSWER, PROBE_TIME
from ..observe.processes import NoProcessError, Process
from .arguments import Arguments

Line = Callable[[Any], object]


def add_options(parser: Arguments) -> None:
    """Add what ping and trace take alike."""
    parser.add_argument("peer", metavar="PEER", help="an id (40 hex digits), a .peer name or an address")
    parser.add_argument("--from", dest="pid", type=int, metavar="PID", help="ask through this process, as its peer")
    parser.add_argument("--bootstrap", action="append", default=[], metavar="URL", help="peer to join through")
    parser.add_argument("--json", action="store_true", help="print JSON objects, one a line")


def _destination(parser: Arguments, text: str, spelling: Spelling) -> Destination:
    """Return the peer that `text` names, or exit."""
    found = spelling.parse(text)
    if isinstance(found, Special):
        parser.error(f"argument PEER: {text!r} is no id, no .peer name and no address in {spelling.ipv4_network}")
    return found


def settings(parser: Arguments, bootstrap: list[str]) -> PeerConfig:
    """Return the settings of an asker of our own, or exit."""
    try:
        config = peer_config(bootstrap=bootstrap)
    except ConfigError as error:
        parser.refuse(error)
    if config.lan:
        return replace(config, identity=None)
    urls = config.bootstrap or (EMBEDDED_URL,)
    return replace(config, bootstrap=urls, port=None, identity=None, embedded=False)


def be_quiet(config: PeerConfig) -> None:
    """Log nothing, for the answer says what warnings would, but where PEER_RELAY_LOG asks for it."""
    if config.log is None:
        logging.getLogger("peer_relay").setLevel(logging.CRITICAL)


def ask(
    parser: Arguments,
    options: argparse.Namespace,
    request: dict[str, Any],
    own: Callable[[Host, Destination], Any],
    began: Line,
    emit: Line,
    finish: Callable[[dict[str, Any]], int],
) -> int:
    """Ask, through another process or as a peer of our own.

    Args: own: asks a peer as a host, and calls `emit`. began: called with {"from", "ipv4"}: the peer that asks.
        finish: shows the end of the answer, and returns the exit status.
    Returns: the exit status.
    """
    if options.pid is not None:
        return finish(_through(parser, options.pid, request, began, emit))
    config = settings(parser, options.bootstrap)
    peer = _destination(parser, options.peer, Spelling(config.ipv4_network))
    be_quiet(config)
    try:
        host = Host(config)
        try:
            host.start()
            began({"from": host.peer_id.hex(), "ipv4": host.spelling.ipv4(host.peer_id)})
            return finish(own(host, peer))
        finally:
            host.destroy(0.2)
    except (ConfigError, OSError) as error:
        parser.refuse(error)


def _through(parser: Arguments, pid: int, request: dict[str, Any], began: Line, emit: Line) -> dict[str, Any]:
    end: dict[str, Any] = {}
    try:
        with Process(pid) as process:
            process.send(**request)
            for answer in process.answers(PROBE_TIME + 2 * PING_ANSWER):
                if "from" in answer:
                    began(answer)
                elif "end" in answer:
                    end = answer
                else:
                    emit(answer)
    except (NoProcessError, ValueError) as error:
        parser.error(f"--from {pid}: {error}")
    del end["end"]
    return end
