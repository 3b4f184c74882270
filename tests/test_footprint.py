"""What a process has loaded: nothing of the network by importing, nothing of WebRTC by being relayed.

How much time and memory that is, `benchmarks/footprint.py` says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from peer_relay_socket import AF_PEER, Peer, Socket
from tests.processes import environment, killed_at_end

LIMIT = 60.0

IMPORT = """
import json, sys
before = set(sys.modules)
import peer_relay
print(json.dumps(sorted(set(sys.modules) - before)))
"""
ECHO = """
import json, sys
import peer_relay as socket
s = socket.socket(socket.AF_PEER, socket.SOCK_DGRAM)
s.settimeout(30)
s.sendto(b"over a relay", (sys.argv[1], 5000))
assert s.recvfrom(100)[0] == b"OVER A RELAY"
print(json.dumps([sorted(sys.modules), s.peer.path(sys.argv[1]).reached]))
"""
WEBSOCKETS = "import json, sys, websockets.client; print(json.dumps(sorted(sys.modules)))"
"""What the oldest version allowed loads by itself: 15.0 has urllib.request in it, later ones have not."""


def loaded(code: str, *arguments: str, **environ: str) -> Any:
    argv = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(argv, env=environment(**environ), capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def heads(modules: list[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_importing_loads_neither_a_loop_nor_cryptography_nor_a_transport() -> None:
    modules = loaded(IMPORT)
    assert not heads(modules) & {"asyncio", "ssl", "cryptography", "websockets", "janus", "pyee", "uvloop"}
    assert not heads(modules) & {"aiortc", "aioice", "av", "numpy", "logging", "hashlib"}
    assert len(modules) < 80


def test_a_relayed_echo_loads_nothing_of_webrtc_npm_or_proxies() -> None:
    with Peer(port=0, host="127.0.0.1") as relay, Socket(AF_PEER, bootstrap=[relay.url or ""]) as echo:
        echo.bind(("", 5000))
        echo.settimeout(LIMIT)
        assert echo.peer.wait_connected(LIMIT)
        argv = [sys.executable, "-c", ECHO, echo.peer.id.hex()]
        environ = {**os.environ, "PEER_RELAY_BOOTSTRAP": relay.url or ""}
        with killed_at_end(subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True)) as child:
            data, source = echo.recvfrom(100)
            echo.sendto(data.upper(), source)
            told, _ = child.communicate(timeout=LIMIT)
        modules, reached = json.loads(told)
    assert reached == "relayed"
    assert {"asyncio", "cryptography", "websockets"} <= heads(modules)
    assert not heads(modules) & {"aiortc", "aioice", "av", "numpy", "pyee"}
    assert not {"peer_relay_socket.engine.npm", "peer_relay_socket.codec.npm"} & set(modules)
    assert not {"peer_relay_socket.transport.webrtc", "peer_relay_socket.transport.npm_rtc"} & set(modules)
    ours = set(modules) - set(loaded(WEBSOCKETS))
    assert not {"urllib.request", "http.client", "cryptography.hazmat.primitives.serialization"} & ours
