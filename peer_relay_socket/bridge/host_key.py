"""Which key a host has: that of a key file, or a fresh one.

Lives here: reading, making and sharing keys. May not live here: what an identity is (identity.py).

Law: two processes never use one key at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from os.path import samefile
from typing import TYPE_CHECKING, Final

from ..address import Spelling
from ..dependencies import unshadowed
from .log import log

if TYPE_CHECKING:
    from ..identity import Identity

keys_at_hand: Final[dict[str, Identity]] = {}
"""By key file: what was read before the program could lose the right, or the way, to read it."""


def identity_of(key_file: str | None) -> Identity:
    """Return the identity of a key file, which is made if need be, or a fresh one. Raises: IdentityError."""
    with unshadowed():
        from ..identity import Identity  # here, because cryptography takes 20 ms to load

        if key_file is None:
            return Identity.generate()
        return keys_at_hand.get(key_file) or Identity.load_or_create(key_file)


def fresh_identity(spelling: Spelling) -> Identity:
    """Return an identity of no file, whose IPv4 spelling is not everybody's."""
    while True:
        identity = identity_of(None)
        if not spelling.is_broadcast(spelling.ipv4(identity.peer_id)):
            return identity


def own_key(key_file: str | None, inherited: Iterable[str | None]) -> str | None:
    """Return `key_file`, but None where it is one of `inherited`, which the process that forked this one uses: two
    processes with one key would throw each other off the relays."""
    if key_file is not None and any(_same_file(other, key_file) for other in inherited):
        log.warning("! the process that forked this one uses key file %s: this one takes a fresh identity", key_file)
        return None
    return key_file


def _same_file(one: str | None, other: str) -> bool:
    try:
        return one is not None and samefile(one, other)
    except OSError:
        return one == other
