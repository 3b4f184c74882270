"""What forked children send on the sockets they inherited arrives, and holds nobody up."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peer_relay_socket import Socket
from tests.bridge.forks import command, relay, remote, run
from tests.processes import environment, killed_at_end

__all__ = ["relay", "remote"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        "server.sendto(b'answer', address)",
        "server.sendmsg([b'ans', b'wer'], [], 0, address)",
        "server.settimeout(0), server.sendto(b'answer', address)",
        "server.dup().sendto(b'answer', address)",
        "Socket(fileno=server.detach()).sendto(b'answer', address)",
        "fork(lambda: server.sendto(b'answer', address))",  # a grandchild
    ],
)
def test_a_forked_child_answers_on_the_socket_it_inherited(answer: str) -> None:
    run(f"""
        server, client, address = pair()
        pid = fork(lambda: ({answer}))
        data, source = client.recvfrom(100)
        assert (data, source) == (b"answer", server.getsockname()), (data, source)
        reap(pid)
        """)


def test_a_forked_child_sends_on_a_socket_that_is_connected() -> None:
    run("""
        server, client, address = pair()
        server.connect(address)
        pid = fork(lambda: server.send(b"answer"))
        assert client.recvfrom(100) == (b"answer", server.getsockname())
        reap(pid)
        """)


@pytest.mark.slow
def test_a_forked_child_answers_a_peer_across_the_network(relay: str, remote: Socket) -> None:
    program = """
        server = Socket()
        server.settimeout(10)
        server.sendto(b"ready", (sys.argv[1], int(sys.argv[2])))
        _, address = server.recvfrom(100)
        reap(fork(lambda: [server.sendto(b"%d" % i, address) for i in range(300)]))
        """
    to = remote.peer.address, str(remote.getsockname()[1])
    with killed_at_end(subprocess.Popen(command(program, *to), env=environment(PEER_RELAY_BOOTSTRAP=relay))) as process:
        _, address = remote.recvfrom(100)
        remote.sendto(b"go", address)
        assert [remote.recvfrom(100) for _ in range(300)] == [(b"%d" % i, address) for i in range(300)]
        assert process.wait(20) == 0


@pytest.mark.slow
def test_what_a_child_sent_leaves_though_the_parent_ends_at_once(relay: str, remote: Socket) -> None:
    run(
        """
        server = Socket()
        reap(fork(lambda: [server.sendto(b"%d" % i, (sys.argv[1], int(sys.argv[2]))) for i in range(20)]))
        """,
        remote.peer.id.hex(),
        str(remote.getsockname()[1]),
        PEER_RELAY_BOOTSTRAP=relay,
    )
    assert [remote.recv(100) for _ in range(20)] == [b"%d" % i for i in range(20)]


def test_a_parent_that_leaves_its_socket_to_the_interpreters_end_ends_at_once(relay: str) -> None:
    began = run(
        """
        sock = Socket(bootstrap=sys.argv[1], wrtc=False)
        assert sock.peer.wait_connected(20)
        reap(fork(lambda: None))
        print(time.monotonic())
        """,
        relay,
    )
    assert time.monotonic() - float(began) < 4.5  # without children to wait for: less than one limit of 5 s


WORKER = """
import multiprocessing, sys
from peer_relay_socket import Socket

def send(address):
    with Socket() as own:
        for i in range(20):
            own.sendto(b"%d" % i, address)

if __name__ == "__main__":
    inherited = Socket()
    inherited.bind(("", 0))
    context = multiprocessing.get_context(sys.argv[1])
    worker = context.Process(target=send, args=((sys.argv[2], int(sys.argv[3])),))
    worker.start()
    worker.join(30)
    sys.exit(worker.exitcode)
"""


@pytest.mark.parametrize(
    "method", ["fork", *(pytest.param(method, marks=pytest.mark.slow) for method in ("spawn", "forkserver"))]
)
def test_what_a_worker_of_multiprocessing_sent_arrives(tmp_path: Path, relay: str, remote: Socket, method: str) -> None:
    (tmp_path / "program.py").write_text(WORKER)
    to = remote.peer.id.hex(), str(remote.getsockname()[1])
    words = [sys.executable, str(tmp_path / "program.py"), method, *to]
    settings = environment(PEER_RELAY_BOOTSTRAP=relay)
    done = subprocess.run(words, env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {remote.recv(100) for _ in range(20)} == {b"%d" % i for i in range(20)}


@pytest.mark.slow
def test_what_a_child_sends_in_a_flood_arrives_in_order(relay: str, remote: Socket) -> None:
    program = """
        server = Socket()
        data = bytes(30000)
        to = sys.argv[1], int(sys.argv[2])
        server.sendto(b"first", to)
        def child():
            for i in range(200):
                server.sendto(b"%03d" % i + data, to)
        reap(fork(child))
        """
    remote.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)  # all 6 MB may wait for a reader on a busy machine
    to = remote.peer.id.hex(), str(remote.getsockname()[1])
    with killed_at_end(subprocess.Popen(command(program, *to), env=environment(PEER_RELAY_BOOTSTRAP=relay))) as process:
        assert remote.recv(100) == b"first"
        heard = [int(remote.recv(40000)[:3]) for _ in range(200)]
        assert process.wait(20) == 0
    assert heard == list(range(200))


@pytest.mark.slow
def test_a_child_waits_while_its_parents_send_budget_is_used_up() -> None:
    run(
        """
        server = Socket()
        server.settimeout(0.3)

        def child():
            try:
                for _ in range(400):
                    server.sendto(bytes(50000), ("77" * 20, 7))
            except TimeoutError:
                return
            raise AssertionError("20 MB fit into nothing")

        reap(fork(child))
        os._exit(0)  # not waiting for a network that is not there
        """,
        PEER_RELAY_BOOTSTRAP="ws://127.0.0.1:1",
    )
