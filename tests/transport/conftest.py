"""The ways in which links are read, for modules whose every scenario must hold in all of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.transport import links


@pytest.fixture(scope="module", params=list(links.Reading), ids=lambda way: way.value)
def reading(request: pytest.FixtureRequest) -> Iterator[links.Reading]:
    """Have `links.run` read links in one way after the other."""
    before, links.reading = links.reading, request.param
    yield request.param
    links.reading = before


@pytest.fixture
def past_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have links be read by `Readers`."""
    monkeypatch.setattr(links, "reading", links.Reading.READERS)


@pytest.fixture(autouse=True)
def run_async() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Have tests/conftest.py run the coroutines of this folder by `links.run`."""
    return links.run
