"""What processes of tests start with."""

from __future__ import annotations

import os


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with no settings of peers but those given."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PEER_RELAY_")} | settings
