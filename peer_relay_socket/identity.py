"""Who a peer is: an Ed25519 key and the id that commits to it.

Lives here: keys, ids, key files. May not live here: what is signed (the handshakes say that).

Law: ``id = SHA-256("peer-relay.2 id" || public key)[:20]``, so an id cannot be held without its key.

A key file is the key's PEM (PKCS #8, unencrypted), mode 0600, written whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .address import ID_BYTES, PeerId
from .errors import IdentityError

_ID_DOMAIN: Final = b"peer-relay.2 id"
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(key)
    for key in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
"""Ed25519's points of order 1, 2, 4 and 8 in every encoding, without the bit for the sign (as libsodium lists them)."""
_MAX_KEY_FILE: Final = 64 * 1024


def peer_id_of(public_key: bytes) -> PeerId:
    """Return the id that commits to `public_key` (32 bytes, RFC 8032 §5.1.5)."""
    return hashlib.sha256(_ID_DOMAIN + public_key).digest()[:ID_BYTES]


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether `signature` over `message` is by `public_key`; False too for a key that is none, and for those of
    small order, under which signatures that pass need no key."""
    if public_key[:31] + bytes((public_key[31] & 0x7F,) if len(public_key) == 32 else ()) in _SMALL_ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class Identity:
    """An Ed25519 key pair and its id. Immutable."""

    __slots__ = ("_key", "peer_id", "pinned", "public_key")

    def __init__(self, key: Ed25519PrivateKey, *, pinned: bool) -> None:
        self._key = key
        self.public_key: bytes = key.public_key().public_bytes_raw()
        self.peer_id: PeerId = peer_id_of(self.public_key)
        self.pinned = pinned
        """Whether the key came from a file; one that did not may be exchanged on an address collision."""

    @classmethod
    def generate(cls) -> Identity:
        """Return a fresh identity that lives as long as the process."""
        return cls(Ed25519PrivateKey.generate(), pinned=False)

    @classmethod
    def near(cls, peer_id: PeerId, bits: int) -> Identity:
        """Return a fresh identity whose id begins with the first `bits` of `peer_id`: some 2**bits tries of 60 µs."""
        wanted = int.from_bytes(peer_id) >> 8 * ID_BYTES - bits
        while True:
            made = cls.generate()
            if int.from_bytes(made.peer_id) >> 8 * ID_BYTES - bits == wanted:
                return made

    @classmethod
    def from_seed(cls, seed: bytes, *, pinned: bool = True) -> Identity:
        """Return the identity of a 32-byte private key."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed), pinned=pinned)

    @classmethod
    def load(cls, path: str) -> Identity:
        """Read a key file.

        Raises: IdentityError with errno ENOENT (absent), EACCES (unreadable, or others can read it), EINVAL (not an
        Ed25519 key in PEM).
        """
        try:
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(_MAX_KEY_FILE)
        except OSError as error:
            raise IdentityError(error.errno, f"key file: {error.strerror}", path) from None
        if os.name == "posix" and mode & (stat.S_IRWXO if _is_credential(path) else stat.S_IRWXG | stat.S_IRWXO):
            raise IdentityError(errno.EACCES, "key file: others can read it; chmod 600 it", path)
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # 4 ms, and only files need it

        try:
            key = load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise IdentityError(errno.EINVAL, "key file: not an unencrypted Ed25519 key in PEM", path)
        return cls(key, pinned=True)

    @classmethod
    def load_or_create(cls, path: str) -> Identity:
        """Read a key file, making it first if it is absent; two processes that race end with the same key.

        Raises: IdentityError as `load`, and with the file system's errno when the file cannot be made.
        """
        if not os.path.lexists(path):
            cls._create(path)
        return cls.load(path)

    @staticmethod
    def _create(path: str) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            fd, temporary = tempfile.mkstemp(prefix=".peer-relay-", dir=os.path.dirname(path) or ".")
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(pem)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    pass  # another process was first: its key is the one
                except OSError:
                    os.replace(temporary, path)  # no hard links on this file system
            finally:
                if os.path.lexists(temporary):
                    os.unlink(temporary)
        except OSError as error:
            raise IdentityError(error.errno, f"key file: {error.strerror}", path) from None

    def seed(self) -> bytes:
        """Return the 32-byte private key."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of `message`."""
        return self._key.sign(message)


def _is_credential(path: str) -> bool:
    """Return whether systemd gave `path` to this service (LoadCredential), and to it alone: by an access list, whose
    mask the file's mode shows as the group's rights."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return folder is not None and os.path.dirname(os.path.realpath(path)) == os.path.realpath(folder)
