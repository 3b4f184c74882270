"""Which ids are near, by XOR, in a sorted list: the order Kademlia routes by, without measuring every distance.

Law: pure; a question about n numbers costs O(log n) and O(1) more for each answer taken.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from ..limits import SLOT_BITS

_FEW: Final = 6
"""So many are sorted outright: cheaper than to halve on."""
SECOND_ID: Final = 1
"""XOR of a peer's id and the one under which it may speak for peers behind it: the nearest id there is."""


def by_distance(numbers: Sequence[int], target: int) -> Iterator[int]:
    """Yield the positions of `numbers`, which are ascending and distinct, nearest to `target` first."""
    ranges = [(0, len(numbers))]
    while ranges:
        low, high = ranges.pop()
        if high - low <= _FEW:
            yield from sorted(range(low, high), key=lambda position: numbers[position] ^ target)
            continue
        # Above the highest bit in which they differ all agree, so only that bit decides which half is nearer.
        bit = (numbers[low] ^ numbers[high - 1]).bit_length() - 1
        middle = bisect_left(numbers, (numbers[low] >> bit | 1) << bit, low, high)
        halves = [(low, middle), (middle, high)]
        if target >> bit & 1:
            halves.reverse()
        ranges += reversed(halves)


def nearest(numbers: Sequence[int], target: int, count: int) -> list[int]:
    """Return the positions of the `count` of `numbers`, ascending and distinct, that are nearest to `target`, in order.

    Half of what the same from `by_distance` costs (50 numbers: 2 µs).
    """
    low, high = 0, len(numbers)
    few = max(_FEW, 2 * count)
    while high - low > few:
        bit = (numbers[low] ^ numbers[high - 1]).bit_length() - 1
        middle = bisect_left(numbers, (numbers[low] >> bit | 1) << bit, low, high)
        first, last = (middle, high) if target >> bit & 1 else (low, middle)
        if last - first < count:
            break
        low, high = first, last
    return sorted(range(low, high), key=lambda position: numbers[position] ^ target)[:count]


def slot_of(distance: int) -> int:
    """Return the slot of a peer: its bucket, and the SLOT_BITS bits after the first that differs."""
    length = distance.bit_length()
    return length << SLOT_BITS | (distance >> max(0, length - 1 - SLOT_BITS) & (1 << SLOT_BITS) - 1)
