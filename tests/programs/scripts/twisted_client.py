"""200 look-ups (PyPI Twisted's names client: epoll reactor, a new random port for each): IP PORT"""

import sys
from typing import Any

from twisted.internet import defer, task
from twisted.names import client

LOOKUPS, AT_ONCE = 200, 50


def main(reactor: Any, host: str, port: str) -> "defer.Deferred[None]":
    resolver = client.Resolver(servers=[(host, int(port))], timeout=(2, 4, 8), reactor=reactor)
    slots = defer.DeferredSemaphore(AT_ONCE)

    def right(answer: Any, number: int) -> bool:
        return bool(answer[0][0].payload.dottedQuad() == f"10.30.{number >> 8}.{number & 255}")

    def look_up(number: int) -> "defer.Deferred[bool]":
        return resolver.lookupAddress(f"h{number}.peers.test").addCallback(right, number)

    def report(results: Any) -> None:
        print(f"{sum(ok is True and value is True for ok, value in results)} of {LOOKUPS} answers", flush=True)

    lookups = [slots.run(look_up, number) for number in range(LOOKUPS)]
    return defer.DeferredList(lookups, consumeErrors=True).addCallback(report)


task.react(main, sys.argv[1:])
