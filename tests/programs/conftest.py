"""Fixtures of the third-party programs, and the table of seconds at the end of the run."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.programs.program_hosts import HostKey, KernelNetwork, Network, RelayNetwork, table

CELL = "seconds of a program"


@pytest.fixture(scope="session")
def host_keys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], HostKey]:
    """Return host name -> its key, made once: a host keeps its addresses all through the run."""
    directory = tmp_path_factory.mktemp("keys")
    made: dict[str, HostKey] = {}

    def key(host: str) -> HostKey:
        if host not in made:
            made[host] = HostKey(directory / f"{host}.key")
        return made[host]

    return key


@pytest.fixture
def network(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    host_keys: Callable[[str], HostKey],
    record_property: Callable[[str, object], None],
) -> Iterator[Network]:
    """The network that the test's `networks` parameters ask for; notes the seconds from first start to last exit."""
    kind, form = request.param
    made = KernelNetwork(form, tmp_path) if kind == "kernel" else RelayNetwork(form, tmp_path, host_keys)
    with made as network:
        yield network
    program = request.node.originalname.removeprefix("test_").partition("_")[0]
    seconds = "failed" if network.seconds is None else f"{network.seconds:.2f}"
    record_property(CELL, (program, f"{kind} {form}", seconds))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test marked `forms(...)` the kernel first and then the relay, in each form of address."""
    marker = metafunc.definition.get_closest_marker("forms")
    if marker is not None:
        pairs = [(kind, form) for kind in ("kernel", "relay") for form in marker.args]
        metafunc.parametrize("network", pairs, indirect=True, ids=[f"{kind}-{form}" for kind, form in pairs])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a program that is not installed, except in CI, where a missing one is a failure."""
    for item in items:
        marker = item.get_closest_marker("needs")
        missing = [] if marker is None else [name for name in marker.args if not _installed(name)]
        if missing and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)} (pip install '.[programs]')"))


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that would hold it is not there
        return False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, value in report.user_properties
        if name == CELL
    ]
    if rows:
        terminalreporter.section("seconds per program, from first start to last exit")
        for line in table(rows):
            terminalreporter.write_line(line)
