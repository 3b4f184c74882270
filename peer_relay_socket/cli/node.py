"""`peer-relay node`: a peer whose job is relaying. Lives here: its options and its life as a process."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from ..bridge.host import open_hosts
from ..bridge.log import log
from ..bridge.runtime import Runtime
from ..config import peer_config
from ..errors import ConfigError
from ..limits import DRAIN_TIME, JOIN_TIME, START_TIME
from ..observe import metrics
from ..observe.admin import Admin
from ..scope import is_this_machine
from ..surface.peer import Peer
from .arguments import Arguments, describe
from .json_log import log_as_json
from .notify import notify
from .stopping import RELOAD, STOP, signals_held

T = TypeVar("T")


def command(arguments: list[str]) -> int:
    """Serve until SIGINT or SIGTERM, after printing ``node <40-hex id> <ipv4> ws://H:P``. SIGHUP: read the lists of
    peers and the certificate again.

    Raises: SystemExit with status 2 and one line: a port in use, a wrong URL, a key file that is broken or that
    others can read, a PEER_RELAY_* variable that cannot mean anything.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.host is None:
        options.host = "" if _on_lan() else "127.0.0.1"
    if options.port is None and not os.environ.get("PEER_RELAY_PORT"):
        options.port = 0
    admin = _admin(parser, options)
    if options.log_format == "json":
        log_as_json(parser)
    with signals_held(*STOP, *RELOAD) as next_signal:
        try:
            peer = Peer(
                host=options.host,
                port=options.port,
                bootstrap=tuple(options.bootstrap),
                identity=options.identity,
                npm_peers=options.npm_peers,
                origins=tuple(options.origin),
                trusted_proxies=tuple(options.trusted_proxy),
                allow_links=options.allow_links,
                deny_links=options.deny_links,
                public_url=options.public_url,
                public_udp=options.public_udp,
                tls_cert=options.tls_cert,
                tls_key=options.tls_key,
            )
            try:
                if admin is not None:
                    _serve_admin(parser, admin, options.admin)
                if options.bootstrap:  # an id that is in no key file may still change until the first link is up
                    peer.wait_connected(JOIN_TIME)
                print("node", peer.id.hex(), peer.address, peer.url, flush=True)
                notify("READY=1", f"STATUS=serves {peer.url} as {peer.id.hex()}")
                while next_signal() not in STOP:
                    _reload()
            finally:
                notify("STOPPING=1")
                _leave(admin)
        except socket.gaierror as error:
            parser.error(f"--host {options.host}: {error.strerror}")
        except (ConfigError, OSError) as error:
            parser.refuse(error)
    return 0


def _reload() -> None:
    """Read files again that may have changed; one that is wrong leaves what was read before in force."""
    for host in open_hosts():
        try:
            host.reload()
            log.info("= lists of peers and certificate were read again")
        except OSError as error:
            log.warning("! the certificate stays as it was: %s", describe(error))


def _leave(admin: Admin | None) -> None:
    """Be not ready, say goodbye to every neighbour, end; within DRAIN_TIME seconds."""
    end = time.monotonic() + DRAIN_TIME
    if admin is not None:
        _on_loop(admin.drain())
    for host in open_hosts():
        host.destroy(max(0.5, end - time.monotonic() - 1.0))


def _on_lan() -> bool:
    try:
        return peer_config().lan
    except ConfigError:  # which making the peer tells of
        return False


def _admin(parser: Arguments, options: argparse.Namespace) -> Admin | None:
    """Return the admin server that is asked for, not yet serving; exit for one that may not be."""
    if options.admin is None:
        if options.admin_token_file is not None:
            parser.error("--admin-token-file: of no use without --admin")
        return None
    host, colon, port = options.admin.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        parser.error(f"--admin: {options.admin!r} is not HOST:PORT")
    token = None
    if options.admin_token_file is not None:
        try:
            token = Path(options.admin_token_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"--admin-token-file {options.admin_token_file}: {getattr(error, 'strerror', None) or error}")
        if not token:
            parser.error(f"--admin-token-file {options.admin_token_file}: no token in it")
    if token is None and not is_this_machine(host):
        parser.error(f"--admin {options.admin}: off loopback it needs --admin-token-file")
    return Admin(host, int(port), token)


def _serve_admin(parser: Arguments, admin: Admin, place: str) -> None:
    try:
        port = _on_loop(admin.start())
    except OSError as error:
        parser.error(f"--admin {place}: {os.strerror(error.errno) if error.errno else error}")
    try:
        metrics.library()
    except metrics.NoLibraryError as error:
        print(f"peer-relay node: {error}", file=sys.stderr, flush=True)
    if place.endswith(":0"):
        print(f"peer-relay node: admin at http://{place.removesuffix('0')}{port}/", file=sys.stderr, flush=True)


def _on_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    return Runtime.current().submit(coroutine).result(START_TIME)


def _parser() -> Arguments:
    parser = Arguments(
        prog="peer-relay node",
        description="Serve as a relay node until interrupted. Prints one line when ready: node ID IPV4 URL.",
    )
    parser.add_argument(
        "--host", metavar="H", help="interface to serve on (default 127.0.0.1; with PEER_RELAY_LAN all)"
    )
    parser.add_argument(
        "--port", type=int, metavar="P", help="TCP port; 0 = any free one (default: PEER_RELAY_PORT, 0)"
    )
    parser.add_argument("--bootstrap", action="append", default=[], metavar="URL", help="peer to join through")
    parser.add_argument("--identity", metavar="FILE", help="key file, made if absent (default: a fresh key)")
    parser.add_argument("--npm-peers", action="store_true", default=None, help="accept npm peers, which have no keys")
    parser.add_argument(
        "--origin", action="append", default=[], help="web page that may link to it: https://example.org"
    )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="reverse proxy, or network of them, whose X-Forwarded-For is believed",
    )
    parser.add_argument("--allow-links", metavar="FILE", help="link to the peers in FILE only (one id a line)")
    parser.add_argument("--deny-links", metavar="FILE", help="link to none of the peers in FILE; read again on change")
    parser.add_argument("--public-url", metavar="URL", help="URL under which others can dial this node")
    parser.add_argument(
        "--public-udp", metavar="H:P", help="IPv4 address and port at which others reach its UDP port, behind a proxy"
    )
    parser.add_argument("--admin", metavar="H:P", help="serve /livez, /readyz, /metrics, /status and a page here")
    parser.add_argument("--admin-token-file", metavar="FILE", help="token that --admin asks for; needed off loopback")
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="json: an object a line, from level info on",
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="serve wss:// with this certificate chain (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="its key (PEM; default: in the file of --tls-cert)")
    return parser
