"""Tables by id that are searched by how an id begins.

Lives here: the order of the ids in several tables. May not live here: what the tables mean.

Law: a search costs the same however many ids there are.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import UserDict
from collections.abc import Iterator
from typing import TypeVar

from ...address import ID_BITS, ID_BYTES, PeerId, Prefix

V = TypeVar("V")


class IdIndex:
    """The ids in some tables, in order."""

    def __init__(self) -> None:
        self._tables: dict[int, int] = {}
        """In how many tables an id is."""
        self._values: list[int] = []

    def add(self, peer_id: PeerId) -> None:
        """`peer_id` is in one table more."""
        value = int.from_bytes(peer_id)
        count = self._tables.get(value, 0)
        if not count:
            insort(self._values, value)
        self._tables[value] = count + 1

    def remove(self, peer_id: PeerId) -> None:
        """`peer_id` is in one table less."""
        value = int.from_bytes(peer_id)
        count = self._tables.pop(value)
        if count > 1:
            self._tables[value] = count - 1
        else:
            del self._values[bisect_left(self._values, value)]

    def matching(self, prefix: Prefix) -> Iterator[PeerId]:
        """Yield the ids that begin with `prefix`, in order."""
        shift = ID_BITS - prefix.bits
        first = int.from_bytes(prefix.value) >> shift << shift
        at, end = bisect_left(self._values, first), first + (1 << shift)
        while at < len(self._values) and self._values[at] < end:
            yield self._values[at].to_bytes(ID_BYTES)
            at += 1


class IndexedTable(UserDict[PeerId, V]):
    """A dict whose keys are in an index, too."""

    def __init__(self, index: IdIndex) -> None:
        super().__init__()
        self._index = index

    def __setitem__(self, peer_id: PeerId, value: V) -> None:
        if peer_id not in self.data:
            self._index.add(peer_id)
        self.data[peer_id] = value

    def __delitem__(self, peer_id: PeerId) -> None:
        del self.data[peer_id]
        self._index.remove(peer_id)
