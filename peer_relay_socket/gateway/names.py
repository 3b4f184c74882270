"""Names other than `.peer` for programs in a namespace: their queries go to this machine's name servers, as they are.

Lives here: the servers of /etc/resolv.conf and queries under way. Relay thread only, but for `host_names`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from ..limits import NAME_QUERIES, NAME_TIME


def host_names(path: str = "/etc/resolv.conf") -> HostNames:
    """Return the way to the name servers that `path` names. Raises: OSError."""
    servers = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                servers.append(words[1])
    return HostNames(servers or ["127.0.0.1"])


class HostNames:
    """Queries to real name servers; the first server that answers does."""

    def __init__(self, servers: list[str], port: int = 53) -> None:
        self.servers = servers
        self._port = port
        self._under_way = 0

    def __call__(self, query: bytes, answered: Callable[[bytes], object]) -> bool:
        """Ask; `answered` is called with the answer, or never: programs ask again. Returns: False where too much is
        asked already."""
        if self._under_way >= NAME_QUERIES:
            return False
        self._under_way += 1
        task = asyncio.get_running_loop().create_task(self._ask(query, answered))
        task.add_done_callback(lambda done: self._done())
        return True

    def _done(self) -> None:
        self._under_way -= 1

    async def _ask(self, query: bytes, answered: Callable[[bytes], object]) -> None:
        loop = asyncio.get_running_loop()
        for server in self.servers:
            family = socket.AF_INET6 if ":" in server else socket.AF_INET
            with contextlib.suppress(OSError, TimeoutError), socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                async with asyncio.timeout(NAME_TIME):
                    await loop.sock_connect(sock, (server, self._port))
                    await loop.sock_sendall(sock, query)
                    answer = await loop.sock_recv(sock, 65_535)
                if answer[:2] == query[:2]:
                    answered(answer)
                    return
