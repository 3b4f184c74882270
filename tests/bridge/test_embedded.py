"""Nothing configured: peers on one machine find each other, and outlive whoever served them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

PROGRAM = """
import sys
from peer_relay_socket.surface.peer import Peer
peer = Peer()
peer.on("message", lambda data, sender: print("heard", data, flush=True))
assert peer.wait_connected(20) if sys.argv[1] == "join" else True
print(peer.id.hex(), flush=True)
for line in sys.stdin:
    to, text = line.split()
    peer.send(to, text)
peer.destroy()
"""


class Member:
    """A process with a peer that nobody configured."""

    def __init__(self, role: str) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PEER_RELAY_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            text=True,
        )
        assert self.process.stdout is not None
        self.id = self.process.stdout.readline().strip()
        assert len(self.id) == 40

    def say(self, to: Member, text: str) -> None:
        assert self.process.stdin is not None
        print(to.id, text, file=self.process.stdin, flush=True)

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def members() -> Iterator[list[Member]]:
    made: list[Member] = []
    yield made
    for member in made:
        member.close()


def test_three_processes_talk_and_go_on_when_the_one_that_served_is_killed(members: list[Member]) -> None:
    members.append(Member("first"))
    members.append(Member("join"))
    members.append(Member("join"))
    first, second, third = members
    second.say(third, "hello")
    assert third.heard() == "heard hello"
    first.process.kill()
    first.process.wait()
    # One of the two serves now (within 2 s); a message waits until the other is linked to it.
    third.say(second, "still-there")
    second.say(third, "me-too")
    heard = {second.heard(), third.heard()}
    assert heard == {"heard still-there", "heard me-too"}
