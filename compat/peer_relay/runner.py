"""`peer-relay run`: a Python program as `__main__`, its UDP sockets in the relay network.

Lives here: the command line, and what must hold before the program starts and when it ends. May not live here: how a
program is found and executed (program), what a socket does (sockets), which are refused (guard).

Law: what the program sent is on its way before the process ends, and the end waits for that only so long.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

from peer_relay_socket.admission import Admission
from peer_relay_socket.cli import native
from peer_relay_socket.cli.arguments import Arguments
from peer_relay_socket.config import peer_config
from peer_relay_socket.errors import ConfigError
from peer_relay_socket.limits import EXIT_TIME

from . import program

_MODE: Final = "PEER_RELAY_RUN"
"""What children find in their environment: "closed" or "direct"."""
_TAKES_VALUE: Final = ("--bootstrap", "--identity", *native.TAKES_VALUE)


def command(arguments: list[str]) -> int:
    """Run a program and return 0 when it returns.

    Raises: SystemExit with status 2 and one line for bad input; whatever the program raises, with our frames hidden
    from what the interpreter then prints.
    """
    own, words = _split(arguments)
    parser = _parser()
    options = parser.parse_args(own)
    if options.module is None and not words:
        parser.error("which program? give PROGRAM or -m MODULE")
    if options.module is None:
        words = native.locate(words)
    if options.native or (options.module is None and native.is_native(words[0])):
        return native.run(parser, options, _as_process(options.module, words))
    native.refuse_without_namespace(parser, options)
    _configure(parser, options.bootstrap, options.identity)
    _take_children_along(allow_direct=options.allow_direct)
    _redirect_udp(allow_direct=options.allow_direct)
    _flush_at_exit()
    try:
        if options.module is None:
            program.run_path(words)
        else:
            program.run_module(options.module, words)
    except program.NoProgramError as error:
        parser.refuse(error)
    return 0


def _as_process(module: str | None, words: list[str]) -> list[str]:
    """Return the command by which a program is started as a process."""
    if module is not None:
        return [sys.executable, "-m", module, *words]
    return words if native.is_native(words[0]) else [sys.executable, *words]


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Part our options from the program and its own: all after SCRIPT, or after ``-m MODULE``, is the program's."""
    i = 0
    while i < len(arguments):
        word = arguments[i]
        if word == "--":
            return arguments[:i], arguments[i + 1 :]
        if word.startswith("-m"):
            i += 2 if word == "-m" else 1
            break
        if not word.startswith("-") or word == "-":
            break
        i += 2 if word in _TAKES_VALUE else 1
    return arguments[:i], arguments[i:]


def _parser() -> Arguments:
    parser = Arguments(
        prog="peer-relay run",
        usage="peer-relay run [--bootstrap URL]... [--identity FILE] [OPTION]... (PROGRAM | -m MODULE) [ARG...]",
        description="Run a program, unmodified, with its UDP in the relay network: a Python program in this process, "
        "any other, or with --native a Python program too, in a network namespace of its own.",
        allow_abbrev=False,
    )
    parser.add_argument("-m", dest="module", metavar="MODULE", help="run a library module as `python -m` does")
    parser.add_argument("--bootstrap", action="append", default=[], metavar="URL", help="peer to join through")
    parser.add_argument("--identity", metavar="FILE", help="key file, made if absent (default: a fresh key)")
    parser.add_argument("--allow-direct", action="store_true", help="let real UDP sockets that escape the patch be")
    native.add_options(parser)
    return parser


def _configure(parser: Arguments, bootstrap: list[str], identity: str | None) -> None:
    """Check the settings and hand them on as environment variables: children that use this package see them too."""
    try:
        config = peer_config(bootstrap=bootstrap, identity=identity)
        Admission(config)  # read for its complaints
        for setting in ("allow_links", "deny_links", "allow_datagrams", "deny_datagrams"):
            path = getattr(config, setting)
            if path is not None:
                os.environ["PEER_RELAY_" + setting.upper()] = os.path.abspath(path)
        if config.identity is not None:
            # Here, because it loads cryptography: 20 ms that a program without a key file may never need.
            from peer_relay_socket.identity import Identity

            Identity.load_or_create(config.identity)
            os.environ["PEER_RELAY_IDENTITY"] = os.path.abspath(config.identity)
        if bootstrap:
            os.environ["PEER_RELAY_BOOTSTRAP"] = ",".join(config.bootstrap)
        if config.port is not None:  # now, so that a port in use is our error and not the program's
            from peer_relay_socket.surface.peer import default_peer

            default_peer().start()
    except (ConfigError, OSError) as error:
        parser.refuse(error)


def _take_children_along(*, allow_direct: bool) -> None:
    """Have every Python that the program starts call `join_as_child`."""
    paths = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "children"), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.environ[_MODE] = "direct" if allow_direct else "closed"


def join_as_child() -> None:
    """This Python was started by a program under `peer-relay run`: do for it what that did, but under an identity of
    its own, for two processes with one key throw each other off the relays."""
    mode = os.environ.get(_MODE)
    if mode is not None:
        os.environ.pop("PEER_RELAY_IDENTITY", None)
        os.environ.pop("PEER_RELAY_PORT", None)
        _redirect_udp(allow_direct=mode == "direct")
        _flush_at_exit()


def _redirect_udp(*, allow_direct: bool) -> None:
    from . import guard, patching, sockets

    patching.patch()
    if not allow_direct:
        guard.refuse_real_udp(sockets.is_exempt)


def _flush_at_exit() -> None:
    # A normal end flushes through atexit: `runtime`, imported before the program, registered first and so runs last.
    from peer_relay_socket.bridge import runtime

    leave = os._exit

    def _exit(status: int) -> NoReturn:
        try:
            if not runtime.on_relay_thread():
                runtime.stop_current()
        finally:
            leave(status)

    _exit.__doc__ = leave.__doc__
    os._exit = _exit
    runtime.when_started(_flush_on_sigterm)


def _flush_on_sigterm() -> None:
    """Let SIGTERM, where it would kill at once, wait for what was sent. Only once the network is in use: before that a
    program that asks finds the signal as it should be. Only the main thread may ask for signals."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    from peer_relay_socket.bridge import runtime

    signal.signal(number, signal.SIG_DFL)  # a second one does not wait
    runtime.stop_from_signal(EXIT_TIME)
    os.kill(os.getpid(), number)
