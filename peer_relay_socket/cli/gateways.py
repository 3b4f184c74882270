"""What `forward`, `expose` and `socks` share as processes: their options, the ready line, their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..config import peer_config
from ..errors import ConfigError
from ..gateway.overlay_ports import OverlayPorts
from .arguments import Arguments
from .stopping import STOP, signals_held


def add_peer_options(parser: Arguments) -> None:
    """Add the options by which a command's peer takes part in the network."""
    parser.add_argument("--bootstrap", action="append", default=[], metavar="URL", help="peer to join through")
    parser.add_argument("--identity", metavar="FILE", help="key file, made if absent (default: a fresh key)")


def serve(parser: Arguments, settings: dict[str, Any], open_gateway: Callable[[OverlayPorts], str]) -> int:
    """Take part in the network, open a gateway, print the ready line, and serve until SIGINT or SIGTERM.

    Args: settings: keywords of `peer_config`. open_gateway: opens it; returns what the ready line ends in.
    Raises: SystemExit with status 2 and one line for what cannot be opened.
    """
    with signals_held(*STOP) as next_signal:
        try:
            ports = OverlayPorts(peer_config(**settings))
            interface = ports.interface
            peer_id = interface.start()
            try:
                ready = open_gateway(ports)
                print(parser.prog.split()[-1], peer_id.hex(), interface.spelling.ipv4(peer_id), ready, flush=True)
                next_signal()
            finally:
                interface.close()
        except (ConfigError, OSError) as error:
            parser.refuse(error)
    return 0
