"""Who is admitted: lists of peer ids, kept in files that may change while the peer runs.

Lives here: reading such a file, and what allow and deny lists say together. May not live here: what happens to a peer
that is refused (engine), when files are looked at (driver).

Law: a list that cannot be read never admits a peer: at the start that is an error, later the old list stays.

A file has one peer id (40 hex digits) a line; empty lines, and what follows a "#", do not count.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from .address import ID_BYTES, PeerId
from .config import PeerConfig
from .errors import ConfigError
from .limits import MAX_LIST_FILE

Test: TypeAlias = Callable[[PeerId], bool]

_Stamp: TypeAlias = tuple[int, int, int]


def _read(path: str) -> tuple[frozenset[PeerId], _Stamp]:
    """Return the ids in a file and what tells this state of it from the next.

    Raises: ConfigError with one line that names the file, and the line where there is one.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(MAX_LIST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if len(data) > MAX_LIST_FILE:
        raise ConfigError(f"{path}: longer than {MAX_LIST_FILE} bytes")
    ids = set()
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            peer_id = bytes.fromhex(word) if word.isalnum() else b""
        except ValueError:
            peer_id = b""
        if len(peer_id) != ID_BYTES:
            shown = word if word.isprintable() and len(word) <= 60 else f"{word[:60]!r}..."
            raise ConfigError(f"{path}, line {number}: not a peer id (40 hex digits): {shown}")
        ids.add(peer_id)
    return frozenset(ids), (status.st_mtime_ns, status.st_size, status.st_ino)


class _List:
    """One list: the program's own function, or a file."""

    def __init__(self, source: str | Test) -> None:
        """Raises: ConfigError as `_read`."""
        self._test: Test
        self.path: str | None = None
        if callable(source):
            self._test = source
            return
        self.path = os.path.abspath(source)  # the program may change its directory
        ids, self._stamp = _read(self.path)
        self._seen = self._stamp
        self._test = ids.__contains__

    def holds(self, peer_id: PeerId) -> bool:
        return bool(self._test(peer_id))

    def reload(self, *, at_once: bool) -> bool:
        """Return whether what it holds may have changed. A file is read when it looks the same twice, as one that is
        just being written may look empty, or at once.

        Raises: ConfigError once for each state that is no list.
        """
        if self.path is None:
            return True
        try:
            status = os.stat(self.path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            stamp = (0, 0, 0)
        steady, self._seen = stamp == self._seen, stamp
        if stamp == self._stamp or not (steady or at_once):
            return False
        self._stamp = stamp
        ids, self._stamp = _read(self.path)
        self._test = ids.__contains__
        return True


class Admission:
    """What the lists of one peer say. Its methods are called on the relay's thread."""

    def __init__(self, config: PeerConfig) -> None:
        """Read the lists. Raises: ConfigError for a file that is none, with the name of the setting."""
        self._lists: dict[str, _List] = {}
        self._failed: dict[str, None] = {}
        """Settings whose function raised, so that it is told once."""
        self.problems: list[str] = []
        """What an operator should know; the driver logs it and takes it out."""
        for setting in ("allow_links", "deny_links", "allow_datagrams", "deny_datagrams"):
            source = getattr(config, setting)
            if source is not None:
                try:
                    self._lists[setting] = _List(source)
                except ConfigError as error:
                    raise ConfigError(f"{setting}: {error}") from None

    def __bool__(self) -> bool:
        return bool(self._lists)

    @property
    def may_link(self) -> Test | None:
        """Whether to be linked to a peer; None = to any."""
        return self._may("links")

    @property
    def may_talk(self) -> Test | None:
        """Whether to exchange datagrams and messages with a peer; None = with any."""
        return self._may("datagrams")

    def _may(self, what: str) -> Test | None:
        allow, deny = "allow_" + what, "deny_" + what
        if allow not in self._lists and deny not in self._lists:
            return None
        return lambda peer_id: self._says(allow, peer_id, True) and not self._says(deny, peer_id, False)

    def _says(self, setting: str, peer_id: PeerId, absent: bool) -> bool:
        entry = self._lists.get(setting)
        if entry is None:
            return absent
        try:
            return entry.holds(peer_id)
        except Exception as error:  # the program's function
            if setting not in self._failed:
                self._failed[setting] = None
                self.problems.append(f"{setting}: the function raised {error!r}; until it answers no peer is admitted")
            return not absent

    def reload(self, *, at_once: bool = False) -> bool:
        """Read again what changed; return whether those admitted before must be asked about again.

        Args: at_once: whether a file is known to be written to its end.
        """
        changed = False
        for setting, entry in self._lists.items():
            try:
                changed |= entry.reload(at_once=at_once)
            except ConfigError as error:
                self.problems.append(f"{setting}: {error}; the list as it was stays in force")
        return changed
