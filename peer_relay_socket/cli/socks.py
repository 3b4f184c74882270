"""`peer-relay socks`: a SOCKS5 server whose UDP associations are ports of an overlay host."""

from __future__ import annotations

from ..errors import ConfigError
from ..gateway.overlay_ports import OverlayPorts, parse_local
from ..gateway.socks import Socks
from ..limits import START_TIME
from ..scope import is_this_machine
from .arguments import Arguments
from .gateways import add_peer_options, serve


def command(arguments: list[str]) -> int:
    """Serve until SIGINT or SIGTERM, after printing ``socks <40-hex id> <ipv4> HOST:PORT``.

    Raises: SystemExit with status 2 and one line for bad input and for a port in use.
    """
    parser = Arguments(
        prog="peer-relay socks",
        description="Serve SOCKS5 UDP ASSOCIATE on loopback; datagrams to peers' addresses and .peer names travel the "
        "relay network. Prints one line when ready.",
    )
    parser.add_argument(
        "--listen", default="127.0.0.1:1080", metavar="[H:]P", help="where to listen (default 127.0.0.1:1080)"
    )
    parser.add_argument("--login", metavar="FILE", help="file with USER:PASSWORD, which clients must give (RFC 1929)")
    add_peer_options(parser)
    options = parser.parse_args(arguments)
    try:
        listen = parse_local(options.listen)
        if not is_this_machine(listen[0]):
            raise ConfigError(f"--listen {options.listen}: SOCKS passwords travel in the clear; listen on loopback")
        login = None if options.login is None else _login(options.login)
    except (ConfigError, OSError) as error:
        parser.refuse(error)

    def open_gateway(ports: OverlayPorts) -> str:
        interface = ports.interface
        gateway = Socks(ports, interface.loop, login)
        interface.host.runtime.submit(gateway.serve(listen)).result(START_TIME)
        return "{}:{}".format(*gateway.address)

    return serve(parser, {"bootstrap": options.bootstrap, "identity": options.identity}, open_gateway)


def _login(path: str) -> tuple[str, str]:
    with open(path, encoding="utf-8") as file:
        user, colon, password = file.readline().rstrip("\n").partition(":")
    if not (user and colon and password) or max(len(user.encode()), len(password.encode())) > 255:
        raise ConfigError(f"{path}: its first line is not USER:PASSWORD, each at most 255 bytes")
    return user, password
