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

_RING = 620
_CHART = (600, 190)
_MOST_LINKS = 5000
"""Links drawn at most; of more, every k-th."""
_RELAY, _LEAF, _GOAL, _COME, _END = "#1b4f9c", "#c26a12", "#2a8a3e", "#2a8a3e", "#b3261e"
_FLOORS = (0.99, 0.95, 0.9, 0.5, 0.0)
"""Where a chart's axis may begin: as high as the curve allows, or a dip of a hundredth could not be seen."""


def _angle(host: Host) -> float:
    return 2 * math.pi * int.from_bytes(host.peer_id) / (1 << ID_BITS) - math.pi / 2


def _at(angle: float, radius: float) -> tuple[float, float]:
    return _RING / 2 + radius * math.cos(angle), _RING / 2 + radius * math.sin(angle)


def _radius(host: Host) -> float:
    return (0.41 if host.config.serves else 0.47) * _RING


def _chord(one: Host, other: Host) -> str:
    """Return a link as a curve that bends towards the middle the more, the farther apart its ends are."""
    a, b = _angle(one), _angle(other)
    apart = abs((b - a + math.pi) % (2 * math.pi) - math.pi)
    (ax, ay), (bx, by) = _at(a, _radius(one)), _at(b, _radius(other))
    pull = 1.0 - 0.9 * math.sqrt(apart / math.pi)
    mx, my = (_RING / 2 + pull * ((p + q) / 2 - _RING / 2) for p, q in ((ax, bx), (ay, by)))
    both = one.config.serves and other.config.serves
    style = f'stroke="{_RELAY}" stroke-width="0.3"' if both else f'stroke="{_LEAF}" stroke-width="0.35"'
    return f'<path d="M{ax:.1f} {ay:.1f}Q{mx:.1f} {my:.1f} {bx:.1f} {by:.1f}" {style}/>'


def ring(population: Population) -> str:
    """Return the overlay: relays on the inner ring, ordinary peers on the outer, a curve for each link."""
    alive = population.alive()
    by_id = {host.peer_id: host for host in alive}
    chords = []
    for host in alive:
        for peer_id in host.engine.neighbours:
            other = by_id.get(peer_id)
            if other is not None and host.peer_id < peer_id:
                chords.append((host, other))
    every = -(-len(chords) // _MOST_LINKS)
    thinned = f", one in {every} drawn" if every > 1 else ""
    relays = len(population.relays())
    title = f"{len(alive)} peers, {len(chords)} links{thinned}, seed {population.mix.seed}"
    parts = [
        f'<text x="8" y="18" font-size="14">{title}</text>',
        '<g fill="none" opacity="0.55">',
        *(_chord(one, other) for one, other in chords[::every]),
        "</g>",
    ]
    size = max(0.6, min(2.6, 60.0 / math.sqrt(len(alive))))
    for host in alive:
        x, y = _at(_angle(host), _radius(host))
        big, colour = (size, _RELAY) if host.config.serves else (size / 2, _LEAF)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{big:.1f}" fill="{colour}"/>')
    legend = ((_RELAY, f"{relays} relays, that others can dial"), (_LEAF, f"{len(alive) - relays} ordinary peers"))
    for row, (colour, text) in enumerate(legend):
        y = _RING - 24 + 16 * row
        parts.append(
            f'<rect x="8" y="{y - 8}" width="9" height="9" fill="{colour}"/><text x="22" y="{y}">{text}</text>'
        )
    return "".join(parts)


def _share(share: float) -> str:
    return f"{share * 100:.1f}".rstrip("0").rstrip(".") + " %"


def chart(series: Series) -> str:
    """Return one curve of delivery with what was promised and what happened."""
    width, height = _CHART
    left, right, top, bottom = 52, width - 12, 26, height - 48
    times = [when for when, _, _ in series.points] or [0.0]
    first, span = min(times), max(max(times) - min(times), 1e-9)
    lowest = min((share for _, share, _ in series.points), default=1.0)
    floor = next(each for each in _FLOORS if each <= min(lowest, series.goal - 1e-9))

    def place(when: float, share: float) -> tuple[float, float]:
        return left + (when - first) / span * (right - left), bottom - (share - floor) / (1.0 - floor) * (bottom - top)

    sent = sum(count for _, _, count in series.points)
    lost = round(sum((1.0 - share) * count for _, share, count in series.points))
    title = f"{series.title}: delivered, by when it was sent ({lost} of {sent} lost)"
    parts = [f'<text x="{left}" y="15" font-size="13">{escape(title)}</text>']
    for part in range(5):
        share = floor + (1.0 - floor) * part / 4
        _, y = place(first, share)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#ddd" stroke-width="0.7"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{_share(share)}</text>')
    _, y = place(first, series.goal)
    parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="{_GOAL}" stroke-dasharray="5 3"/>')
    parts.append(f'<text x="{right}" y="{y - 3:.1f}" text-anchor="end" fill="{_GOAL}">{_share(series.goal)}</text>')
    for tick in range(6):
        when = first + span * tick / 5
        parts.append(f'<text x="{place(when, 1.0)[0]:.1f}" y="{height - 8}" text-anchor="middle">{when:.0f} s</text>')
    for when, came in series.events:
        x, colour = place(when, floor)[0], _COME if came else _END
        y = bottom + (8 if came else 15)
        if left <= x <= right:
            parts.append(f'<path d="M{x:.1f} {y}v5" stroke="{colour}" stroke-width="1"/>')
    for when, text in series.marks:
        x, _ = place(when, floor)
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="{_END}" stroke-width="0.9"/>')
        parts.append(f'<text x="{x + 4:.1f}" y="{bottom - 6}" fill="{_END}">{escape(text)}</text>')
    points = " ".join("{:.1f},{:.1f}".format(*place(when, share)) for when, share, _ in series.points)
    parts.append(f'<polyline points="{points}" fill="none" stroke="{_RELAY}" stroke-width="1.6"/>')
    if series.events:
        parts.append(
            f'<text x="4" y="{bottom + 14}" fill="{_COME}" font-size="9">came</text>'
            f'<text x="4" y="{bottom + 23}" fill="{_END}" font-size="9">ended</text>'
        )
    return "".join(parts)


def svg(population: Population, curves: list[Series]) -> str:
    """Return the whole picture."""
    width = _RING + (_CHART[0] + 20 if curves else 0)
    height = max(_RING, len(curves) * (_CHART[1] + 12))
    frame = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="11"'
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {frame}>', ground, ring(population)]
    for number, series in enumerate(curves):
        parts.append(f'<g transform="translate({_RING + 10} {number * (_CHART[1] + 12)})">{chart(series)}</g>')
    return "".join(parts) + "</svg>\n"
