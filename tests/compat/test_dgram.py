"""`peer_relay.dgram`: Node's names, argument orders, events and the thread they come on."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from queue import Queue
from typing import Any

import pytest
from peer_relay import dgram

from peer_relay_socket import PeerRelayError
from tests.loopback import free_port
from tests.patience import until

PATIENCE = 10.0


class Ears:
    """A socket, and what it tells."""

    def __init__(self, **settings: Any) -> None:
        self.socket = dgram.createSocket(settings)
        self.events: Queue[tuple[Any, ...]] = Queue()
        self.threads: set[str] = set()
        for name in ("listening", "message", "error", "close", "connect"):
            self.socket.on(name, self._keeper(name))

    def _keeper(self, name: str) -> Any:
        def keep(*arguments: Any) -> None:
            self.threads.add(threading.current_thread().name)
            self.events.put((name, *arguments))

        return keep

    def next(self) -> tuple[Any, ...]:
        """Return the next event."""
        return self.events.get(timeout=PATIENCE)

    def bound(self, *arguments: Any) -> int:
        """Bind, and return the port."""
        self.socket.bind(*arguments)
        assert self.next() == ("listening",)
        return int(self.socket.address()["port"])


@pytest.fixture
def ears() -> Iterator[Any]:
    made: list[Ears] = []

    def make(**settings: Any) -> Ears:
        made.append(Ears(**settings))
        return made[-1]

    yield make
    for each in made:
        with suppress(OSError):
            each.socket.close()


def test_binding_tells_listening_and_the_address_is_nodes(ears: Any) -> None:
    one = ears()
    port = one.bound()
    address = one.socket.address()
    assert address == {"address": one.socket.peer.id.hex(), "port": port, "family": "peer-relay"}
    with pytest.raises(OSError, match="already bound") as caught:
        one.socket.bind()
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("form", ["port", "port, address", "object"])
def test_every_form_of_bind_takes_its_callback(ears: Any, form: str) -> None:
    one, heard = ears(), Queue[str]()
    arguments: dict[str, tuple[Any, ...]] = {
        "port": (4711,),
        "port, address": (4711, "localhost"),
        "object": ({"port": 4711},),
    }
    assert one.socket.bind(*arguments[form], lambda: heard.put("listening")) is one.socket
    assert heard.get(timeout=PATIENCE) == "listening"
    assert one.socket.address()["port"] == 4711


SENDS: list[tuple[tuple[Any, ...], bytes]] = [
    ((b"hello", 1, 3), b"ell"),
    ((b"hello", 0, 5), b"hello"),
    ((b"hello", 5, 0), b""),
    ((b"hello",), b"hello"),
    ((bytearray(b"hello"),), b"hello"),
    (("hé",), "hé".encode()),
    (([b"he", "l", bytearray(b"lo")],), b"hello"),
]


@pytest.mark.parametrize(("message", "arrives"), SENDS, ids=range(len(SENDS)))
@pytest.mark.parametrize("addressed", [True, False])
def test_every_form_of_send_arrives(ears: Any, message: tuple[Any, ...], arrives: bytes, addressed: bool) -> None:
    one, other, sent = ears(), ears(), Queue[Any]()
    port = other.bound()
    where = (port, "localhost") if addressed else (port,)
    one.socket.send(*message, *where, lambda *result: sent.put(result))
    assert sent.get(timeout=PATIENCE) == (None, len(arrives))
    name, data, rinfo = other.next()
    assert (name, data, rinfo["family"], rinfo["size"]) == ("message", arrives, "peer-relay", len(arrives))
    assert rinfo["port"] == one.socket.address()["port"]


def test_replies_go_where_rinfo_says_between_two_peers(ears: Any) -> None:
    one = ears(port=0, host="127.0.0.1")
    other = ears(bootstrap=one.socket.peer.url)
    port = one.bound()
    other.socket.send(b"question", port, one.socket.peer.id.hex())
    assert other.next() == ("listening",)
    _, data, rinfo = one.next()
    assert (data, rinfo["address"]) == (b"question", other.socket.peer.id.hex())
    one.socket.send(b"answer", rinfo["port"], rinfo["address"])
    assert other.next()[:2] == ("message", b"answer")


def test_callbacks_run_on_one_thread_that_is_not_the_relays(ears: Any) -> None:
    one, other = ears(), ears()
    port = other.bound()
    for _ in range(20):
        one.socket.send(b"x", port)
    for _ in range(20):
        other.next()
    other.socket.close()
    assert other.next() == ("close",)
    assert len(one.threads | other.threads) == 1
    assert "peer-relay" not in one.threads | other.threads
    assert threading.current_thread().name not in one.threads | other.threads


def test_connected_sockets_send_without_an_address(ears: Any) -> None:
    one, other = ears(), ears()
    port = other.bound()
    one.socket.connect(port, "localhost")
    assert [one.next(), one.next()] == [("listening",), ("connect",)]
    assert one.socket.remoteAddress()["port"] == port
    one.socket.send(b"hello")
    assert other.next()[1] == b"hello"
    one.socket.send(b"hello", 1, 3)
    assert other.next()[1] == b"ell"
    with pytest.raises(OSError, match="Already connected"):
        one.socket.connect(port)
    one.socket.disconnect()
    with pytest.raises(OSError, match="Not connected"):
        one.socket.disconnect()


@pytest.mark.parametrize("span", [(-1, 2), (0, 6), (6, 0), (2, -1)])
def test_what_lies_outside_the_message_is_refused(ears: Any, span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        ears().socket.send(b"hello", *span, 5, "localhost")


def test_errors_come_to_the_callback_or_else_as_an_event(ears: Any) -> None:
    one, sent = ears(), Queue[Any]()
    one.bound()
    one.socket.send(bytes(70_000), 5, "localhost", lambda *result: sent.put(result))
    error, size = sent.get(timeout=PATIENCE)
    assert (error.errno, size) == (errno.EMSGSIZE, 0)
    one.socket.send(bytes(70_000), 5, "localhost")
    name, error = one.next()
    assert (name, error.errno) == ("error", errno.EMSGSIZE)
    taken = ears()
    taken.socket.bind(one.socket.address()["port"])
    name, error = taken.next()
    assert (name, error.errno) == ("error", errno.EADDRINUSE)


def test_a_closed_socket_says_so(ears: Any) -> None:
    one, closed = ears(), Queue[str]()
    one.bound()
    one.socket.close(lambda: closed.put("closed"))
    assert closed.get(timeout=PATIENCE) == "closed"
    for call in (one.socket.close, one.socket.address, one.socket.bind, lambda: one.socket.send(b"", 1)):
        with pytest.raises(OSError, match="Not running"):
            call()


def test_once_and_off(ears: Any) -> None:
    one, other, heard = ears(), ears(), Queue[bytes]()
    port = other.bound()

    def listener(data: bytes, _rinfo: Any) -> None:
        heard.put(data)

    other.socket.once("message", listener)
    assert other.socket.off("message", print) is other.socket
    for text in (b"1", b"2"):
        one.socket.send(text, port)
        other.next()
    other.socket.on("message", listener)
    other.socket.off("message", listener)
    one.socket.send(b"3", port)
    other.next()
    assert [heard.get(timeout=PATIENCE), heard.empty()] == [b"1", True]


@pytest.mark.parametrize("port", [0, -1, 65_536, None, "7"])
def test_a_port_that_is_none_is_refused_at_once(ears: Any, port: Any) -> None:
    one = ears()
    with pytest.raises(ValueError, match="Port should be"):
        one.socket.send(b"x", port, "localhost")
    with pytest.raises(ValueError, match="Port should be"):
        one.socket.connect(port, "localhost")


def test_a_connected_socket_takes_no_address(ears: Any) -> None:
    one, other = ears(), ears()
    port = other.bound()
    one.socket.connect(port, "localhost")
    with pytest.raises(OSError, match="Already connected") as caught:
        one.socket.send(b"x", port, "localhost")
    assert caught.value.errno == errno.EISCONN


def test_what_fails_comes_to_its_own_callback_and_to_no_other(ears: Any) -> None:
    one, taken, heard = ears(), ears(), Queue[Any]()
    port = one.bound()
    taken.socket.bind(port, lambda: heard.put("listening"))
    assert taken.next()[1].errno == errno.EADDRINUSE
    taken.bound()
    taken.socket.connect(port, "no address", heard.put)
    assert isinstance(heard.get(timeout=PATIENCE), OSError)
    assert heard.empty()


def test_listeners_are_added_in_a_chain_as_in_node(ears: Any) -> None:
    one, heard = ears(), Queue[str]()
    assert (
        one.socket.on("listening", lambda: heard.put("on")).once("listening", lambda: heard.put("once")) is one.socket
    )
    one.bound()
    assert [heard.get(timeout=PATIENCE), heard.get(timeout=PATIENCE)] == ["on", "once"]


def test_a_port_is_there_before_bind_which_may_choose_another(ears: Any) -> None:
    one, other = ears(), ears()
    early = one.socket.address()["port"]
    assert early > 0
    assert one.socket.address()["port"] == early
    assert one.bound(early + 1 if early < 65_535 else 1024) != early
    other.bound(early)  # which `one` has given back
    third = ears()
    port = third.socket.address()["port"]
    third.socket.send(b"hello", early)
    assert other.next()[2]["port"] == port


@pytest.mark.parametrize("name", [bytes, bytearray, bytes.hex, lambda peer_id: peer_id.hex() + ".peer"])
def test_every_form_of_an_id_is_an_address(ears: Any, name: Any) -> None:
    one, other = ears(), ears()
    port = other.bound()
    one.socket.send(b"hello", port, name(other.socket.peer.id))
    assert other.next()[1] == b"hello"
    one.socket.connect(port, name(other.socket.peer.id))
    one.socket.send(b"again")
    assert other.next()[1] == b"again"


@pytest.mark.parametrize("address", [7, b"short", [1]])
def test_an_address_of_another_type_is_refused(ears: Any, address: Any) -> None:
    with pytest.raises(TypeError, match="address must be a string, or an id"):
        ears().socket.send(b"hello", 5, address)


def test_close_comes_when_the_peer_is_destroyed_from_anywhere(ears: Any) -> None:
    one, other = ears(port=0, host="127.0.0.1"), ears(port=0, host="127.0.0.1")
    one.bound()
    one.socket.peer.destroy()
    assert one.next() == ("close",)
    with pytest.raises(OSError, match="Not running"):
        one.socket.address()
    peer = other.socket.peer
    other.socket.close()
    assert peer.destroyed
    assert other.next() == ("close",)
    assert other.events.empty()
    assert one.events.empty()


def test_the_peers_errors_are_passed_on(ears: Any) -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    one = ears(bootstrap=url)
    name, error = one.next()
    assert (name, isinstance(error, PeerRelayError), url in str(error)) == ("error", True, True)


def test_an_error_without_a_listener_is_a_log_line(ears: Any, caplog: pytest.LogCaptureFixture) -> None:
    one = dgram.createSocket()
    one.send(bytes(70_000), 5, "localhost")
    sent = Queue[Any]()
    one.send(b"", 5, "localhost", lambda *result: sent.put(result))  # callbacks come in order
    assert sent.get(timeout=PATIENCE) == (None, 0)
    one.close()
    until(lambda: "without a listener" in caplog.text)
    assert "Traceback" not in caplog.text


def test_listeners_have_nodes_names_too(ears: Any) -> None:
    one, heard = dgram.createSocket(), Queue[str]()

    def listener() -> None:
        heard.put("listening")

    assert one.addListener("listening", listener).addListener("listening", print) is one
    assert one.listenerCount("listening") == 2
    assert one.removeListener("listening", print).listenerCount("listening") == 1
    one.bind()
    assert heard.get(timeout=PATIENCE) == "listening"
    assert one.removeAllListeners("listening").listenerCount("listening") == 0
    assert one.addListener("close", print).removeAllListeners().listenerCount("close") == 0
    one.close()


def test_options_of_node_that_mean_nothing_here_are_taken(ears: Any) -> None:
    one = dgram.createSocket({"type": "udp6", "lookup": print, "signal": None, "receiveBlockList": [1]})
    one.close()


def test_options_are_the_sockets(ears: Any) -> None:
    socket = ears(recvBufferSize=5000).socket
    assert socket.getRecvBufferSize() == 10_000
    socket.setSendBufferSize(9000)
    assert socket.getSendBufferSize() == 18_000
    socket.setBroadcast(True)
    assert socket.setTTL(64) == 64
    with pytest.raises(OSError, match="EINVAL"):
        socket.setTTL(0)
    assert socket.setMulticastTTL(3) == 3
    assert socket.setMulticastLoopback(False) is False
    for bad in (-1, 256):
        with pytest.raises(OSError, match="EINVAL"):
            socket.setMulticastTTL(bad)
    socket.addMembership("239.1.2.3")
    socket.dropMembership("239.1.2.3")
    socket.addSourceSpecificMembership("100.64.0.1", "239.1.2.3")
    socket.dropSourceSpecificMembership("100.64.0.1", "239.1.2.3")
    socket.setMulticastInterface("0.0.0.0")
    with pytest.raises(OSError, match="Invalid"):
        socket.setMulticastInterface("nobody")
    assert (socket.getSendQueueSize(), socket.getSendQueueCount()) == (0, 0)
    with pytest.raises(OSError, match="Invalid"):
        socket.addMembership("nobody")


def process(source: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_bound_socket_keeps_the_program_running_until_it_is_closed_or_unrefd() -> None:
    source = """
        from peer_relay import dgram
        socket = dgram.createSocket()
        {how}
        def heard(data, rinfo):
            print(data.decode(), flush=True)
            socket.close()
        socket.on("message", heard)
        sender = dgram.createSocket().unref()  # bound while the main thread runs: CPython 3.12 starts no thread later
        sender.bind(0)
        socket.bind(0, lambda: sender.send(b"late", socket.address()["port"]))
    """
    for how, printed in (("socket.ref()", "late\n"), ("socket.unref()", "")):
        with process(source.format(how=how)) as running:
            try:
                out, _ = running.communicate(timeout=30)
            finally:
                running.kill()
        assert running.returncode == 0
        assert out in (printed, "late\n")
