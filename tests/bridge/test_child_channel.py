"""What a forked child may write to its parent, whatever became of it."""

from __future__ import annotations

import errno
import resource
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.address import Prefix, UnprovedId
from peer_relay_socket.bridge import child_channel
from peer_relay_socket.bridge.child_channel import GROUP, LOCAL, PEER, Message, decode, encode
from tests.processes import environment

MESSAGES = [
    Message(1, LOCAL, "127.0.0.1", 7, 4, None, [b"one", b""]),
    Message(2**63, GROUP, "ff02::1", 65_535, 6, (255, 1), [bytes(65_507)]),
    Message(3, PEER, bytes(range(20)), 1, 0, None, [bytes(500)] * 128),
    Message(4, PEER, UnprovedId(range(20)), 1, 0, None, [b"x"]),
    Message(5, PEER, Prefix(22, bytes(20)), 9, 4, (64, 0), [b"x"]),
    Message(6, PEER, Prefix(120, bytes(20)), 9, 6, None, []),
]

HOSTILE = """
import marshal, os, resource, struct, time
from peer_relay_socket import Socket
from peer_relay_socket.bridge.endpoint import open_endpoints

with Socket() as receiver, Socket() as sender:
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(20)
    sender.bind(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        end = open_endpoints()[0].channel._theirs
        for message in (b"(" + struct.pack("<i", 1 << 27), b"", bytes(100_000), b"\\xff" * 5000, marshal.dumps((1, 2))):
            os.write(end, message)
        sender.sendto(b"honest", receiver.getsockname())
        os._exit(0)
    assert receiver.recvfrom(100)[0] == b"honest"
    os.waitpid(pid, 0)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_message_comes_back_as_it_was(message: Message) -> None:
    again = decode(encode(message))
    assert again == message
    assert type(again.place) is type(message.place)


@given(st.binary(max_size=300) | st.sampled_from(MESSAGES).flatmap(lambda one: mangled(encode(one))))
def test_decode_raises_nothing_but_value_error(data: bytes) -> None:
    try:
        message = decode(data)
    except ValueError:
        return
    assert sum(map(len, message.datagrams)) <= len(data)


def mangled(data: bytes) -> st.SearchStrategy[bytes]:
    """Return strategies for `data` with one byte changed, or cut short."""
    places = st.integers(0, min(len(data), 64) - 1)
    changed = st.tuples(places, st.integers(0, 255)).map(lambda it: data[: it[0]] + bytes((it[1],)) + data[it[0] + 1 :])
    return changed | st.integers(0, len(data)).map(lambda size: data[:size])


@pytest.mark.slow
def test_hostile_child_costs_its_parent_no_memory() -> None:
    limit = 1 << 31

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    run = subprocess.run(
        [sys.executable, "-c", HOSTILE],
        env=environment(),
        preexec_fn=limited,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert int(run.stdout) < 200 * 1024


def test_messages_stay_whole_where_there_is_no_seqpacket(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_on_macos(family: int, kind: int, proto: int) -> tuple[socket.socket, socket.socket]:
        if kind == socket.SOCK_SEQPACKET:
            raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")
        return socket.socketpair(family, kind, proto)

    monkeypatch.setattr(child_channel, "socketpair", as_on_macos)
    pair = child_channel._pair()
    ours, theirs = (socket.socket(fileno=end.detach()) for end in pair)
    with ours, theirs:
        theirs.send(bytes(child_channel.HAND_BACK_MESSAGE // 2))
        theirs.send(b"second")
        assert [len(ours.recv(child_channel.HAND_BACK_MESSAGE)) for _ in range(2)] == [
            child_channel.HAND_BACK_MESSAGE // 2,
            6,
        ]
        ours.close()
        with pytest.raises(OSError, match=r"refused|reset|Broken"):
            theirs.send(b"third")
