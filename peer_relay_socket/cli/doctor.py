"""`peer-relay doctor`: what keeps this machine from its relays, and what helps. Lives here: its options, its text."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import sys
from dataclasses import replace
from typing import Any

from ..config import PeerConfig, peer_config
from ..errors import ConfigError
from ..observe.checks import Finding, nat, relays, running
from ..observe.checks import settings as check_settings
from ..observe.processes import ask_all, found
from .arguments import Arguments
from .asking import be_quiet, settings


def command(arguments: list[str]) -> int:
    """Look at everything that a link needs.

    Returns: 0 when nothing failed, 1 when something did.
    Raises: SystemExit with status 2 and one line for bad input.
    """
    parser = Arguments(
        prog="peer-relay doctor",
        description="Look at the settings and, for each relay, at names, TCP, TLS, clock and link, and at the NAT; say "
        "what helps where something is wrong. A fresh identity asks, unless --from names a process. Takes at most some "
        "5 s.",
    )
    parser.add_argument("--from", dest="pid", type=int, metavar="PID", help="look at the links of this process")
    parser.add_argument("--bootstrap", action="append", default=[], metavar="URL", help="relay to look at")
    parser.add_argument("--json", action="store_true", help='print an object {"checks": [...]}')
    parser.add_argument(
        "--bundle",
        metavar="FILE",
        help="write all of it there for others to read: no secrets, addresses and ids shortened",
    )
    options = parser.parse_args(arguments)
    checks = check_settings(os.environ)
    config = _config(parser, options.bootstrap, checks)
    peers = _peers(parser, options.pid)
    if options.pid is not None:
        urls = [place["url"] for peer in peers for place in peer["bootstrap"]]
        config = replace(config, bootstrap=tuple(dict.fromkeys((*options.bootstrap, *urls))))
    be_quiet(config)
    checks += relays(config, link=options.pid is None)
    checks += [finding for peer in peers for finding in running(peer)]
    checks += nat(config.ice_servers, bool(config.wrtc))
    if options.bundle is not None:
        try:
            with open(options.bundle, "w", opener=_private) as file:
                file.write(_bundle(checks))
        except OSError as error:
            parser.refuse(error)
    if options.json:
        print(json.dumps({"checks": [check._asdict() for check in checks]}))
    else:
        for check in checks:
            cure = f"\n{'':9}cure: {check.cure}" if check.cure else ""
            print(f"{check.state:7}  {check.check}: {check.target}: {check.detail}{cure}")
    return 1 if any(check.state == "failed" for check in checks) else 0


def _config(parser: Arguments, bootstrap: list[str], checks: list[Finding]) -> PeerConfig:
    """Return the settings to look at, and note what is wrong with those of the environment."""
    try:
        peer_config(bootstrap=bootstrap)
    except ConfigError as error:
        if bootstrap:
            parser.refuse(error)
        checks.append(Finding("settings", "environment", "failed", str(error), "mend or unset it"))
        clean = {name: text for name, text in os.environ.items() if not name.startswith("PEER_RELAY_")}
        os.environ.clear()
        os.environ.update(clean)
    return settings(parser, bootstrap)


def _peers(parser: Arguments, pid: int | None) -> list[dict[str, Any]]:
    """Return the records of the process to look at, or exit."""
    if pid is None:
        return []
    peers, complaints = ask_all([pid])
    if not peers:
        parser.error(f"--from {pid}: {complaints[0] if complaints else 'it holds no peer'}")
    return peers


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _bundle(checks: list[Finding]) -> str:
    peers, complaints = ask_all(found())
    try:
        version = importlib.metadata.version("peer-relay-socket")
    except importlib.metadata.PackageNotFoundError:
        version = "(not installed)"
    whole: dict[str, Any] = {
        "version": version,
        "python": sys.version,
        "system": platform.platform(),
        "checks": [check._asdict() for check in checks],
        "peers": peers,
        "complaints": complaints,
    }
    return shortened(json.dumps(whole, indent=1)) + "\n"


def shortened(text: str) -> str:
    """Return `text` with ids cut to 8 digits, addresses to their network, and no user or password in any URL."""
    text = re.sub(r"(?<![0-9a-f])([0-9a-f]{8})[0-9a-f]{32}(?![0-9a-f])", r"\1", text)
    text = re.sub(r"(?<=//)[^/@\s\"]+@", "", text)
    text = re.sub(r"(?<![\d.])(?!127\.|0\.)(\d{1,3}\.\d{1,3})\.\d{1,3}\.\d{1,3}(?![\d.])", r"\1.x.x", text)
    return re.sub(r"(?<![0-9a-f:])([0-9a-f]{2,4}:[0-9a-f]{1,4}:)[0-9a-f:]*:[0-9a-f:]+", r"\1:x", text)
