"""The numbers of socket options, which each system has its own of.

Lives here: Linux's, by name. May not live here: what an option does (options.py).

Law: behind this file every option has Linux's number, on any system; a name that a system lacks cannot be asked for
there.
"""

from __future__ import annotations

from typing import Final

Key = tuple[int, int]

_LINUX: Final[dict[tuple[str, int], dict[str, int]]] = {
    ("SOL_SOCKET", 1): {
        "SO_DEBUG": 1,
        "SO_REUSEADDR": 2,
        "SO_TYPE": 3,
        "SO_ERROR": 4,
        "SO_DONTROUTE": 5,
        "SO_BROADCAST": 6,
        "SO_SNDBUF": 7,
        "SO_RCVBUF": 8,
        "SO_KEEPALIVE": 9,
        "SO_OOBINLINE": 10,
        "SO_LINGER": 13,
        "SO_REUSEPORT": 15,
        "SO_RCVLOWAT": 18,
        "SO_SNDLOWAT": 19,
        "SO_RCVTIMEO": 20,
        "SO_SNDTIMEO": 21,
        "SO_ACCEPTCONN": 30,
    },
    ("IPPROTO_IP", 0): {
        "IP_TOS": 1,
        "IP_TTL": 2,
        "IP_HDRINCL": 3,
        "IP_OPTIONS": 4,
        "IP_RECVOPTS": 6,
        "IP_PKTINFO": 8,
        "IP_RECVTOS": 13,
        "IP_MULTICAST_IF": 32,
        "IP_MULTICAST_TTL": 33,
        "IP_MULTICAST_LOOP": 34,
        "IP_ADD_MEMBERSHIP": 35,
        "IP_DROP_MEMBERSHIP": 36,
        "IP_UNBLOCK_SOURCE": 37,
        "IP_BLOCK_SOURCE": 38,
        "IP_ADD_SOURCE_MEMBERSHIP": 39,
        "IP_DROP_SOURCE_MEMBERSHIP": 40,
    },
    ("IPPROTO_IPV6", 41): {
        "IPV6_UNICAST_HOPS": 16,
        "IPV6_MULTICAST_IF": 17,
        "IPV6_MULTICAST_HOPS": 18,
        "IPV6_MULTICAST_LOOP": 19,
        "IPV6_JOIN_GROUP": 20,
        "IPV6_LEAVE_GROUP": 21,
        "IPV6_V6ONLY": 26,
        "IPV6_RECVPKTINFO": 49,
        "IPV6_RECVHOPLIMIT": 51,
        "IPV6_DONTFRAG": 62,
        "IPV6_RECVTCLASS": 66,
        "IPV6_TCLASS": 67,
    },
}
SOL_SOCKET: Final = 1
IPPROTO_IP: Final = 0
IPPROTO_IPV6: Final = 41
IPPROTO_UDP: Final = 17


def of_linux(names: object) -> dict[Key, Key]:
    """Return what Linux calls the options of a system, level and name.

    Args: names: its `_socket` module.
    """
    return {
        (getattr(names, level), getattr(names, name)): (linux_level, number)
        for (level, linux_level), options in _LINUX.items()
        for name, number in options.items()
        if hasattr(names, name)
    }
