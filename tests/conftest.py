"""How every test runs: beside which others, with how many examples, on which loop, and what may not be skipped.

Law: a fixture that only one room needs lives in that room's conftest.py.
"""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.patience import to_its_end

MAX_WORKERS = 8
"""Each worker imports everything anew, some 4 s of CPU; past these the suite ends no sooner."""

TOGETHER = ("tests/engine/test_handshake_model.py", "tests/sim/test_overlay_at_scale.py")
"""Files whose tests share what takes seconds to make: one worker runs all of such a file."""

REQUIRED = frozenset(filter(None, os.environ.get("CI_REQUIRE", "").split(",")))
"""Permissions and programs that this machine must have: a test that is skipped for want of one fails."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in a shell's background
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every run, so that a change is what makes a test fail; .ci/long looks for new ones.
_calm = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("fast", max_examples=25, derandomize=True, **_calm)
settings.register_profile("thorough", max_examples=100, derandomize=True, **_calm)
settings.register_profile("long", max_examples=5_000, print_blob=True, **_calm)
settings.load_profile("fast")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process per core for whole folders; named files need no more than this one."""
    if all(".py" in argument for argument in config.args):
        return 0
    return min(len(os.sched_getaffinity(0)), MAX_WORKERS)


class Scheduling(LoadScopeScheduling):
    """Gives each test to the next worker that is free, but files of TOGETHER as a whole.

    Not `--dist loadgroup`: with pytest 9.2 and pytest-xdist 3.8 each test is silently a group of its own.
    """

    def _split_scope(self, nodeid: str) -> str:  # xdist's own way to choose what stays together
        file = nodeid.partition("::")[0]
        return file if file in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)  # also where pytest-xdist is turned off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Keep bytecode in pytest's cache where the environment forbids it beside the sources: without any, each worker
    compiles all tests, 10 s of CPU, and each of some 500 Pythons that tests start all that it loads, 0.1 s."""
    if sys.dont_write_bytecode and sys.pycache_prefix is None:
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(config.rootpath / ".pytest_cache" / "bytecode")
        sys.dont_write_bytecode = False
        del os.environ["PYTHONDONTWRITEBYTECODE"]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test on a loop of its own, by the fixture `run_async` if it has one.

    Not pytest-asyncio: it brings scopes and fixtures for loops; all that is needed here is one loop per test.
    """
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    scenario = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted})
    run = pyfuncitem.funcargs.get("run_async", lambda scenario: asyncio.run(to_its_end(scenario)))
    run(scenario)
    return True


@pytest.fixture(scope="session")
def _machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[IO[str], IO[str]]]:
    """Two files, the same for all workers of a run: a turnstile, and the machine behind it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "turnstile").open("w") as turnstile, (folder / "machine").open("w") as machine:
        yield turnstile, machine


@pytest.fixture(autouse=True, scope="session")
def _state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Peers keep what they remember in a folder of this run, not in the user's."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def _beside_others(request: pytest.FixtureRequest, _machine: tuple[IO[str], IO[str]]) -> Iterator[None]:
    """A test marked `alone` waits until no other worker runs a test, and the others wait until it has ended."""
    turnstile, machine = _machine
    alone = request.node.get_closest_marker("alone") is not None
    fcntl.flock(turnstile, fcntl.LOCK_EX)  # in turn: without it a test that waits to be alone would wait for ever
    fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    fcntl.flock(turnstile, fcntl.LOCK_UN)
    yield
    fcntl.flock(machine, fcntl.LOCK_UN)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Make a skipped test fail if its reason is "needs NAME..." and CI_REQUIRE has that name."""
    report: pytest.TestReport = yield
    name = _needed(report)
    if name in REQUIRED:
        report.outcome = "failed"
        report.longrepr = f"CI_REQUIRE names {name}, and: {report.longrepr[2]}"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note for .ci/run which tests were skipped for want of something that the machine could have."""
    file = os.environ.get("CI_SKIPPED")
    if file and "PYTEST_XDIST_WORKER" not in os.environ and _needed(report):
        with Path(file).open("a") as skipped:
            skipped.write(f"{report.nodeid}: {report.longrepr[2]}\n")


def _needed(report: pytest.TestReport) -> str | None:
    """Return NAME if the test was skipped for a reason that begins "needs NAME"."""
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return None
    found = re.match(r"(?:Skipped: )?needs (\w+)", report.longrepr[2])
    return found and found[1]
