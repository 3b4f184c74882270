"""`peer-relay run` for native programs: which programs those are, and what their options mean.

`run` itself belongs to the Python side (peer_relay.runner), which asks here first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from typing import Final

from ..config import peer_config
from ..errors import ConfigError
from .arguments import Arguments

TAKES_VALUE: Final = ("--tcp", "--tcp-allow", "--dns", "--rate")
_PYTHONS: Final = ("python", "pypy")


def add_options(parser: Arguments) -> None:
    """Add what concerns native programs to the parser of `run`."""
    group = parser.add_argument_group("native programs (Linux)")
    group.add_argument("--native", action="store_true", help="put a Python program into a namespace, too")
    group.add_argument(
        "--tcp",
        choices=("none", "real", "overlay"),
        help="TCP in the namespace: none (the default) refuses it at once; real is the machine's own, by pasta(1); "
        "overlay carries it between programs that both run so",
    )
    group.add_argument(
        "--tcp-allow", action="append", metavar="PORT", help="a port that peers may connect to (with --tcp overlay)"
    )
    group.add_argument("--dns", choices=("host",), help="ask this machine's name servers for names other than .peer")
    group.add_argument("--rate", type=float, metavar="MBIT", help="megabits per second that programs may send")


def locate(words: list[str]) -> list[str]:
    """Return `words` with a program that is no path, but a name on PATH, as its path there."""
    if words and os.sep not in words[0] and not os.path.lexists(words[0]):
        found = shutil.which(words[0])
        if found is not None:
            return [found, *words[1:]]
    return words


def is_native(path: str) -> bool:
    """Return whether a program is an executable that is no Python: an ELF file, or a script of another interpreter."""
    try:
        with open(path, "rb") as file:
            head = file.read(256)
    except OSError:
        return False
    if not os.access(path, os.X_OK):
        return False
    if head.startswith(b"\x7fELF"):
        return True
    if not head.startswith(b"#!"):
        return False
    words = head[2:].split(b"\n", 1)[0].decode("utf-8", "replace").split()
    names = [os.path.basename(word) for word in words if not word.startswith("-") and "=" not in word]
    interpreter = names[1] if names[:1] == ["env"] and len(names) > 1 else (names or [""])[0]
    return bool(interpreter) and not interpreter.startswith(_PYTHONS)


def refuse_without_namespace(parser: Arguments, options: argparse.Namespace) -> None:
    """Exit with status 2 where an option asks for what a Python program in this process does not have."""
    for name in ("tcp", "tcp_allow", "dns", "rate"):
        if getattr(options, name) is not None:
            parser.error(f"--{name.replace('_', '-')} is for programs in a namespace: add --native")


def run(parser: Arguments, options: argparse.Namespace, argv: list[str]) -> int:  # noqa: RET503  # error() does not return
    """Run a program in a namespace of its own. Returns: its exit status.

    Raises: SystemExit with status 2 and one line where the machine forbids it, and for bad input.
    """
    if sys.platform == "linux":
        if options.tcp_allow is not None and options.tcp != "overlay":
            parser.error("--tcp-allow is for --tcp overlay")
        if options.rate is not None and not 0.01 <= options.rate <= 100_000:
            parser.error(f"--rate {options.rate:g}: not between 0.01 and 100000 megabits per second")
        from ..gateway import native
        from ..gateway.names import host_names
        from ..gateway.namespace import ForbiddenError

        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        try:
            config = peer_config(bootstrap=options.bootstrap, identity=options.identity)
            rate = None if options.rate is None else options.rate * 125_000
            ports = None
            if options.tcp == "overlay":
                from ..gateway.overlay_ports import parse_port

                ports = frozenset(map(parse_port, options.tcp_allow or ()))
            pasta = None
            if options.tcp == "real":
                from ..gateway.pasta import find

                pasta = find()
            program = native.Program(argv, rate, host_names() if options.dns else None, ports, pasta)
            return native.run(program, config, ignored)
        except ForbiddenError as error:
            parser.error(str(error))
        except (ConfigError, OSError) as error:
            parser.refuse(error)
    else:
        parser.error("native programs need Linux; `peer-relay forward`, `expose` and `socks` do not")
