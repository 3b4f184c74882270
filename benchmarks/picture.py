"""Throughput by datagram size, everybody beside everybody, as an SVG: `picture.py throughput.svg`.

Measures as one_way.py and relayed.py do, in turns. Both axes are logarithmic; each mark is a median.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

import one_way
import relayed
from ends import DIRECT, KERNEL, RELAY, machine

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 520, 80, 210, 60, 60
COLOURS = {
    KERNEL: "#555555",
    DIRECT: "#0b6e4f",
    RELAY: "#21a179",
    relayed.NPM: "#c0392b",
    relayed.NPM_PLAIN: "#e59866",
    relayed.TURN: "#2e5fa3",
    relayed.N2N: "#8e44ad",
}
"""One hue for us; the kernel grey; dark enough for print. The names stand beside the lines as well."""


def position(value: float, low: float, high: float, begin: float, end: float) -> float:
    """Return where `value` lies between `begin` and `end` on a logarithmic axis from `low` to `high`."""
    return begin + (end - begin) * (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))


def apart(wanted: Iterable[tuple[float, str]], distance: float) -> dict[str, float]:
    """Return a height for each name, as near as may be to the one wanted, no two nearer than `distance`."""
    heights: dict[str, float] = {}
    last = -math.inf
    for height, name in sorted(wanted):
        last = heights[name] = max(height, last + distance)
    return heights


def draw(rates: dict[str, list[tuple[int, float]]], title: str, subtitle: str) -> str:
    """Return an SVG of name -> (bytes, datagrams per second)."""
    sizes = sorted({size for points in rates.values() for size, _ in points})
    values = [rate for points in rates.values() for _, rate in points if rate > 0]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(size: float) -> float:
        return position(size, sizes[0], max(sizes[-1], sizes[0] + 1), LEFT + 20, right - 10)

    def y(rate: float) -> float:
        return position(rate, low, high, bottom, TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="17" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT}" y="43" font-size="12" fill="#555">{escape(subtitle)}</text>',
    ]
    for exponent in range(round(math.log10(low)), round(math.log10(high)) + 1):
        height = y(10**exponent)
        parts.append(f'<path d="M{LEFT} {height:.1f}H{right}" stroke="#ddd"/>')
        label = f"{10**exponent:,}"
        parts.append(f'<text x="{LEFT - 8}" y="{height + 4:.1f}" font-size="12" text-anchor="end">{label}</text>')
    parts += [
        f'<text x="{x(size):.1f}" y="{bottom + 20}" font-size="12" text-anchor="middle">{size}</text>' for size in sizes
    ]
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 15}" font-size="13" text-anchor="middle">bytes per datagram</text>')
    names = apart([(y(points[-1][1]), name) for name, points in rates.items()], 17)
    for name, points in rates.items():
        line = " ".join(f"{x(size):.1f},{y(rate):.1f}" for size, rate in points)
        colour = COLOURS[name]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x(size):.1f}" cy="{y(rate):.1f}" r="3.5" fill="{colour}"/>' for size, rate in points]
        label = f'<text x="{right + 12}" y="{names[name] + 4:.1f}" font-size="13" fill="{colour}">{escape(name)}</text>'
        parts.append(label)
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 512, 1200, 4096, 8192])
    parser.add_argument("--peers", nargs="*", choices=relayed.ORDER[2:], default=list(relayed.ORDER[2:]))
    chosen = parser.parse_args()
    found = one_way.measure(chosen.rounds, chosen.seconds, chosen.sizes, (KERNEL, DIRECT, RELAY))
    others, missing = relayed.measure(chosen.rounds, chosen.seconds, chosen.sizes, chosen.peers)
    rates: dict[str, list[tuple[int, float]]] = {}
    for (name, size), rounds in (found | others).items():
        rates.setdefault(name, []).append((size, statistics.median(one["rate"] for one in rounds)))
    for peer, reason in missing.items():
        print(f"{peer}: not measured, {reason}")
    drawn = {name: [point for point in sorted(points) if point[1] > 0] for name, points in rates.items()}
    title = "Datagrams per second from one process to another"
    chosen.file.write_text(draw({name: points for name, points in drawn.items() if points}, title, machine()))
    print(f"wrote {chosen.file}")


if __name__ == "__main__":
    main()
