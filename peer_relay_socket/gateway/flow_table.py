"""The ways that the datagrams of programs behind a device go.

Law: an operation costs the same however many there are; programs make them as fast as they send.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from ..bridge.outbox import Flow
from ..limits import FLOWS_PER_DEVICE


class FlowTable(OrderedDict[bytes, Flow]):
    """Flows by `packets.udp_key`; FLOWS_PER_DEVICE at most, the oldest goes. What waits in a flow leaves nevertheless.

    Items are set by `add` only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[bytes, dict[bytes, None]] = {}
        """By address: the keys of the flows that lead there."""

    def add(self, key: bytes, flow: Flow) -> None:
        """Remember `flow` for `key`, which has none."""
        while len(self) >= FLOWS_PER_DEVICE:
            oldest, _ = self.popitem(last=False)
            address = _destination(oldest)
            keys = self._keys[address]
            del keys[oldest]
            if not keys:
                del self._keys[address]
        self[key] = flow
        self._keys.setdefault(_destination(key), {})[key] = None

    def leading_to(self, address: bytes) -> Iterable[Flow]:
        """Return the flows to any port of `address`, oldest first."""
        return [self[key] for key in self._keys.get(address, ())]

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        self._keys.clear()


def _destination(key: bytes) -> bytes:
    half = (len(key) - 4) // 2
    return key[half : 2 * half]
