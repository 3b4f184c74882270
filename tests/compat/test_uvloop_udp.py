"""uvloop's datagram endpoints under `peer-relay run`: imported before or after anything, they are the overlay's."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment

PROGRAM = """
import asyncio, socket, uvloop

class Echo(asyncio.DatagramProtocol):
    def __init__(self):
        self.got = asyncio.get_running_loop().create_future()
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, address):
        if data == b"ping":
            self.transport.sendto(b"pong", address)
        if not self.got.done():
            self.got.set_result((data, address))

async def main():
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 20  # -X dev: a busy machine is no fault of the program
    assert isinstance(loop, uvloop.Loop)
    server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("localhost", 0), family=socket.AF_INET)
    address = server.get_extra_info("sockname")
    held = socket.socket(type=socket.SOCK_DGRAM)
    held.bind(("127.0.0.1", 0))
    for how in ({"remote_addr": address}, {"sock": held}):
        client, protocol = await loop.create_datagram_endpoint(Echo, **how)
        client.sendto(b"ping", None if "remote_addr" in how else address)
        print(*await asyncio.wait_for(protocol.got, 20))
        client.close()
    server.close()
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    unix, protocol = await loop.create_datagram_endpoint(Echo, sock=left)
    right.send(b"unix")
    print(*await asyncio.wait_for(protocol.got, 20), type(unix).__module__.partition(".")[0])
    unix.close()
    right.close()
    await asyncio.sleep(0)

uvloop.run(main())
"""


@pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="needs uvloop")
def test_uvloops_datagrams_travel_the_overlay(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-X", "dev", "-m", "peer_relay", "run", "program.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third = done.stdout.splitlines()
    assert first.startswith("b'pong' ('127.0.0.1', ")
    assert first == second
    assert third == "b'unix' None uvloop"
