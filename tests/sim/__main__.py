"""The simulator's command line: ``python -m tests.sim --peers 1000 --seed 1 --scenario churn --picture run.svg``.

Prints Markdown tables. A line that holds a figure names the seed; the same command gives the same figures.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
from collections.abc import Callable

from peer_relay_socket.address import DEFAULT_IPV4_NETWORK
from tests.sim import attacks, audit, scenarios
from tests.sim.picture import svg
from tests.sim.population import Mix, Population
from tests.sim.report import Report, steady
from tests.sim.stretch import stretch


def _churn(population: Population, options: argparse.Namespace, report: Report) -> None:
    result = scenarios.churn(population, options.seconds)
    report.row("churn, half replaced per hour: delivered", f"{result.share:.3%} of {result.sent}")
    report.row("... peers that ended", result.ended)
    report.row("... a returned peer is reached after, median and most", _times(result.returned))
    report.row("... misdelivered", result.misdelivered)
    report.curves.append(result.series)


def _times(values: list[float]) -> str:
    return f"{scenarios.median(values):.2f} s, {max(values, default=0.0):.2f} s ({len(values)})"


def _partition(population: Population, options: argparse.Namespace, report: Report) -> None:
    series = scenarios.partition(population, 60.0, 60.0)
    report.row("partition 50/50 of 60 s: across it >= 99 % from", f"{series.recovered_after(0.99):.0f} s after its end")
    report.curves.append(series)


def _lose(population: Population, options: argparse.Namespace, report: Report) -> None:
    series = scenarios.lose_busiest(population, 0.1, 40.0, silent=options.silent, rate=population.rate)
    after = f"{series.recovered_after(0.99):.0f} s"
    report.row(f"10 % busiest {series.title} at once: >= 99 % again after", after)
    report.curves.append(series)


def _names(population: Population, options: argparse.Namespace, report: Report) -> None:
    result = scenarios.names(population, 3 * len(population.alive()))
    report.row("names (IPv4, IPv6, id of everybody): delivered", f"{result.delivered} of {result.asked}")
    report.row("... misdelivered", result.misdelivered)
    report.row("... peers that moved from a taken IPv4 address", result.moved)
    report.row("... IPv4 addresses still shared; datagrams sent to them", f"{result.shared}; {result.refused}")


def _lie(population: Population, options: argparse.Namespace, report: Report) -> None:
    without = audit.by_address(population, population.alive(), 1000)
    result = attacks.lie(population, 0.1, 2000)
    honest = [host for host in population.alive() if host.intercept is None]
    among = audit.by_address(population, honest, 1000)
    report.row(f"{result.liars} liars (10 %): delivered", f"{result.share:.2%} of {result.sent}")
    report.row("... of a second datagram on the same pairs", f"{result.again / max(1, result.sent):.2%}")
    report.row("... misdelivered", result.misdelivered)
    _rounds(report, without, among, audit.pinned_by(honest, population.hosts))


def _eclipse(population: Population, options: argparse.Namespace, report: Report) -> None:
    result = attacks.eclipse(population, 200, 100)
    report.row("eclipse: relay ids ground next to one peer", f"{result.ids}, sharing {result.bits} bits")
    report.row("... key pairs made for it; CPU seconds", f"{result.keys}; {result.key_seconds:.0f}")
    report.row("... of the victim's neighbours, the attacker's", f"{result.surrounded} of {result.neighbours}")
    report.row("... of its datagrams, seen by the attacker while it behaves", f"{result.seen:.0%}")
    report.row("... once it drops them: the victim is reached by", result.to_victim)
    report.row("... the victim reaches", result.from_victim)
    report.row("... others reach each other", result.between_others)


def _hostile(population: Population, options: argparse.Namespace, report: Report) -> None:
    result = attacks.hostile(population, 1 / 3, 20, 300)
    report.row(
        f"{result.liars} of {result.relays} relays hostile, 20 peers join then: newcomers reach", result.newcomers
    )
    report.row("... any pairs reach each other", result.between_any)


def _stretch(population: Population, options: argparse.Namespace, report: Report) -> None:
    if options.jitter:
        population.network.wobble = options.jitter
    result = stretch(population, min(400, len(population.ordinary())), steady=options.steady)
    report.row("to the first datagram, handshake included: median, p95", _milliseconds(result.opening))
    for name, found in (("first datagram of an open session", result.first), ("after 5 s of traffic", result.lasting)):
        report.row(f"{name}: delivered", f"{found.delivered} of {found.sent}")
        report.row("... delay: median, p95", _milliseconds(found.delay))
        report.row(
            "... by the best single relay; directly", f"{_milliseconds(found.best)}; {_milliseconds(found.direct)}"
        )
        report.row("... stretch beside the best single relay: median, p95", "{:.2f}, {:.2f}".format(*found.beside_best))
        report.row("... stretch beside direct: median, p95", "{:.2f}, {:.2f}".format(*found.beside_direct))
    report.row("lost, doubled in between", f"{result.lost}, {result.duplicates}")
    busiest = f"{result.busiest:.2f}; {result.by_chance:.2f}"
    report.row("busiest relay / mean, at the end; if each pair took any relay", busiest)
    if options.steady:
        report.row("changes of way per pair and minute, steady network", f"{result.changes:.2f}")
    over_time = ", ".join(f"{second:g}: {1000 * delay:.0f}" for second, delay in result.over_time if second < 8.0)
    report.row("median delay in ms by second of traffic", over_time)


def _milliseconds(values: tuple[float, float]) -> str:
    return f"{1000 * values[0]:.0f}, {1000 * values[1]:.0f} ms"


def _audit(population: Population, options: argparse.Namespace, report: Report) -> None:
    result = audit.audit(population, 2000)
    report.row("audit: relays that attack", result.attackers)
    _rounds(report, result.without, result.among, (result.pinned, result.pinned_wrong))
    report.row("... packets that the attackers sent", result.volleys)
    reached = f"{result.reached_server}, {result.reached_thief} of {result.clients}"
    report.row("... fresh clients that reached a server by IPv4, its thief", reached)
    report.row("... dials of a third party that the attackers named", result.dialled)


def _rounds(report: Report, without: audit.Round, among: audit.Round, pinned: tuple[int, int]) -> None:
    report.row("... to IPv4 addresses: delivered without, with", f"{_of(without)}; {_of(among)}")
    report.row("... misdelivered without, with", f"{without.misdelivered}; {among.misdelivered}")
    report.row("... CPU seconds of all peers without, with", f"{without.cpu:.1f}; {among.cpu:.1f}")
    report.row("... MB without, with", f"{without.megabytes:.0f}; {among.megabytes:.0f}")
    report.row("... addresses pinned, of them wrong", f"{pinned[0]}, {pinned[1]}")


def _of(one: audit.Round) -> str:
    return f"{one.delivered / max(1, one.sent):.2%} of {one.sent}"


SCENARIOS: dict[str, Callable[[Population, argparse.Namespace, Report], None]] = {
    "churn": _churn,
    "partition": _partition,
    "lose": _lose,
    "names": _names,
    "lie": _lie,
    "eclipse": _eclipse,
    "audit": _audit,
    "hostile": _hostile,
    "stretch": _stretch,
}


def parsed(arguments: list[str]) -> argparse.Namespace:
    """Return what the words of the command line ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Simulate an overlay in virtual time.")
    parser.add_argument("--peers", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dialable", type=float, default=0.2, help="share that others can dial (default 0.2)")
    parser.add_argument("--loss", type=float, default=0.0, help="share of bundles each link drops (default 0)")
    parser.add_argument("--settle", type=float, default=30.0, help="seconds between the last join and the first probe")
    parser.add_argument("--probes", type=int, default=2000, help="datagrams between random pairs")
    parser.add_argument("--scenario", action="append", choices=sorted(SCENARIOS), default=[], help="may be repeated")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long churn lasts")
    parser.add_argument("--steady", type=float, default=0.0, help="seconds more that pairs of `stretch` talk")
    parser.add_argument("--jitter", type=float, default=0.0, help="share by which the latency of `stretch` varies")
    parser.add_argument("--silent", action="store_true", help="lost relays fall silent instead of crashing")
    parser.add_argument("--picture", help="write an SVG here")
    parser.add_argument("--plain", action="store_true", help="handshakes without cryptography, same sizes and states")
    options = parser.parse_args(arguments)
    if options.peers < 2 or not 0.0 < options.dialable <= 1.0:
        parser.error("needs at least 2 peers, and some that can be dialled")
    return options


def main(arguments: list[str]) -> int:
    """Run what is asked for and print it."""
    options = parsed(arguments)
    gc.set_threshold(100_000, 20, 100)
    began = time.process_time()
    network = audit.NETWORK if "audit" in options.scenario else DEFAULT_IPV4_NETWORK
    mix = Mix(
        options.peers,
        options.seed,
        dialable=options.dialable,
        loss=options.loss,
        network=network,
        plain=options.plain,
    )
    population = Population(mix)
    report = Report(options.peers, options.seed)
    population.join()
    joined = time.process_time() - began
    population.network.run(options.settle)
    settled = time.process_time() - began
    report.row("seconds of one core: joined; and settled", f"{joined:.0f}; {settled:.0f}")
    report.row("... bundles, bytes", f"{population.network.bundles}, {population.network.bytes}")
    steady(population, options.probes, report)
    for name in options.scenario:
        SCENARIOS[name](population, options, report)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report.row("in all: seconds of one core; memory", f"{time.process_time() - began:.0f}; {megabytes:.0f} MB")
    report.row("trace", population.network.trace.hexdigest()[:16])
    if options.picture:
        with open(options.picture, "w", encoding="utf-8") as file:
            file.write(svg(population, report.curves))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
