"""`peer-relay run`: a Python program as `__main__`, its UDP sockets in the relay network.

Lives here: the command line, and what must hold before the program starts and when it ends. May not live here: how a
program is found and executed (program), what a socket does (sockets), which are refused (guard), how it ends (leaving).

Law: the words of the command line mean what they mean to `python`, but for those that begin with two dashes.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

from peer_relay_socket.admission import Admission
from peer_relay_socket.cli import native
from peer_relay_socket.cli.arguments import Arguments
from peer_relay_socket.config import peer_config
from peer_relay_socket.dependencies import unshadowed
from peer_relay_socket.environment import keep_environment
from peer_relay_socket.errors import ConfigError

from . import guard, program

_MODE: Final = "PEER_RELAY_RUN"
"""What children find in their environment: "closed" or "direct"."""
_FLAGS: Final = frozenset("bBdEiIOPqsSuvV?")
"""Options of the interpreter without a value."""
_LOSES_FILES: Final = ("chroot", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid")
_FORMS: Final[dict[str, Callable[[list[str]], None]]] = {
    "-m": lambda words: program.run_module(words[1], words[2:]),
    "-c": lambda words: program.run_text(words[1], words[2:]),
    "-": lambda words: program.run_stdin(words[1:]),
}
_TAKES_VALUE: Final = ("--bootstrap", "--identity", *native.TAKES_VALUE)


def command(arguments: list[str]) -> int:
    """Run a program and return 0 when it returns.

    Raises: SystemExit with status 2 and one line for bad input; whatever the program raises, with our frames hidden
    from what the interpreter then prints.
    """
    own, flags, words = _split(arguments)
    parser = _parser()
    options = parser.parse_args(own)
    if not words:
        parser.error("which program? give PROGRAM, -m MODULE, -c CODE or -")
    python = words[0] in _FORMS
    if not python:
        words = native.locate(words)
    if options.native or (not python and native.is_native(words[0])):
        return native.run(parser, options, _as_process(flags, words))
    native.refuse_without_namespace(parser, options)
    if flags:
        _start_anew(parser, flags, [*own, *words])
    inherited = [] if options.allow_direct else guard.inherited()
    if inherited:
        parser.error(
            f"descriptor {inherited[0]} is a real UDP socket, which would send past the relay network: {guard.WAYS_OUT}"
        )
    _forget_own_folder()
    _configure(parser, options.bootstrap, options.identity)
    _take_children_along(allow_direct=options.allow_direct)
    _join(allow_direct=options.allow_direct)
    try:
        _FORMS.get(words[0], program.run_path)(words)
    except program.NoProgramError as error:
        parser.refuse(error)
    return 0


def _as_process(flags: list[str], words: list[str]) -> list[str]:
    """Return the command by which a program is started as a process."""
    return words if words[0] not in _FORMS and native.is_native(words[0]) else [sys.executable, *flags, *words]


def _split(arguments: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Part our options, the interpreter's and the program with its own words, as `python` does: all after SCRIPT, - or
    the value of -m or -c is the program's. The latter two come as words of their own."""
    own: list[str] = []
    flags: list[str] = []
    words = list(arguments)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        if word.startswith("--") or word == "-h":
            own += [word, *words[:1]] if word in _TAKES_VALUE else [word]
            del words[: int(word in _TAKES_VALUE)]
            continue
        for i, letter in enumerate(word[1:], 1):
            if letter in "mcWX":
                rest = [word[i + 1 :]] if word[i + 1 :] else words[:1]
                del words[: 0 if word[i + 1 :] else 1]
                if letter in "mc" and rest:
                    return own, flags, [f"-{letter}", *rest, *words]
                flags += [f"-{letter}", *rest]
                break
            if letter not in _FLAGS:
                own.append(word)
                break
            flags.append(f"-{letter}")
    return own, flags, words


def _start_anew(parser: Arguments, flags: list[str], words: list[str]) -> NoReturn:
    """Become an interpreter with `flags`, which are read only when one starts."""
    if "-S" in flags or "-I" in flags or "-E" in flags:
        parser.error("-S, -I and -E keep the interpreter from finding this package, or its settings: leave them out")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *flags, "-m", "peer_relay", "run", *words])  # noqa: S606  # no shell


def _parser() -> Arguments:
    parser = Arguments(
        prog="peer-relay run",
        usage="peer-relay run [--bootstrap URL]... [--identity FILE] [OPTION]... [PYTHON OPTION]... "
        "(PROGRAM | -m MODULE | -c CODE | -) [ARG...]",
        description="Run a program, unmodified, with its UDP in the relay network: a Python program in this process, "
        "any other, or with --native a Python program too, in a network namespace of its own.",
        allow_abbrev=False,
    )
    parser.add_argument("--bootstrap", action="append", default=[], metavar="URL", help="peer to join through")
    parser.add_argument("--identity", metavar="FILE", help="key file, made if absent (default: a fresh key)")
    parser.add_argument("--allow-direct", action="store_true", help="let real UDP sockets that escape the patch be")
    native.add_options(parser)
    return parser


def _forget_own_folder() -> None:
    """Leave out of sys.path where `peer-relay` lies, or the current directory, which `python -m` put there: the
    program's own folder takes that place, and until then modules there are not what we import."""
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.abspath(os.__file__))


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
            from peer_relay_socket.bridge.host_key import keys_at_hand
            from peer_relay_socket.identity import Identity

            path = os.environ["PEER_RELAY_IDENTITY"] = os.path.abspath(config.identity)
            keys_at_hand[path] = Identity.load_or_create(config.identity)
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
    its own, for two processes with one key throw each other off the relays. One that the program became by os.exec* is
    that program."""
    mode = os.environ.get(_MODE)
    if mode is not None:
        from . import executing

        if not executing.arrive():
            os.environ.pop("PEER_RELAY_IDENTITY", None)
            os.environ.pop("PEER_RELAY_PORT", None)
        _join(allow_direct=mode == "direct")


def _join(*, allow_direct: bool) -> None:
    """Put this process's UDP sockets into the network."""
    from . import executing, leaving, patching, sockets

    keep_environment()
    patching.patch()
    if not allow_direct:
        guard.refuse_real_udp(sockets.is_exempt)
    leaving.flush_first()
    executing.stay_over_exec()
    sockets.load_with_first_socket(_load_network)
    for name in _LOSES_FILES:
        if hasattr(os, name):
            setattr(os, name, _loading_first(getattr(os, name)))


def _load_network() -> None:
    """Import all that the network needs, which a program that has dropped its privileges could not."""
    with unshadowed():
        for module in ("driver", "state_file", "ending"):
            importlib.import_module(f"peer_relay_socket.bridge.{module}")


def _loading_first(plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def call(*arguments: Any, **keywords: Any) -> Any:
        _load_network()
        return plain(*arguments, **keywords)

    return call
