"""`peer-relay forward`: local UDP ports that lead to ports of peers."""

from __future__ import annotations

from ..gateway.forward import Forward
from ..gateway.overlay_ports import OverlayPorts, parse_local, parse_peer_port
from .arguments import Arguments
from .gateways import add_peer_options, serve


def command(arguments: list[str]) -> int:
    """Serve until SIGINT or SIGTERM, after printing ``forward <40-hex id> <ipv4> HOST:PORT PEER:PORT``.

    Raises: SystemExit with status 2 and one line for bad input and for a port in use.
    """
    parser = Arguments(
        prog="peer-relay forward",
        usage="peer-relay forward [--bootstrap URL]... [--identity FILE] ([HOST:]PORT PEER:PORT)...",
        description="Let local programs reach UDP ports of peers: what is sent to a local port goes to the peer's, "
        "and the answers come back from there. Prints one line when ready.",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="[HOST:]PORT PEER:PORT",
        help="local port (0 = any free one; HOST is 127.0.0.1 if not given) and the peer's; PEER is an id, a .peer "
        "name or an address; several pairs may be given",
    )
    add_peer_options(parser)
    options = parser.parse_args(arguments)
    if len(options.words) % 2:
        parser.error(f"where does {options.words[-1]} lead? give pairs of [HOST:]PORT PEER:PORT")

    def open_gateway(ports: OverlayPorts) -> str:
        interface, ready = ports.interface, []
        for local, remote in zip(options.words[::2], options.words[1::2], strict=True):
            peer = parse_peer_port(remote, interface.spelling.parse)
            gateway = interface.run(Forward, ports, interface.loop, parse_local(local), *peer)
            ready += ["{}:{}".format(*gateway.address), remote]
        return " ".join(ready)

    return serve(parser, {"bootstrap": options.bootstrap, "identity": options.identity}, open_gateway)
