"""Figures that must not get worse: ``python -m tests.sim.snapshot`` measures them anew and writes snapshot.json.

Lives here: what is measured for each size, churn and loss, and how two measurements compare. May not live here: goals
(the tests say them).

Law: a case is a population of one seed, so its figures change only when the engine's behaviour does; what is better is
welcome, what is worse by more than the tolerance is not.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.sim.population import Mix, Population
from tests.sim.scenarios import churn

FILE = Path(__file__).with_name("snapshot.json")
_BYTES_MARGIN = 1.15
_SHARE_MARGIN, _LOSSY_MARGIN = 0.003, 0.02
"""By how much less may be delivered; more where links lose a hundredth: three sigma of a thousand."""


@dataclass(frozen=True)
class Case:
    """What is simulated."""

    peers: int
    churn: float
    """Share of all peers that is replaced per hour; 0: nobody goes."""
    loss: float
    """Share of bundles that each link drops."""

    @property
    def name(self) -> str:
        """How the snapshot calls it."""
        return f"{self.peers} peers, churn {self.churn:g}, loss {self.loss:g}"


SMALL = [Case(100, churned, loss) for churned in (0.0, 0.5) for loss in (0.0, 0.01)]
LARGE = [Case(1000, 0.0, 0.0), Case(1000, 0.5, 0.01)]
HUGE = Case(10_000, 0.0, 0.0)


@dataclass(frozen=True)
class Figures:
    """What came of it."""

    delivered: float
    """Share of the datagrams between random pairs; under churn, of those whose ends stayed."""
    hops: list[int]
    """Links crossed: median, 99th percentile, most; none under churn."""
    ordinary_links: int
    """Most links of an ordinary peer,"""
    relay_links: int
    """and of a relay to relays."""
    joining: int
    """Bytes on links per peer until all had joined and settled."""
    idle_ordinary: int
    """Bytes per second that an idle ordinary peer,"""
    idle_relay: int
    """and a relay, sends and receives; frames and headers included."""

    def worse_than(self, other: Figures) -> list[str]:
        """Return the names of what is worse here."""
        most = ("ordinary_links", "relay_links")
        found = [name for name in most if getattr(self, name) > getattr(other, name)]
        sizes = ("joining", "idle_ordinary", "idle_relay")
        found += [name for name in sizes if getattr(self, name) > _BYTES_MARGIN * getattr(other, name)]
        margin = _SHARE_MARGIN if other.delivered > 0.99 else _LOSSY_MARGIN
        if self.delivered < other.delivered - margin:
            found.append("delivered")
        if any(mine > theirs for mine, theirs in zip(self.hops, other.hops, strict=True)):
            found.append("hops")
        return found


def settled(case: Case, *, seconds: float = 30.0) -> Population:
    """Return the population of a case, joined."""
    population = Population(Mix(case.peers, loss=case.loss, plain=True))
    population.join()
    population.network.run(seconds)
    return population


def measure(case: Case, population: Population, *, probes: int = 1000, idle: float = 50.0) -> Figures:
    """Return the figures of a settled population."""
    joining = population.network.bytes // case.peers
    ordinary, among_relays, _ = population.links()
    traffic = population.meter.start()
    population.network.run(idle)
    both = [
        sum(traffic.sent[host.name] + traffic.received[host.name] for host in hosts) / len(hosts) / idle
        for hosts in (population.ordinary(), population.relays())
    ]
    hops: list[int] = []
    if case.churn:
        seconds = 300.0 if case.peers < 1000 else 60.0
        delivered = churn(population, seconds, replaced_per_hour=case.churn).share
    else:
        population.meter.start()
        outcome = population.probe(probes)
        delivered, hops = outcome.share, list(outcome.hops)
    population.meter.stop()
    return Figures(delivered, hops, ordinary[-1], among_relays[-1], joining, round(both[0]), round(both[1]))


def read() -> dict[str, Figures]:
    """Return the committed figures."""
    return {name: Figures(**figures) for name, figures in json.loads(FILE.read_text()).items()}


def main(arguments: list[str]) -> int:
    """Measure all cases up to so many peers (default 1000) and write those."""
    most = int(arguments[0]) if arguments else 1000
    table = {name: asdict(figures) for name, figures in (read() if FILE.exists() else {}).items()}
    for case in [*SMALL, *LARGE, HUGE]:
        if case.peers <= most:
            figures = table[case.name] = asdict(measure(case, settled(case)))
            print(case.name, figures, flush=True)
    FILE.write_text(json.dumps(table, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
