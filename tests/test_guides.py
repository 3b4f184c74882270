"""The guides speak of files that exist, and link to nothing that does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = sorted(
    path for path in (*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md"), *ROOT.glob(".github/*.md")) if path.is_file()
)
FILES = {
    path.relative_to(ROOT).as_posix() for pattern in ("[a-z]*/**/*", "*", ".[cg]*/*") for path in ROOT.glob(pattern)
}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.relative_to(ROOT).as_posix())
def test_guide_links_lead_to_files(guide: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", guide.read_text("utf-8"))
    assert [link for link in links if not (guide.parent / link).exists()] == []


def test_maintainers_guide_names_files_that_exist() -> None:
    named = re.findall(r"`([\w./-]+\.(?:py|md|cfg))`", (ROOT / "peer_relay_socket/README.md").read_text("utf-8"))
    assert named
    assert [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in FILES)] == []
