"""The rate of a device follows what the overlay takes."""

from __future__ import annotations

from peer_relay_socket.gateway.pace import Pace
from peer_relay_socket.limits import TUN_RATE, TUN_RATE_LEAST, TUN_RATE_MOST, TUN_TICK, TUN_WAITING


def run(pace: Pace, capacity: float, seconds: float) -> tuple[float, int]:
    """Programs that send all they may, into an overlay that takes `capacity` bytes per second; what waits is bounded by
    what the device lets through. Returns: bytes per second that left in the second half, and the most that waited."""
    waiting = most = 0
    ticks, late = int(seconds / TUN_TICK), 0.0
    for tick in range(ticks):
        read = int(pace.rate * TUN_TICK)
        left = min(waiting + read, int(capacity * TUN_TICK))
        waiting += read - left
        most = max(most, waiting)
        late += left if tick >= ticks // 2 else 0
        pace.tick(TUN_TICK, read, left, waiting, behind=False)
    return late / (seconds / 2), most


def test_rate_comes_near_to_what_is_taken_and_little_waits() -> None:
    for capacity in (20e6, 100e6, 400e6):
        rate, most = run(Pace(), capacity, 4.0)
        assert rate > 0.8 * capacity
        assert most < TUN_WAITING + 2 * capacity * TUN_TICK


def test_rate_stays_while_programs_send_less() -> None:
    pace = Pace()
    assert not pace.tick(TUN_TICK, 1000, 1000, 0, behind=False)
    assert pace.rate == TUN_RATE


def test_rate_falls_when_the_device_is_not_read_fast_enough() -> None:
    pace = Pace(100e6)
    assert pace.tick(TUN_TICK, 500_000, 500_000, 0, behind=True)
    assert pace.rate == 0.8 * 500_000 / TUN_TICK


def test_peer_that_takes_nothing_slows_no_other() -> None:
    pace = Pace(100e6)
    assert not pace.tick(TUN_TICK, 1_000_000, 0, 4_000_000, behind=False)


def test_rate_keeps_within_its_limits() -> None:
    pace = Pace(TUN_RATE_MOST)
    pace.tick(TUN_TICK, int(TUN_RATE_MOST * TUN_TICK), int(TUN_RATE_MOST * TUN_TICK), 0, behind=False)
    assert pace.rate == TUN_RATE_MOST
    pace.tick(TUN_TICK, 10, 10, 4_000_000, behind=False)
    assert pace.rate == TUN_RATE_LEAST
