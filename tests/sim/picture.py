"""A run as one SVG file: peers on the id ring with their links, and delivery over time.

Lives here: drawing, with nothing but strings. May not live here: measuring.
"""

from __future__ import annotations

import math
from html import escape

from peer_relay_socket.address import ID_BITS
from tests.sim.network import Host
from tests.sim.population import Population
from tests.sim.scenarios import Series

_RING = 560
_CHART = (560, 150)
_MOST_LINKS = 4000
"""Links drawn at most; of more, every k-th."""


def _at(host: Host, radius: float) -> tuple[float, float]:
    angle = 2 * math.pi * int.from_bytes(host.peer_id) / (1 << ID_BITS) - math.pi / 2
    return _RING / 2 + radius * math.cos(angle), _RING / 2 + radius * math.sin(angle)


def ring(population: Population) -> str:
    """Return the overlay: relays on the inner ring, ordinary peers on the outer, a chord for each link."""
    alive = population.alive()
    by_id = {host.peer_id: host for host in alive}
    inner, outer = 0.40 * _RING, 0.47 * _RING
    chords = []
    for host in alive:
        for peer_id in host.engine.neighbours:
            other = by_id.get(peer_id)
            if other is not None and host.peer_id < peer_id:
                chords.append((host, other))
    every = -(-len(chords) // _MOST_LINKS)
    parts = [f'<text x="8" y="18">{len(alive)} peers, {len(chords)} links, seed {population.mix.seed}</text>']
    if every > 1:
        parts.append(f'<text x="8" y="34">one link in {every} drawn</text>')
    for one, other in chords[::every]:
        both = one.config.serves and other.config.serves
        (ax, ay), (bx, by) = (_at(host, inner if host.config.serves else outer) for host in (one, other))
        colour, width = ("#26a", 0.25) if both else ("#c83", 0.2)
        parts.append(
            f'<path d="M{ax:.1f} {ay:.1f}Q{_RING / 2:.0f} {_RING / 2:.0f} {bx:.1f} {by:.1f}" stroke="{colour}" '
            f'stroke-width="{width}" fill="none" opacity="0.5"/>'
        )
    for host in alive:
        x, y = _at(host, inner if host.config.serves else outer)
        size, colour = (2.2, "#124") if host.config.serves else (1.0, "#a50")
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{colour}"/>')
    return "".join(parts)


def chart(series: Series) -> str:
    """Return one curve of delivery, 0 to 100 %, with what happened marked."""
    width, height = _CHART
    left, top, bottom = 44, 22, height - 24
    times = [when for when, _, _ in series.points] or [0.0]
    first, span = min(times), max(max(times) - min(times), 1e-9)

    def place(when: float, share: float) -> tuple[float, float]:
        return left + (when - first) / span * (width - left - 12), bottom - share * (bottom - top)

    parts = [f'<text x="{left}" y="14">{escape(series.title)}: delivered, by when it was sent</text>']
    for share in (0.0, 0.5, 1.0):
        _, y = place(first, share)
        parts.append(f'<path d="M{left} {y:.1f}H{width - 12}" stroke="#ccc" stroke-width="0.6"/>')
        parts.append(f'<text x="4" y="{y + 4:.1f}">{share:.0%}</text>')
    for tick in range(6):
        when = first + span * tick / 5
        x, _ = place(when, 0.0)
        parts.append(f'<text x="{x - 8:.1f}" y="{height - 8}">{when:.0f} s</text>')
    for when, text in series.marks:
        x, _ = place(when, 0.0)
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="#b00" stroke-width="0.8"/>')
        parts.append(f'<text x="{x + 3:.1f}" y="{bottom - 6}" fill="#b00">{escape(text)}</text>')
    points = " ".join("{:.1f},{:.1f}".format(*place(when, share)) for when, share, _ in series.points)
    parts.append(f'<polyline points="{points}" fill="none" stroke="#26a" stroke-width="1.4"/>')
    return "".join(parts)


def svg(population: Population, curves: list[Series]) -> str:
    """Return the whole picture."""
    width = _RING + (_CHART[0] + 20 if curves else 0)
    height = max(_RING, len(curves) * (_CHART[1] + 10))
    frame = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="11"'
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {frame}>', ground, ring(population)]
    for number, series in enumerate(curves):
        parts.append(f'<g transform="translate({_RING + 10} {number * (_CHART[1] + 10)})">{chart(series)}</g>')
    return "".join(parts) + "</svg>\n"
