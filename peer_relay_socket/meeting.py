"""The meeting point of the embedded default: where the programs of one user on one machine find each other.

Lives here: the user's meeting key, and what it decides: loopback ports, and the proofs of both ends. May not live here:
connections (bridge/dialler.py, transport).

Law: chosen once, when this is imported, from what neither the environment nor a later setuid or chroot changes. Without
the key no program knows the next port, and none that took one can pass for the user's: it is stepped over. (After a
chroot nothing can be imported: `peer-relay run` loads all that sockets need before a program changes its root.)

The key is 32 random bytes in a file that is this user's alone, in the first folder that can be had::

    HOME/.local/state/peer-relay/meeting-key        HOME from the user database, not from the environment
    /run/user/UID/peer-relay/meeting-key
    TMP/peer-relay-UID/meeting-key                  if no other user holds that folder

Where none can, the ports are the same for all users, and a program that listens there must be this user's, as the
kernel has it (Linux; elsewhere it is believed).
"""

from __future__ import annotations

import contextlib
import stat
import sys
from collections.abc import Iterator
from typing import Final

from .limits import MEETING_PORTS
from .originals import os
from .private_folder import is_private, make
from .system import O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, geteuid

_KEY_BYTES: Final = 32
_FIRST_PORT: Final = 7317
"""Where there is no key: below Linux's ephemeral range (32768), not in IANA's registry for TCP."""
_PORTS: Final = range(10_000, 30_000)
"""Where there is one: the same, and nothing that a user is likely to serve."""
_NONCE: Final = 16


class Meeting:
    """What one user's programs have in common."""

    def __init__(self, key: bytes | None, user: int) -> None:
        self._key = key
        self._user = user
        self._ports: tuple[int, ...] = ()

    @property
    def ports(self) -> tuple[int, ...]:
        """Where to look, in this order."""
        if not self._ports:
            if self._key is None:
                self._ports = tuple(range(_FIRST_PORT, _FIRST_PORT + MEETING_PORTS))
            else:
                draws = (int.from_bytes(self._mac(b"port", bytes((n,)))[:8]) for n in range(4 * MEETING_PORTS))
                chosen = dict.fromkeys(_PORTS[draw % len(_PORTS)] for draw in draws)
                self._ports = tuple(chosen)[:MEETING_PORTS]
        return self._ports

    def _mac(self, *parts: bytes) -> bytes:
        import hmac  # 5 ms that programs with no use for it yet are spared

        return hmac.digest(self._key or b"", b"peer-relay meeting " + b" ".join(parts), "sha256")[:_NONCE]

    def question(self, port: int) -> str:
        """Return what a program says to the one that listens on `port`: a nonce, and that it has the key."""
        nonce = os.urandom(_NONCE)
        return (nonce + self._mac(b"asks", port.to_bytes(2), nonce)).hex()

    def answer(self, question: str, port: int) -> str | None:
        """Return the answer to a question that came on `port`; None if whoever asks does not have the key."""
        nonce, proof = _halves(question)
        if not _same(proof, self._mac(b"asks", port.to_bytes(2), nonce)):
            return None
        return self._mac(b"answers", port.to_bytes(2), nonce).hex()

    def is_answer(self, question: str, answer: str, port: int, own: tuple[str, int]) -> bool:
        """Return whether `answer` is that of a program with the key, or of this user.

        Args: own: our end of the connection.
        """
        nonce, _ = _halves(question)
        if not _same(_bytes(answer), self._mac(b"answers", port.to_bytes(2), nonce)):
            return False
        return self._key is not None or self._is_own(port, own)

    def _is_own(self, port: int, own: tuple[str, int]) -> bool:
        """Return whether the other end of a connection to `port` is this user's, or the system does not say."""
        try:
            fd = os.open("/proc/net/tcp", os.O_RDONLY | O_CLOEXEC)
        except OSError:
            return True
        table = b""
        try:
            while piece := os.read(fd, 65_536):
                table += piece
        finally:
            os.close(fd)
        lines = table.split(b"\n")[1:]
        ends = (f"0100007F:{port:04X}".encode(), f"0100007F:{own[1]:04X}".encode())
        users = [fields[7] for fields in map(bytes.split, lines) if len(fields) > 7 and tuple(fields[1:3]) == ends]
        return users == [str(self._user).encode()]


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _halves(question: str) -> tuple[bytes, bytes]:
    data = _bytes(question)
    return data[:_NONCE], data[_NONCE:]


def _same(one: bytes, other: bytes) -> bool:
    import hmac

    return hmac.compare_digest(one, other)


# --- the key -----------------------------------------------------------------------------------------------------


def _folders(user: int) -> Iterator[str]:
    if sys.platform != "win32":
        import pwd

        home = ""
        with contextlib.suppress(KeyError):
            home = pwd.getpwuid(user).pw_dir
        if home.startswith("/") and is_private(home, user):
            yield f"{home}/.local/state/peer-relay"
        if is_private(f"/run/user/{user}", user):
            yield f"/run/user/{user}/peer-relay"
        yield f"/tmp/peer-relay-{user}"  # noqa: S108  # checked before it is used
    yield from ()


def _read(path: str, user: int) -> bytes | None:
    """Return the key in a file; None where there is none. Raises: OSError; ValueError for what is no key."""
    try:
        fd = os.open(path, os.O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        key = os.read(fd, _KEY_BYTES + 1)
    finally:
        os.close(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != user or status.st_mode & 0o077 or len(key) != _KEY_BYTES:
        raise ValueError(f"{path} is no key of this user's alone")
    return key


def _key_in(folder: str, user: int) -> bytes:
    """Return the key in a folder, made if need be; of processes that make it at once, all get the same.

    Raises: OSError, ValueError.
    """
    path = f"{folder}/meeting-key"
    key = _read(path, user) if is_private(folder, user) else None
    if key is not None:
        return key
    make(folder, user)
    own = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    fd = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    try:
        os.write(fd, os.urandom(_KEY_BYTES))
    finally:
        os.close(fd)
    try:
        os.link(own, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(own)
    key = _read(path, user)
    if key is None:
        raise ValueError(path)
    return key


def choose() -> Meeting:
    """Return this user's meeting point. Never raises."""
    user = geteuid()
    for folder in _folders(user):
        try:
            return Meeting(_key_in(folder, user), user)
        except (OSError, ValueError):
            continue
    return Meeting(None, user)


MEETING: Final = choose()
"""This process's."""
