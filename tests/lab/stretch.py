"""How long the way of relayed datagrams is beside the best single relay, on real sockets: python -m tests.lab.stretch

Lives here: places, pairs, and what is measured. Peers in network namespaces talk in pairs that cannot go direct; the
network between delays each frame by the distance of its ends (distances.py), TCP and UDP alike.

Law: the best single relay is what the distances say, so that whatever the processes add counts against us. What the
machine adds when it is busy with other things does not: of each pair, the fastest quarter of its datagrams counts.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from math import dist, inf
from random import Random
from statistics import median
from typing import Any

from tests.lab.wide_area import WideArea

RATE = 8.0
"""Datagrams a second, each way."""
LASTING = 4
"""Seconds at the end that are measured."""


@dataclass
class Plan:
    """Which machines there are, how far from each other, and which talk."""

    name: str
    relays: int
    delays: list[list[float]]
    """Milliseconds one way; the relays come first."""
    pairs: list[tuple[int, int]]

    def best(self, pair: tuple[int, int]) -> float:
        """Return the milliseconds through the best single relay."""
        one, other = (self.delays[end] for end in pair)
        return min(one[relay] + other[relay] for relay in range(self.relays))


@dataclass
class Result:
    """Of each pair, each way: milliseconds through the best relay, and as measured at the begin and at the end."""

    plan: Plan
    rows: list[tuple[float, float, float]]
    lost: int
    twice: int
    overrun: int
    """Frames that the machine lost, because it was too busy."""
    changes: int
    """Changes of relay after the first choice."""
    over_time: list[tuple[int, float]]
    """(second, the median stretch)."""
    worst: list[str]
    """Of the three pairs that are farthest from their best: which relay that is, and which is taken."""

    def stretch(self, at: int = 2) -> list[float]:
        """Return what was measured beside the best, in order: at 1 the first second, at 2 the last ones."""
        return sorted(row[at] / row[0] for row in self.rows)


def star(name: str, relays: list[float], peers: int) -> Plan:
    """Relays so many milliseconds away from everybody."""
    spurs = [*relays, *[0.0] * peers]
    delays = [[0.0 if i == j else one + other for j, other in enumerate(spurs)] for i, one in enumerate(spurs)]
    ends = range(len(relays), len(spurs))
    return Plan(name, len(relays), delays, [(a, b) for a in ends for b in ends if a < b])


def plane(name: str, relays: int, peers: int, side: float, seed: int) -> Plan:
    """Machines by chance on a square of `side` milliseconds; each peer 1 to 8 ms behind its place, as homes are. Each
    talks to the next and to the one across."""
    dice = Random(seed)
    places = [(dice.uniform(0, side), dice.uniform(0, side)) for _ in range(relays + peers)]
    spurs = [0.5 if place < relays else dice.uniform(1, 8) for place in range(len(places))]
    delays = [
        [0.0 if i == j else round(dist(one, other) + spurs[i] + spurs[j], 2) for j, other in enumerate(places)]
        for i, one in enumerate(places)
    ]
    steps = sorted({step for step in (1, peers // 2) if step < peers})
    pairs = {tuple(sorted((relays + a, relays + (a + step) % peers))) for a in range(peers) for step in steps}
    return Plan(name, relays, delays, sorted((a, b) for a, b in pairs))


PLANS = {
    "star": lambda seed: star("3 relays, 60, 20 and 10 ms away from 2 peers", [60.0, 20.0, 10.0], 2),
    "plane": lambda seed: plane("6 relays, 12 peers", 6, 12, 80.0, seed),
}


def measure(plan: Plan, seconds: float) -> Result:
    """Let the pairs of a plan talk for a while, and LASTING seconds more."""
    with WideArea(plan.delays) as lab:
        relays = [lab.relay(relay, bootstrap=0 if relay else None)[1] for relay in range(plan.relays)]
        started = {port: lab.peer(port, 0) for port in range(plan.relays, len(plan.delays))}
        names = {port: peer_id for port, (_, peer_id) in started.items()}
        peers = {port: peer for port, (peer, _) in started.items()}
        for port, peer in peers.items():
            to = [names[b if a == port else a] for a, b in plan.pairs if port in (a, b)]
            peer.order(to=to, rate=RATE)
        time.sleep(seconds + LASTING)
        for peer in peers.values():
            peer.order(to=[])
        time.sleep(3)  # a busy machine is late
        accounts = {port: peer.order(account=True) for port, peer in peers.items()}
        for peer in peers.values():
            peer.process.stdin.close()
        overrun = lab.change()
        complaints = lab.complaints()
    assert not complaints, complaints
    return _judge(plan, names | dict(enumerate(relays)), accounts, seconds, overrun)


def _judge(
    plan: Plan, names: dict[int, str], accounts: dict[int, dict[str, Any]], seconds: float, overrun: int
) -> Result:
    rows, lost, twice, by_second = [], 0, 0, {}
    for one, other in plan.pairs:
        best = plan.best((one, other))
        for a, b in ((one, other), (other, one)):
            sent, got = accounts[a]["sent"][names[b]], accounts[b]["got"].get(names[a], [])
            numbers = [number for number, _, _ in got]
            twice += len(numbers) - len({*numbers})
            lost += sent - len({*numbers})
            first = sorted(took for number, took, _ in got if number < RATE)
            last = sorted(took for number, took, _ in got if number >= seconds * RATE)
            for number, took, _ in got:
                by_second.setdefault(int(number / RATE), []).append(took / best)
            rows.append((best, *(part[len(part) // 4] if part else inf for part in (first, last))))
    changes = sum(account["counters"].get("paths changed", 0) for account in accounts.values())
    worst = _worst(plan, names, accounts, rows)
    return Result(
        plan, rows, lost, twice, overrun, changes, [(at, median(each)) for at, each in sorted(by_second.items())], worst
    )


def _worst(
    plan: Plan, names: dict[int, str], accounts: dict[int, dict[str, Any]], rows: list[tuple[float, float, float]]
) -> list[str]:
    ways = [way for one, other in plan.pairs for way in ((one, other), (other, one))]
    machines = {peer_id: port for port, peer_id in names.items()}
    told = []
    for (a, b), (best, _, took) in sorted(zip(ways, rows, strict=True), key=lambda each: -each[1][2] / each[1][0])[:3]:
        sums = sorted((plan.delays[a][relay] + plan.delays[relay][b], relay) for relay in range(plan.relays))
        state, via, rtt = accounts[a]["paths"].get(names[b], (None, None, None))
        there = ", ".join(f"{relay}: {delay:.0f} ms" for delay, relay in sums)
        told.append(f"{a} to {b}: {took / best:.2f} ({took:.0f} ms, {state} {machines.get(via, via)} {rtt}; {there})")
    return told


def table(result: Result) -> str:
    """Return what is to be printed."""

    def spread(values: list[float], unit: str = "") -> str:
        ordered = sorted(values)
        return (
            f"{median(ordered):.2f}{unit}, {ordered[int(0.95 * (len(ordered) - 1))]:.2f}{unit}, {ordered[-1]:.2f}{unit}"
        )

    rows = [
        ("best single relay: median, p95, most", spread([row[0] for row in result.rows], " ms")),
        ("measured at the end", spread([row[2] for row in result.rows], " ms")),
        ("beside the best, first second", spread(result.stretch(1))),
        ("beside the best, at the end", spread(result.stretch(2))),
        ("by the second", ", ".join(f"{at}: {value:.2f}" for at, value in result.over_time)),
        ("worst", "; ".join(result.worst)),
        ("lost; twice; by this machine", f"{result.lost}; {result.twice}; {result.overrun}"),
        ("changes after the first choice", str(result.changes)),
    ]
    return f"| {result.plan.name}, {len(result.plan.pairs)} pairs | |\n|---|---|\n" + "\n".join(
        f"| {name} | {value} |" for name, value in rows
    )


def main() -> None:
    """Print the table of one plan, or of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.stretch", description=__doc__.splitlines()[0])
    parser.add_argument("--plan", choices=PLANS, help="the only one; else all")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name in [options.plan] if options.plan else PLANS:
        print(table(measure(PLANS[name](options.seed), options.seconds)), end="\n\n")


if __name__ == "__main__":
    main()
