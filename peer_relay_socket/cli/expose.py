"""`peer-relay expose`: a local UDP server that peers reach."""

from __future__ import annotations

import sys
from typing import Final

from ..errors import ConfigError
from ..gateway.expose import Expose
from ..gateway.overlay_ports import OverlayPorts, parse_local, parse_port
from .arguments import Arguments
from .gateways import add_peer_options, serve

_TRUST: Final = "expose: peers appear as addresses of 127.0.0.0/8, which many servers trust: see what yours allows them"
_NOBODY: Final = (
    "expose: no peer is served: name some (--allow FILE or PEER_RELAY_ALLOW_DATAGRAMS, one id a line), or say --anyone"
)


def command(arguments: list[str]) -> int:
    """Serve until SIGINT or SIGTERM, after printing ``expose <40-hex id> <ipv4> HOST:PORT OVERLAY-PORT``.

    Raises: SystemExit with status 2 and one line for bad input and for a server that loopback does not reach.
    """
    parser = Arguments(
        prog="peer-relay expose",
        description="Let peers reach a local UDP server. Each peer appears as a loopback address of its own "
        "(100.64.1.2 as 127.64.1.2), with the port that it sends from. Prints one line when ready.",
        epilog="A server that answers from another port than it was asked at (TFTP) needs `peer-relay run`.",
    )
    parser.add_argument("server", metavar="[HOST:]PORT", help="the server (HOST is 127.0.0.1 if not given)")
    parser.add_argument("--as", dest="port", metavar="PORT", help="port that peers see (default: the server's)")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--allow", metavar="FILE", help="serve the peers in FILE only (one id a line)")
    who.add_argument("--anyone", action="store_true", help="serve every peer")
    add_peer_options(parser)
    options = parser.parse_args(arguments)
    try:
        server = parse_local(options.server)
        port = server[1] if options.port is None else parse_port(options.port)
        if not server[1] or not port:
            raise ConfigError("port 0 is no server's")
        if ":" in server[0]:
            raise ConfigError(f"{options.server!r}: IPv6 has one loopback address; give the server's IPv4 address")
    except ConfigError as error:
        parser.refuse(error)

    def open_gateway(ports: OverlayPorts) -> str:
        interface = ports.interface
        gateway = interface.run(
            lambda: Expose(ports, interface.loop, server, port, anyone=options.anyone)  # run takes no keywords
        )
        print(_TRUST, file=sys.stderr, flush=True)
        if not gateway.admits:
            print(_NOBODY, file=sys.stderr, flush=True)
        return f"{server[0]}:{server[1]} {port}"

    settings = {"bootstrap": options.bootstrap, "identity": options.identity, "allow_datagrams": options.allow}
    return serve(parser, settings, open_gateway)
