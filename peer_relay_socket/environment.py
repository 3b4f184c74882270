"""The process's environment, as far as settings are in it.

Lives here: where variables are looked up, and how the text of one is found. May not live here: which variables there
are, and what they mean (config.py).

Law: what `keep_environment` saw still holds after the program has changed the environment, unless it sets a variable
anew.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Mapping
from typing import Final

from .errors import ConfigError
from .limits import MAX_SECRET

PREFIX: Final = "PEER_RELAY_"
"""How the name of every variable begins."""
FILE: Final = "_FILE"
"""How the name of a variable ends that names a file with the value of another."""

_kept: Final[dict[str, str]] = {}


def keep_environment() -> None:
    """From now on settings of the environment hold though the program clears it, or runs with another one."""
    _kept.update((name, value) for name, value in os.environ.items() if name.startswith(PREFIX))


def environment() -> Mapping[str, str]:
    """Return where variables are looked up."""
    return ChainMap(os.environ, _kept) if _kept else os.environ


def variable(keyword: str, environ: Mapping[str, str], *, read: bool, read_file: bool) -> tuple[str, str]:
    """Return the variable that says something of the setting `keyword`, or the one whose file does, and its text.

    Args: read: whether there is a variable for the setting. read_file: whether there is one for a file with its value.
    Raises: ConfigError where both say something, and for a file that cannot be read.
    """
    name = PREFIX + keyword.upper()
    text = environ.get(name, "").strip() if read else ""
    path = environ.get(name + FILE, "").strip() if read_file else ""
    if not path:
        return name, text
    if text:
        raise ConfigError(f"{name + FILE}: {name} is set, too: set one of the two")
    try:
        with open(path) as file:
            return name + FILE, file.read(MAX_SECRET).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name + FILE}: {path}: {getattr(error, 'strerror', None) or error}") from None
