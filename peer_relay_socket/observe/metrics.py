"""Metrics in Prometheus' text format, made of the records of peers by the prometheus-client library.

Lives here: the metrics' names and labels. May not live here: the records (bridge/status.py), HTTP.

Law: names follow the field's conventions (`_total`, seconds, bytes). Labels are bounded: scopes, directions, carriers
and reasons that this program names itself, never an id, an address or a URL.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..bridge.status import PeerStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "peer_relay_"


class NoLibraryError(ImportError):
    """prometheus-client is not installed."""


def library() -> Any:
    """Return the prometheus_client package.

    Raises: NoLibraryError, with the cure.
    """
    try:
        import_module("prometheus_client.core")
        return import_module("prometheus_client")
    except ImportError:
        raise NoLibraryError("/metrics needs prometheus-client: pip install 'peer-relay-socket[metrics]'") from None


def text(peers: list[PeerStatus], lag: float, ready: bool) -> bytes:
    """Return the metrics of all peers of this process together.

    Raises: NoLibraryError.
    """
    client = library()
    registry = client.CollectorRegistry()
    registry.register(_Collector(client.core, peers, lag, ready))
    made: bytes = client.generate_latest(registry)
    return made


class _Collector:
    """What prometheus-client asks for the metrics."""

    def __init__(self, core: Any, peers: list[PeerStatus], lag: float, ready: bool) -> None:
        self._core = core
        self._peers = peers
        self._lag = lag
        self._ready = ready

    def describe(self) -> Iterable[Any]:
        """Say nothing before `collect`."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield every metric."""
        peers = self._peers
        yield self._gauge("ready", "Whether the node is ready: neither draining nor cut off.", float(self._ready))
        yield self._gauge("up_seconds", "Age of the peer.", max((peer["uptime_s"] for peer in peers), default=0.0))
        yield self._gauge("loop_lag_seconds", "Delay of the relay thread, when last measured.", self._lag)
        yield self._gauge("open_fds", "Open file descriptors of the process.", _open_fds())
        yield from self._links()
        yield self._total("forwarded_bytes", "Bytes passed on for others.", [p["forwarded_bytes"] for p in peers])
        yield self._total("forwarded_packets", "Packets passed on for others.", [p["forwarded_packets"] for p in peers])
        sockets = [sock for peer in peers for sock in peer["sockets"]]
        waiting = sum(sock["waiting_bytes"] for sock in sockets)
        yield self._gauge("socket_waiting_bytes", "What programs have not read.", waiting)
        yield self._states("sessions", "Sessions, by state.", [s["state"] for p in peers for s in p["sessions"]])
        chosen = sum(session["chosen"] for peer in peers for session in peer["sessions"])
        yield self._gauge("sessions_chosen", "Sessions by a relay that was chosen by round trips.", chosen)
        yield from self._handshakes()
        ends = [end for peer in peers if (end := peer["certificate_expires"]) is not None]
        if ends:
            text = "When the TLS certificate ends, in seconds since 1970."
            yield self._gauge("certificate_expiry_timestamp_seconds", text, min(ends))
        skews = [abs(skew) for peer in peers if (skew := peer["clock_skew_s"]) is not None]
        if skews:
            yield self._gauge("clock_skew_seconds", "Difference to the clocks of dialled peers.", max(skews))
        places = [place["state"] for peer in peers for place in peer["bootstrap"]]
        yield self._states("bootstraps", "Bootstrap URLs, by state.", places)
        yield from self._counters()

    def _gauge(self, name: str, help_text: str, value: float) -> Any:
        return self._core.GaugeMetricFamily(_PREFIX + name, help_text, value=value)

    def _total(self, name: str, help_text: str, values: list[int]) -> Any:
        return self._core.CounterMetricFamily(_PREFIX + name, help_text, value=sum(values))

    def _states(self, name: str, help_text: str, states: list[str]) -> Any:
        family = self._core.GaugeMetricFamily(_PREFIX + name, help_text, labels=["state"])
        for state, count in sorted(Counter(states).items()):
            family.add_metric([state], count)
        return family

    def _links(self) -> Iterator[Any]:
        links = [link for peer in self._peers for link in peer["links"]]
        kinds = Counter((link["scope"], "in" if link["url"] is None else "out", link["carrier"]) for link in links)
        family = self._core.GaugeMetricFamily(
            _PREFIX + "links", "Links that are up.", labels=["scope", "direction", "carrier"]
        )
        for kind, count in sorted(kinds.items()):
            family.add_metric(list(kind), count)
        yield family
        states = Counter(link["lane"]["state"] for link in links if link["lane"])
        family = self._core.GaugeMetricFamily(_PREFIX + "lanes", "Datagram lanes of links.", labels=["state"])
        for state in ("live", "probing"):
            family.add_metric([state], states[state])
        yield family
        homes = [link["rtt_s"] for link in links if link["role"] == "home" and link["rtt_s"] is not None]
        if homes:
            yield self._gauge("home_round_trip_seconds", "Round trip to the home relay.", min(homes))
        yield self._gauge("links_throttled", "Links at their rate limit.", sum(link["throttled"] for link in links))
        yield self._gauge("links_full", "Links that take no more at the moment.", sum(link["full"] for link in links))

    def _handshakes(self) -> Iterator[Any]:
        total: Counter[str] = Counter()
        for peer in self._peers:
            total.update(peer["handshakes"])
        family = self._core.CounterMetricFamily(
            _PREFIX + "handshakes", "Handshakes, by what they came to.", labels=["of", "result"]
        )
        for name, count in sorted(total.items()):
            family.add_metric(name.split(), count)
        yield family

    def _counters(self) -> Iterator[Any]:
        """Yield what was dropped, refused and else counted; the record's counters name the reasons."""
        total: Counter[str] = Counter()
        for peer in self._peers:
            total.update(peer["counters"])
        family = self._core.CounterMetricFamily
        families = {
            "dropped": family(_PREFIX + "drops", "What was lost, by reason.", labels=["reason"]),
            "refused": family(_PREFIX + "refusals", "What was refused, by cause.", labels=["cause"]),
            "": family(_PREFIX + "events", "What else happened.", labels=["event"]),
        }
        for name, count in sorted(total.items()):
            kind, colon, reason = name.partition(": ")
            known = kind if colon and kind in families else ""
            families[known].add_metric([reason if known else name], count)
        yield from families.values()


def _open_fds() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
