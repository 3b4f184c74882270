"""Text that came from elsewhere, as logs and terminals may show it."""

from __future__ import annotations


def one_line(text: object) -> str:
    """Return what others said as one line: what is not printable replaced, 200 characters at most."""
    return "".join(c if c.isprintable() else "?" for c in str(text))[:200]
