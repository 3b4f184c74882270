"""Tables of figures. Lives here: what is measured of a settled overlay, and rows. May not live here: scenarios."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.sim.population import Population

if TYPE_CHECKING:
    from tests.sim.scenarios import Series

IDLE_SECONDS = 100.0


@dataclass
class Report:
    """Rows of one run, a Markdown table that is printed as it grows."""

    peers: int
    seed: int
    rows: list[tuple[str, str]] = field(default_factory=list)
    curves: list[Series] = field(default_factory=list)

    def __post_init__(self) -> None:
        print(f"| {self.peers} peers, seed {self.seed} | |\n|---|---|", flush=True)

    def row(self, name: str, value: object) -> None:
        """Add a row, and print it: a large run takes minutes."""
        self.rows.append((name, str(value)))
        print(f"| {name} | {value} |", flush=True)


def steady(population: Population, probes: int, report: Report) -> None:
    """Measure a settled overlay: links, what idling costs, delivery."""
    report.row("peers without a link to one of their 4 nearest relays", population.strangers())
    ordinary, among_relays, attached = population.links()
    for name, links in (
        ("links of an ordinary peer", ordinary),
        ("links of a relay to relays", among_relays),
        ("ordinary peers at a relay", attached),
    ):
        if links:
            report.row(f"{name}: mean, most", f"{sum(links) / len(links):.1f}, {links[-1]}")
    idle = population.meter.start()
    population.network.run(IDLE_SECONDS)
    population.meter.stop()
    for name, hosts in (("an ordinary peer", population.ordinary()), ("a relay", population.relays())):
        if hosts:
            sent = sum(idle.sent[host.name] for host in hosts) / len(hosts) / IDLE_SECONDS
            received = sum(idle.received[host.name] for host in hosts) / len(hosts) / IDLE_SECONDS
            report.row(f"idle, {name}: bytes/s sent + received", f"{sent:.0f} + {received:.0f}")
    traffic = population.meter.start()
    outcome = population.probe(probes)
    population.meter.stop()
    report.row("delivered", f"{outcome.delivered} of {outcome.sent} ({outcome.share:.4%})")
    report.row("misdelivered", outcome.misdelivered)
    report.row("links crossed: median, p99, most", "{}, {}, {}".format(*outcome.hops))
    report.row("seconds to the first datagram: median, p99, most", "{:.2f}, {:.2f}, {:.2f}".format(*outcome.delay))
    report.row("transmissions per link needed", f"{traffic.transmissions_per_needed:.4f}")
    loads = [traffic.load[host.name] for host in population.relays()]
    report.row("busiest relay / mean", f"{max(loads) / (sum(loads) / len(loads)):.2f}")
