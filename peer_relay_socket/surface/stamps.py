"""SO_TIMESTAMP and its like: when a datagram came, as recvmsg tells it.

Lives here: which of the options is on, and the control messages that follow. May not live here: taking the time
(inbox).

Law: Linux's layouts and order (__sock_recv_timestamp). The stamp is the moment at which a datagram reached its socket;
when one left, which the kernel tells through MSG_ERRQUEUE, is refused, as is the hardware's time.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ..bridge.ports import failure
from ..originals import time
from .option_numbers import SOL_SOCKET

if TYPE_CHECKING:
    from ..bridge.endpoint import Endpoint

CLOCKS: Final = (29, 35, 63, 64)
"""SO_TIMESTAMP and SO_TIMESTAMPNS, each as on this machine and with 64 bits: the last that was set counts."""
MANY: Final = (37, 65)
"""SO_TIMESTAMPING, as on this machine and with 64 bits."""
_NANO: Final = (35, 64)
_LONG: Final = (63, 64, 65)
_HEARD: Final = 0x18
"""SOF_TIMESTAMPING_RX_SOFTWARE and _SOFTWARE: take the time of what comes, and tell it."""
_ALL: Final = 0x7FFFF
_UNSERVED: Final = 0x2 | 0x100 | 0x8000 | 0x40000
"""_TX_SOFTWARE, _TX_SCHED, _BIND_PHC, _TX_COMPLETION."""
_NEEDS: Final = ((0x1000, 0x800), (0x10000, 0x80))
"""_OPT_STATS only with _OPT_TSONLY, _OPT_ID_TCP only with _OPT_ID."""


def choose(name: int, endpoint: Endpoint, on: int) -> None:
    """Set one of CLOCKS."""
    for each in CLOCKS:
        endpoint.options.pop((SOL_SOCKET, each), None)
    if on:
        endpoint.options[SOL_SOCKET, name] = 1
        if name == 64:  # Linux says so
            endpoint.options[SOL_SOCKET, 63] = 1
    _note(endpoint)


def accept(flags: int) -> int:
    """Return the flags of one of MANY. Raises: OSError: EINVAL; EOPNOTSUPP for times that are not told here."""
    if flags & ~_ALL or any(flags & one and not flags & other for one, other in _NEEDS):
        raise failure(errno.EINVAL)
    if flags & _UNSERVED:
        raise failure(errno.EOPNOTSUPP)
    return flags


def choose_many(name: int, endpoint: Endpoint, flags: int) -> None:
    """Set one of MANY."""
    endpoint.options[SOL_SOCKET, 37] = flags
    endpoint.options[SOL_SOCKET, 65] = flags if name == 65 else 0
    _note(endpoint)


def _note(endpoint: Endpoint) -> None:
    on = endpoint.options.get
    endpoint.inbox.stamped = any(on((SOL_SOCKET, each)) for each in (*CLOCKS, *MANY))


def told(endpoint: Endpoint, at: int) -> Iterable[tuple[int, int, bytes]]:
    """Give the control messages for a datagram that came at `at`, ns since 1970; 0 = before the option was set, for
    which Linux says now, too."""
    on = endpoint.options.get
    seconds, nanos = divmod(at or time.time_ns(), 10**9)
    for each in reversed(CLOCKS):
        if on((SOL_SOCKET, each)):
            yield (SOL_SOCKET, each, _packed(each, seconds, nanos if each in _NANO else nanos // 1000))
            break
    flags = on((SOL_SOCKET, 37), 0)
    if isinstance(flags, int) and flags & _HEARD == _HEARD:
        number = 65 if on((SOL_SOCKET, 65)) else 37
        yield (SOL_SOCKET, number, _packed(number, seconds, nanos, 0, 0, 0, 0))


def _packed(name: int, *numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}q" if name in _LONG else f"@{len(numbers)}l", *numbers)
