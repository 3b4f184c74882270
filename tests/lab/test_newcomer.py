"""A newcomer, with the wheel in a clean environment: README.md's commands, typed on three machines of the lab.

`python -m pytest -m slow -n 0 -s tests/lab/test_newcomer.py` prints what was typed and seen, with seconds.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.nat_lab import RELAY, Lab
from tests.patience import LIMIT
from tests.snippets import snippet
from tests.wheel import build_wheel

pytestmark = pytest.mark.slow

RELAYS = snippet("README.md", "the relay").splitlines()
SERVES = snippet("README.md", "one machine").splitlines()
ASKS = snippet("README.md", "the other machine").splitlines()
SERVER = snippet("README.md", "server.py")
CLIENT = snippet("README.md", "client.py")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment into which only the wheel was installed; .ci/run has one."""
    if "TESTS_WHEEL_COMMANDS" in os.environ:
        return Path(os.environ["TESTS_WHEEL_COMMANDS"])
    folder = tmp_path_factory.mktemp("wheel")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], timeout=60, check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", build_wheel(folder)], timeout=300, check=True)
    return python.parent


class Terminal:
    """A shell on a machine, at whose screen somebody sits."""

    def __init__(self, lab: Lab, machine: str, folder: Path, commands: Path) -> None:
        environ = {n: v for n, v in os.environ.items() if n in ("PATH", "LANG", "TMPDIR")}
        environ["PATH"] = f"{commands}:{environ['PATH']}"
        environ["HOME"] = str(folder)
        self._machine = machine
        self._screen, screen = os.openpty()
        self._shell = subprocess.Popen(
            [*lab.inside(machine), "bash", "-c", 'cd "$0" && exec bash', folder],
            stdin=subprocess.PIPE,
            stdout=screen,
            stderr=screen,
            env=environ,
            start_new_session=True,
            text=True,
            bufsize=1,
        )
        os.close(screen)
        self._shown = ""

    def type(self, line: str) -> str:
        """Type a command; return the first line that it prints."""
        began = time.monotonic()
        seen = self._run(line)
        print(f"{time.monotonic() - began:5.1f} s  {self._machine}$ {line}\n         {seen}")
        return seen

    def type_silent(self, line: str) -> None:
        """Type a command that prints nothing."""
        assert self._run(f"{line}\necho done") == "done"
        print(f"         {self._machine}$ {line}")

    def _run(self, line: str) -> str:
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{line}\n")
        end = time.monotonic() + LIMIT
        while "\n" not in self._shown:
            assert select.select([self._screen], [], [], max(0.0, end - time.monotonic()))[0], f"{line}: silent"
            self._shown += os.read(self._screen, 4096).decode().replace("\r", "")
        seen, _, self._shown = self._shown.partition("\n")
        return seen

    def close(self) -> None:
        """End the shell and what it runs."""
        os.killpg(self._shell.pid, 15)
        self._shell.communicate(timeout=LIMIT)
        os.close(self._screen)


@pytest.fixture
def machines(tmp_path: Path, commands: Path) -> Iterator[dict[str, Terminal]]:
    """Terminals on a relay, and on two machines behind NATs that know it by name."""
    (tmp_path / "hosts").write_text(f"127.0.0.1 localhost\n{RELAY} relay.example.org\n")
    with Lab() as lab:
        lab.run(None, "mount", "--bind", str(tmp_path / "hosts"), "/etc/hosts")
        opened = {}
        try:
            for machine in ("relay", "host-a", "host-b"):
                folder = tmp_path / machine
                folder.mkdir()
                (folder / "server.py").write_text(SERVER)
                (folder / "client.py").write_text(CLIENT)
                (folder / "unmodified.py").write_text(CLIENT.replace("import peer_relay as socket", "import socket"))
                opened[machine] = Terminal(lab, machine, folder, commands)
            yield opened
        finally:
            for terminal in opened.values():
                terminal.close()


def test_two_machines_talk_by_the_commands_of_the_readme(machines: dict[str, Terminal]) -> None:
    (node,) = RELAYS
    told = machines["relay"].type(node).split()
    assert (told[0], told[-1]) == ("node", "ws://0.0.0.0:8080")

    setting, serve = SERVES
    machines["host-a"].type_silent(setting)
    *words, address = machines["host-a"].type(serve).split()
    assert words == ["reach", "me", "at"]

    asker = machines["host-b"]
    setting, noted, ask, unmodified, native = ASKS
    asker.type_silent(setting)
    asker.type_silent(noted.replace("100.71.4.9", address))
    assert asker.type(ask) == f"(b'HELLO', ('{address}', 5000))"
    assert asker.type(unmodified) == f"(b'HELLO', ('{address}', 5000))"
    assert asker.type(native) == "HELLO"
