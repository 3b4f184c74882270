"""The exception tree. What lives here: every exception class of the package. What may not: logic.

Two families that never meet::

    OSError                         what callers of a Socket or Peer see: the errno a kernel
      └─ PeerRelayError             UDP socket gives; bare OSError wherever UDP has one, this
           ├─ IdentityError         subclass only where UDP has no word for it
           └─ PeerClosedError
    ValueError
      └─ ConfigError                a setting that cannot mean anything

    Exception
      └─ WireError                  bad bytes from a peer: raised in codec and engine, caught and
           ├─ PacketError           counted in the engine, never reaches a caller
           ├─ HandshakeError
           └─ SealError
"""

from __future__ import annotations


class PeerRelayError(OSError):
    """An operation on a peer failed for a reason that UDP has no errno for."""


class IdentityError(PeerRelayError):
    """A key file is missing, malformed, or readable by others."""


class PeerClosedError(PeerRelayError):
    """The Peer was destroyed, or the process forked and this copy has no relay thread."""


class ConfigError(ValueError):
    """A keyword argument or PEER_RELAY_* variable that cannot mean anything; the text names it."""


class WireError(Exception):
    """Bytes from a peer that do not follow the protocol."""


class PacketError(WireError):
    """A bundle or packet that cannot be parsed; an IP packet that cannot, in a gateway."""


class HandshakeError(WireError):
    """A handshake message that is malformed, out of turn, or proves the wrong key."""


class SealError(WireError):
    """A sealed packet that is forged, replayed, or older than the replay window."""
