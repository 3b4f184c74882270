"""A Python program run as `__main__` inside a process that is already running.

Lives here: what ``python SCRIPT`` and ``python -m MODULE`` do for a program, done again (`runpy` cannot: it puts the
old `__main__` back, under the feet of threads that outlive the main one). May not live here: anything about sockets.

Law: the program cannot tell. Its argv, sys.path, `__main__`, exit status, signals and tracebacks are those that the
interpreter itself would have given it.
"""

from __future__ import annotations

import builtins
import importlib.util
import io
import os
import pkgutil
import sys
from collections.abc import Callable
from importlib.machinery import BuiltinImporter, ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Final


class NoProgramError(Exception):
    """There is no such script or module; the text says which."""


def run_path(argv: list[str]) -> None:
    """Run what ``python ARGV...`` runs: a source file, a compiled one, or a directory or zip with a __main__.py.

    Raises: NoProgramError before anything ran; then whatever the program raises.
    """
    path = argv[0]
    sys.argv[:] = argv
    if os.path.isdir(path) or _is_archive(path):
        _replace_path0(os.path.abspath(path))
        spec = PathFinder.find_spec("__main__", [os.path.abspath(path)])
        if spec is None:
            raise NoProgramError(f"can't find '__main__' module in {path!r}")
        _execute(_main_of(spec, package=""), lambda: _code_of(spec, "__main__"))
        return
    absolute = os.path.abspath(path)
    try:
        with io.open_code(absolute) as file:
            content = file.read()
    except OSError as error:
        raise NoProgramError(f"can't open file {path!r}: {error.strerror}") from None
    _replace_path0(os.path.dirname(os.path.realpath(path)))
    compiled = content[: len(importlib.util.MAGIC_NUMBER)] == importlib.util.MAGIC_NUMBER
    main = ModuleType("__main__")
    main.__file__ = absolute
    main.__cached__ = None  # type: ignore[attr-defined]  # as the interpreter leaves it
    if compiled:
        main.__loader__ = SourcelessFileLoader("__main__", absolute)
        _execute(main, lambda: _read_compiled(content, absolute))
    else:
        main.__loader__ = SourceFileLoader("__main__", absolute)
        _execute(main, lambda: compile(content, absolute, "exec", dont_inherit=True))


def run_text(text: str, arguments: list[str]) -> None:
    """Run what ``python -c TEXT ARGUMENTS...`` runs. Raises: whatever the program raises."""
    sys.argv[:] = ["-c", *arguments]
    _run_anonymous(text.encode("utf-8", "surrogateescape"), "<string>")


def run_stdin(arguments: list[str]) -> None:
    """Run what ``python - ARGUMENTS...`` runs: the standard input, read to its end. Raises: as `run_text`."""
    sys.argv[:] = ["-", *arguments]
    _run_anonymous(sys.stdin.buffer.read(), "<stdin>")


def _run_anonymous(source: bytes, name: str) -> None:
    _replace_path0("")
    main = ModuleType("__main__")
    main.__loader__ = BuiltinImporter  # as the interpreter leaves it
    _execute(main, lambda: compile(source, name, "exec", dont_inherit=True))


def run_module(name: str, arguments: list[str]) -> None:
    """Run what ``python -m NAME ARGUMENTS...`` runs: a module, or a package's __main__.

    Raises: NoProgramError if there is no such module; whatever its packages and the program raise.
    """
    sys.argv[:] = ["-m", *arguments]
    _replace_path0(os.getcwd())

    def load() -> CodeType:
        spec = _find_module(name)
        main.__dict__.update(vars(_main_of(spec, package=spec.parent)))
        sys.argv[0] = str(main.__file__)
        return _code_of(spec, spec.name)

    main = ModuleType("__main__")
    _execute(main, load)


def _find_module(name: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a parent package was found and wants something else that is missing: its own error
        spec = None
    except ValueError:  # a module without a spec, such as a stand-in some library put into sys.modules
        spec = None
    if spec is None:
        raise NoProgramError(f"no module named {name}")
    if spec.submodule_search_locations is None:
        return spec
    if name.endswith(".__main__"):
        raise NoProgramError(f"cannot use package {name} as the main module")
    try:
        return _find_module(f"{name}.__main__")
    except NoProgramError:
        raise NoProgramError(f"{name} is a package without a __main__ module") from None


def _main_of(spec: ModuleSpec, package: str | None) -> ModuleType:
    main = ModuleType("__main__")
    main.__spec__ = spec
    main.__loader__ = spec.loader
    main.__package__ = package
    main.__file__ = spec.origin
    main.__cached__ = spec.cached  # type: ignore[attr-defined]  # as runpy sets it
    return main


def _code_of(spec: ModuleSpec, name: str) -> CodeType:
    get_code = getattr(spec.loader, "get_code", None)  # not every loader that has it is an InspectLoader (zipimporter)
    code = get_code(name) if get_code is not None else None
    if not isinstance(code, CodeType):
        raise NoProgramError(f"no code object available for {name}")
    return code


def _read_compiled(content: bytes, path: str) -> CodeType:
    code = pkgutil.read_code(io.BytesIO(content))
    if not isinstance(code, CodeType):
        raise NoProgramError(f"bad code in {path!r}")
    return code


def _execute(main: ModuleType, load: Callable[[], CodeType]) -> None:
    """Run the code that `load` gives as module `main`, from now on the process's `__main__`."""
    if sys.version_info < (3, 14):  # from then on it is made when it is asked for, and one that is there hides it
        main.__dict__.setdefault("__annotations__", {})
    main.__builtins__ = builtins  # type: ignore[attr-defined]  # the module itself in __main__, its dict elsewhere
    sys.modules["__main__"] = main
    try:
        exec(load(), main.__dict__)  # noqa: S102  # to run the program is what this is for
    except (SystemExit, NoProgramError):
        raise
    except BaseException:
        # The interpreter handles it (status 1; KeyboardInterrupt: death by SIGINT); only the printing is touched, and
        # only now, so that the program never meets an excepthook it did not set.
        _hide_frames()
        raise


def _hide_frames() -> None:
    shown = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        traceback = _without_ours(traceback)
        shown(kind, error.with_traceback(traceback), traceback)

    sys.excepthook = excepthook


_OURS: Final = frozenset({__name__, "importlib.util", "importlib._bootstrap", "importlib._bootstrap_external"})


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    """Return `traceback` from the program's first frame on; unchanged if it did not come through `_execute`."""
    entry = traceback
    while entry is not None and entry.tb_frame.f_code is not _execute.__code__:
        entry = entry.tb_next
    if entry is None:
        return traceback
    while entry is not None and entry.tb_frame.f_globals.get("__name__") in _OURS:
        entry = entry.tb_next
    return entry


def _is_archive(path: str) -> bool:
    # zipimport's finder declines what is no zip; a script may follow a zip's directory, so the suffix says nothing.
    return os.path.isfile(path) and type(pkgutil.get_importer(path)).__name__ == "zipimporter"


def _replace_path0(path: str) -> None:
    if not sys.flags.safe_path:  # -P, -I: nothing was put at the front, so nothing is there to replace
        sys.path[0] = path
