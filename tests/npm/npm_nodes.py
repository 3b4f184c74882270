"""Real peers of npm peer-relay, each in a node process of its own (agent.js), and ours driven alike (agent.py).

Lives here: starting them, talking to them, waiting for what they tell. May not live here: scenarios.

Law: nothing waits without a limit, and a node process that dies of what it was sent fails the test that sent it.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.processes import environment

AGENT = Path(__file__).with_name("agent.js")
OURS = Path(__file__).with_name("agent.py")
ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds that anything may take on a busy machine."""


class NodePeer:
    """One peer in a process: what `script`, by default agent.js, is told by `settings` to be. `inside` comes before the
    command."""

    def __init__(self, folder: Path, script: Path = AGENT, inside: list[str] | None = None, **settings: Any) -> None:
        environ = environment(NODE_PATH=str(folder / "node_modules"), NODE_NO_WARNINGS="1", PYTHONPATH=str(ROOT))
        runs = [sys.executable] if script.suffix == ".py" else ["node", "--no-deprecation"]
        self._process = subprocess.Popen(
            [*(inside or []), *runs, str(script), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            text=True,
        )
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._kept: list[dict[str, Any]] = []
        self._errors: list[str] = []
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()
        try:
            told = self.wait("ready")
        except BaseException:
            self._process.kill()
            self.close()
            raise
        self.id = bytes.fromhex(told["id"])
        self.url: str = told["url"] or ""

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(json.loads(line))
        self._events.put({"event": "gone"})

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors += self._process.stderr

    def do(self, command: str, **arguments: Any) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        arguments = {name: value.hex() if isinstance(value, bytes) else value for name, value in arguments.items()}
        print(json.dumps({"do": command, **arguments}), file=self._process.stdin, flush=True)

    def wait(self, event: str, timeout: float = PATIENCE, **wanted: Any) -> dict[str, Any]:
        """Return the next event of that name with these members; others are kept for later."""
        wanted = {name: value.hex() if isinstance(value, bytes) else value for name, value in wanted.items()}
        end = time.monotonic() + timeout
        looked = 0
        while True:
            for told in self._kept[looked:]:
                if told["event"] == event and wanted.items() <= told.items():
                    self._kept.remove(told)
                    return told
            looked = len(self._kept)
            try:
                told = self._events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {event} {wanted} within {timeout} s, but {self._kept[-5:]}") from None
            assert told["event"] != "gone", "the node process died:\n" + "".join(self._errors)
            self._kept.append(told)

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return all such events so far that nobody waited for."""
        while not self._events.empty():
            self._kept.append(self._events.get())
        return [told for told in self._kept if told["event"] == event]

    def peers(self) -> set[bytes]:
        """Return the ids of its neighbours."""
        self.do("peers")
        return {bytes.fromhex(peer_id) for peer_id in self.wait("peers")["ids"]}

    def close(self) -> None:
        """End the process. Raises: AssertionError when it had ended by itself."""
        died = self._process.poll()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        try:
            self._process.stdin.close()
            self._process.wait(5.0)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join()
        self._process.stdout.close()
        self._process.stderr.close()
        assert died is None, "the node process died:\n" + "".join(self._errors)
