"""The certificate that a peer serves wss:// with.

Lives here: reading its files. May not live here: when they are read again (the driver), TLS itself (transport).
"""

from __future__ import annotations

import errno
import ssl
from typing import NamedTuple

from ..config import PeerConfig


class Certificate(NamedTuple):
    """What the files say."""

    context: ssl.SSLContext
    expires: float
    """When it ends, in seconds since 1970."""


def read_certificate(config: PeerConfig) -> Certificate | None:
    """Return what to serve wss:// with, if that is asked for.

    Raises: OSError for files that cannot be read (ENOENT, EACCES) or hold no certificate and key that match (EINVAL).
    """
    if config.tls_cert is None:
        return None
    files = " and ".join(filter(None, (config.tls_cert, config.tls_key)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
        return Certificate(context, _expires(config.tls_cert))
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise OSError(errno.EINVAL, f"no TLS certificate and key: {reason}", files) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, files) from None


def _expires(path: str) -> float:
    from cryptography import x509  # only here: 10 ms

    with open(path, "rb") as file:
        first = x509.load_pem_x509_certificates(file.read())[0]
    return first.not_valid_after_utc.timestamp()
