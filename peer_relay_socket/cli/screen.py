"""Numbers as people read them. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def seconds(value: float | None) -> str:
    """Return a round trip time."""
    if value is None:
        return "-"
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.1f} ms" if value < 0.1 else f"{value * 1e3:.0f} ms"


def span(value: float) -> str:
    """Return a time during which something lasts: "4 s", "3 m 20 s", "2 h 5 m", "3 d 4 h"."""
    whole = int(value)
    for unit, size, lesser, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {lesser}"
    return f"{whole} s"


def size(value: float) -> str:
    """Return a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def sparkline(values: Sequence[float]) -> str:
    """Return a bar for each value, the greatest the highest."""
    most = max(values, default=0.0)
    if most <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[min(7, int(8 * value / most))] for value in values)


def fitted(lines: Sequence[str], columns: int, rows: int) -> list[str]:
    """Return lines as they fit a terminal, one row left for the cursor: long ones cut, and the last says how many more
    there are. Of several texts the first are shown."""
    cut = [line if len(line) <= columns else line[: columns - 1] + "…" for line in lines]
    room = max(2, rows - 1)
    if len(cut) <= room:
        return cut
    return [*cut[: room - 1], f"… {len(cut) - room + 1} more lines; without --watch all are shown"[:columns]]


def table(rows: Sequence[Sequence[str]], indent: str) -> list[str]:
    """Return rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [(indent + "  ".join(map(str.ljust, row, widths))).rstrip() for row in rows]
