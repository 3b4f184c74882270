"""A page in a headless Chromium, told what to do over its debugging protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.patience import LIMIT, until


class Page:
    """One page."""

    def __init__(self, channel: ClientConnection) -> None:
        self._channel = channel
        self._numbers = count(1)
        self.complaints: list[str] = []
        """What the page threw, or logged as an error."""
        self.call("Runtime.enable")
        self.call("Log.enable")
        self.call("Page.enable")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Return what the browser answers."""
        number = next(self._numbers)
        self._channel.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self._channel.recv(timeout=LIMIT))
            if told.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(told["params"]["exceptionDetails"]))
            elif told.get("method") == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.complaints.append(str(told["params"]["entry"]))
            elif told.get("id") == number:
                if "navigated" in told.get("error", {}).get("message", ""):
                    return {"result": {}}  # another page takes the place of this one
                assert "error" not in told, told
                answer: dict[str, Any] = told["result"]
                return answer

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def go(self, url: str) -> None:
        """Load a page."""
        self.call("Page.navigate", url=url)
        until(lambda: self.run("document.readyState") == "complete" and self.run("location.href") == url)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements that match."""
        found: list[str] = self.run(f"[...document.querySelectorAll({selector!r})].map((e) => e.textContent.trim())")
        return found

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = "\r" if key == "Enter" else ""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text, windowsVirtualKeyCode=_CODES[key]
            )

    def look_like(self, width: int, height: int, scheme: str, *, mobile: bool) -> None:
        """Show the page on a screen of that size, in light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        """Write what is seen."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


_CODES = {"Tab": 9, "Enter": 13, "ArrowRight": 39, "ArrowLeft": 37}


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a Chromium of its own."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium")
    argv = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    argv += [f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            told = folder / "DevToolsActivePort"
            until(lambda: told.exists() and len(told.read_text().split()) == 2)
            port = told.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=LIMIT) as answer:
                (target,) = [each for each in json.load(answer) if each["type"] == "page"]
            with connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as channel:
                yield Page(channel)
                channel.send(json.dumps({"id": 0, "method": "Browser.close"}))
                process.wait(LIMIT)
        finally:
            process.kill()
