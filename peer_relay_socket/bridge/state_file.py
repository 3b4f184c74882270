"""The file of relays that worked: one per network, in the user's state folder.

Lives here: where it is, its bytes, reading and writing it. May not live here: which relays are in it
(engine/memory.py), when it is written (joining.py).

Law: nothing here raises, and nothing is said of a folder that cannot be had: a peer without memory is a peer. A file is
replaced whole or not at all; of several processes that write, each keeps what the others wrote. What is read is checked
as if a stranger had sent it.

    $XDG_STATE_HOME/peer-relay/NETWORK.relays       (else $HOME/.local/state/peer-relay; folder 0700, file 0600)
    {"relays": [{"id": 40 hex digits, "url": ..., "scope": "GLOBAL", "nearby": false, "by_chance": false,
      "seen": seconds since 1970}]}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os as environment
import stat
import sys
from collections.abc import Iterable, Mapping

from .. import private_folder
from ..address import PeerId, parse_id
from ..engine.memory import Remembered
from ..limits import MAX_URL, REMEMBERED, STATE_AGE, STATE_FILE_MAX, STATE_FILES
from ..originals import os
from ..scope import Scope, is_learnable, reach
from ..system import O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, geteuid

_SUFFIX = ".relays"
_OPEN = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK


def folder() -> str | None:
    """Return the folder of our state files, whether or not it is there; None where the user has none.

    Where users have no numbers (Windows) there is none: nothing would say that it is this user's alone.
    """
    if not hasattr(os, "geteuid"):
        return None
    state = environment.environ.get("XDG_STATE_HOME", "")
    home = environment.environ.get("HOME", "")
    if not state.startswith("/"):
        state = f"{home}/.local/state" if home.startswith("/") else ""
    return f"{state}/peer-relay" if state else None


def read(path: str, now: float) -> list[Remembered]:
    """Return what a file holds that makes sense; nothing where there is none.

    Args: now: seconds since 1970.
    """
    try:
        fd = os.open(path, os.O_RDONLY | _OPEN)
    except (OSError, ValueError):
        return []
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != geteuid() or status.st_size > STATE_FILE_MAX:
            return []
        data = b""
        while piece := os.read(fd, STATE_FILE_MAX + 1 - len(data)):
            data += piece
        found = json.loads(data)["relays"]
        relays = [_relay(entry, int(now)) for entry in found[: 2 * REMEMBERED]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
    finally:
        os.close(fd)
    return _newest(relay for relay in relays if relay is not None and relay.seen > now - STATE_AGE)


def _relay(entry: object, now: int) -> Remembered | None:
    if not isinstance(entry, dict):
        return None
    peer_id, url, name = entry.get("id"), entry.get("url"), entry.get("scope")
    nearby, seen, by_chance = entry.get("nearby"), entry.get("seen"), entry.get("by_chance", False)
    if not isinstance(peer_id, str) or not isinstance(url, str) or not isinstance(nearby, bool):
        return None
    if not isinstance(seen, int) or isinstance(seen, bool) or not isinstance(name, str):
        return None
    if not isinstance(by_chance, bool):
        return None
    whole, scope = parse_id(peer_id), Scope.__members__.get(name)
    if whole is None or scope is None or len(url) > MAX_URL or not is_learnable(url) or reach(url) < scope:
        return None
    return Remembered(whole, url, scope, nearby, min(seen, now), by_chance)


def _newest(relays: Iterable[Remembered]) -> list[Remembered]:
    """Return each relay once, the newest REMEMBERED of them, the one that worked last at the end."""
    by_id = {relay.peer_id: relay for relay in sorted(relays, key=lambda relay: relay.seen)}
    return sorted(by_id.values(), key=lambda relay: relay.seen)[-REMEMBERED:]


def write(path: str, relays: Iterable[Remembered], disproved: Mapping[PeerId, int], now: float) -> bool:
    """Add `relays` to a file, less what is in it and was `disproved` since. Returns: whether the file has them now."""
    import fcntl  # Windows has none, and no folder

    where = path.rpartition("/")[0]
    try:
        private_folder.make(where, geteuid())
        lock = os.open(f"{where}/lock", os.O_RDWR | os.O_CREAT | _OPEN, 0o600)
    except (OSError, ValueError):
        return False
    try:
        if sys.platform != "win32":
            # Another process that is amid it takes less than a moment; later is in time.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before = [relay for relay in read(path, now) if disproved.get(relay.peer_id, -1) < relay.seen]
        merged = _newest([*before, *relays])
        entries = [
            {"id": r.peer_id.hex(), "url": r.url, "scope": r.scope.name, "nearby": r.nearby, "by_chance": r.by_chance}
            | {"seen": r.seen}
            for r in merged
            if is_learnable(r.url)
        ]
        if entries or before or os.access(path, os.F_OK):
            _replace(path, json.dumps({"relays": entries}, indent=1).encode() + b"\n")
            _prune(where, now)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _replace(path: str, data: bytes) -> None:
    """Raises: OSError. Not synchronised: after a power failure an empty file is as good as none."""
    temporary = f"{path}.new"  # ours alone: the lock is held
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _OPEN, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)
    os.replace(temporary, path)


def _prune(where: str, now: float) -> None:
    """Remove the files of networks that were not joined for long, and of the oldest beyond STATE_FILES."""
    names = [name for name in os.listdir(where) if name.endswith(_SUFFIX)]
    ages = sorted((now - os.stat(f"{where}/{name}").st_mtime, name) for name in names)
    for i, (age, name) in enumerate(ages):
        if i >= STATE_FILES or age > STATE_AGE:
            with contextlib.suppress(OSError):
                os.unlink(f"{where}/{name}")


def path_for(network: bytes, bootstrap: Iterable[str]) -> str | None:
    """Return the file of a network, None where there can be none.

    Args: network: `Engine.network_key`; the file's name tells nothing of it.
    """
    where = folder()
    if where is None:
        return None
    places = "\n".join(sorted(bootstrap))
    return f"{where}/{hashlib.sha256(network + places.encode()).hexdigest()[:32]}{_SUFFIX}"
