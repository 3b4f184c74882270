"""The `peer-relay` command. Lives here: which commands there are. May not live here: what they do.

Law: a command's module is imported when the command is asked for, by name, so `peer-relay id` loads no event loop
and the outermost room (`peer_relay`, which holds `run`) is not imported from here.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from .. import __version__
from ..config import unknown_settings
from .arguments import Arguments

COMMANDS: Final = {
    "node": ("peer_relay_socket.cli.node", "serve as a relay node until interrupted"),
    "id": ("peer_relay_socket.cli.identity", "show the id and addresses of a key file, making it if absent"),
    "forward": ("peer_relay_socket.cli.forward", "let local programs reach UDP ports of peers"),
    "expose": ("peer_relay_socket.cli.expose", "let peers reach a local UDP server"),
    "socks": ("peer_relay_socket.cli.socks", "serve SOCKS5 UDP ASSOCIATE into the relay network"),
    "status": ("peer_relay_socket.cli.status", "show what the running peers of this user know"),
    "ping": ("peer_relay_socket.cli.ping", "ask a peer for a sign of life, or say why none comes"),
    "trace": ("peer_relay_socket.cli.trace", "show the relays on the way to a peer"),
    "doctor": ("peer_relay_socket.cli.doctor", "find what keeps this machine from its relays"),
    "run": ("peer_relay.runner", "run a program, Python or not, with its UDP in the relay network"),
}
"""Name -> module with a function ``command(arguments: list[str]) -> int``, and one line of help."""

_SILENT: Final = ("id", "status", "ping", "trace")
"""Commands that make no peer, or one whose log is not shown: they tell of settings that there are not themselves."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args: arguments: the words after ``peer-relay``; None = those of the process.
    Raises: SystemExit after help or bad input (status 2); under ``run``, whatever the program raises.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] not in COMMANDS:
        _refuse(words)
    if words[0] in _SILENT:
        for complaint in unknown_settings(os.environ):
            print(f"peer-relay {words[0]}: {complaint}", file=sys.stderr)
    status: int = importlib.import_module(COMMANDS[words[0]][0]).command(words[1:])
    return status


def _refuse(words: list[str]) -> NoReturn:
    """Exit: with help if asked for it, else with the reason why `words` are no command."""
    parser = Arguments(
        prog="peer-relay",
        usage="peer-relay COMMAND ...",
        description="UDP programs over a peer-to-peer relay network.",
        epilog="peer-relay COMMAND --help says more about one command.",
    )
    parser.add_argument("--version", action="version", version=f"peer-relay {__version__}")
    commands = parser.add_argument_group("commands")
    for name, (_, purpose) in COMMANDS.items():
        commands.add_argument(name, nargs="?", help=purpose)
    if not words:
        parser.error(f"which command? one of {', '.join(COMMANDS)}")
    if not words[0].startswith("-"):
        parser.error(f"{words[0]!r} is no command; there are {', '.join(COMMANDS)}")
    parser.parse_args(words)
    parser.error(f"which command? one of {', '.join(COMMANDS)}")
