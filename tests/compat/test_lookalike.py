"""`import peer_relay as socket`, `patch()` and `unpatch()`: one class for overlay UDP and everything else."""

from __future__ import annotations

import abc
import importlib
import io
import pickle
import re
import socket as stdlib
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import peer_relay
import pytest

import peer_relay_socket
from peer_relay_socket.surface.udp_socket import Socket


def in_a_fresh_process(source: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_public_name_of_the_stdlib_is_there() -> None:
    missing = {name for name in dir(stdlib) if not name.startswith("_")} - set(dir(peer_relay))
    assert not missing
    assert set(stdlib.__all__) <= set(peer_relay.__all__)
    untouched = {"AF_INET", "SOCK_DGRAM", "error", "timeout", "gaierror", "EAGAIN", "create_connection", "socketpair"}
    for name in untouched | {name for name in stdlib.__all__ if name.isupper()}:
        assert getattr(peer_relay, name) is getattr(stdlib, name)
    namespace: dict[str, object] = {}
    exec("from peer_relay import *", namespace)
    assert namespace["socket"] is peer_relay.socket
    assert namespace["AF_PEER"] == peer_relay.AF_PEER


def test_peers_names_are_never_asked_of_the_resolver() -> None:
    asked = in_a_fresh_process(
        """
        import peer_relay, sys
        events = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
        sys.addaudithook(lambda event, arguments: print(event, arguments[0]) if event in events else None)
        for name in ("nobody.peer", "ab" * 20 + ".peer", "100.64.1.2"):
            for ask in (peer_relay.gethostbyname, peer_relay.gethostbyname_ex, peer_relay.gethostbyaddr):
                try:
                    ask(name)
                except OSError:
                    pass
        """
    )
    assert set(asked.splitlines()) <= {"socket.gethostbyname 100.64.1.2"}


def test_importing_is_light() -> None:
    loaded = in_a_fresh_process("import sys, peer_relay; print(*sys.modules)").split()
    assert not {"asyncio", "janus", "websockets", "cryptography", "aiortc", "threading"} & set(loaded)
    assert not {"dataclasses", "inspect", "peer_relay_socket.config"} & set(loaded), "a third of the time"


def test_the_default_is_overlay_udp_over_ipv4() -> None:
    with peer_relay.socket() as s:
        assert (s.family, s.type, s.proto) == (stdlib.AF_INET, stdlib.SOCK_DGRAM, 0)
        assert type(s) is peer_relay.socket is peer_relay.SocketType
        assert isinstance(s, Socket)
        assert isinstance(s, stdlib.socket)
        s.bind(("127.0.0.1", 0))
        s.settimeout(5)
        assert s.sendto(b"to myself", s.getsockname()) == 9
        assert s.recvfrom(100) == (b"to myself", s.getsockname())


@pytest.mark.parametrize(
    "arguments",
    [
        (stdlib.AF_INET, stdlib.SOCK_STREAM),
        (stdlib.AF_INET6, stdlib.SOCK_STREAM | stdlib.SOCK_NONBLOCK),
        (stdlib.AF_UNIX, stdlib.SOCK_DGRAM),
        (stdlib.AF_UNIX, stdlib.SOCK_STREAM),
    ],
    ids=str,
)
def test_other_sockets_are_the_stdlibs_method_for_method(arguments: tuple[int, int]) -> None:
    with peer_relay.socket(*arguments) as ours, stdlib.socket(*arguments) as theirs:
        assert type(ours) is peer_relay.socket
        for name in ("family", "type", "proto", "timeout"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.getblocking() == theirs.getblocking()
        assert ours.getsockname() == theirs.getsockname()
        assert ours.get_inheritable() is False
        shown = repr(ours).replace("<peer_relay.", "<socket.", 1)
        assert re.sub(r"fd=\d+", "", shown) == re.sub(r"fd=\d+", "", repr(theirs))
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(ours)


def test_tcp_runs_through_our_class() -> None:
    with peer_relay.socket(stdlib.AF_INET, stdlib.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with peer_relay.socket(stdlib.AF_INET, stdlib.SOCK_STREAM) as client:
            client.connect(server.getsockname())
            accepted, address = server.accept()
            with accepted, client.makefile("rw") as file:
                assert isinstance(accepted, peer_relay.socket)
                assert address == client.getsockname()
                file.write("line\n")
                file.flush()
                assert accepted.recv(100) == b"line\n"
                accepted.sendall(memoryview(b"answer\n"))
                assert file.readline() == "answer\n"
                assert client.sendfile(io.BytesIO(b"file")) == 4
                assert accepted.recv(2, stdlib.MSG_PEEK) == b"fi"
                assert accepted.recv_into(bytearray(9)) == 4
                client.shutdown(stdlib.SHUT_WR)
                assert accepted.recv(1) == b""
                with client.dup() as twin:
                    assert type(twin) is peer_relay.socket
                    assert twin.getpeername() == server.getsockname()
        assert client.fileno() == -1
        with pytest.raises(OSError, match="Bad file descriptor"):
            client.recv(1)


def test_fromfd_and_fileno_find_what_the_descriptor_is() -> None:
    left, right = peer_relay.socketpair()
    with left, right, peer_relay.fromfd(left.fileno(), stdlib.AF_UNIX, stdlib.SOCK_STREAM) as twin:
        twin.send(b"x")
        assert right.recv(9) == b"x"
        with peer_relay.socket(fileno=right.detach()) as adopted:
            assert (adopted.family, adopted.type) == (stdlib.AF_UNIX, stdlib.SOCK_STREAM)
    with peer_relay.socket() as udp:
        udp.bind(("127.0.0.1", 0))
        with peer_relay.fromfd(udp.fileno(), udp.family, udp.type) as twin:
            assert twin.getsockname() == udp.getsockname()
        with peer_relay.socket(fileno=stdlib.dup(udp.fileno())) as twin:
            assert (twin.family, twin.type, twin.getsockname()) == (udp.family, udp.type, udp.getsockname())


def test_subclasses_work_for_both_kinds() -> None:
    class Counting(peer_relay.socket):
        sent = 0

        def __init__(self, kind: int, label: str) -> None:
            super().__init__(stdlib.AF_INET, kind)
            self.label = label

        def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]
            self.sent += 1
            return super().send(data, flags)

    class Abstract(peer_relay.socket, abc.ABC):
        pass

    with Counting(stdlib.SOCK_DGRAM, "udp") as udp, Counting(stdlib.SOCK_STREAM, "tcp") as tcp:
        udp.bind(("127.0.0.1", 0))
        udp.connect(udp.getsockname())
        udp.settimeout(5)
        assert udp.send(b"abc") == 3
        assert (udp.recv(9), udp.sent, udp.label) == (b"abc", 1, "udp")
        with pytest.raises(BrokenPipeError):
            tcp.send(b"abc")
        assert (tcp.sent, tcp.label) == (1, "tcp")
        assert isinstance(udp, Counting)
        assert not isinstance(stdlib.socket, Counting)
    with Abstract() as s:
        assert s.type == stdlib.SOCK_DGRAM


def test_arguments_are_refused_as_the_stdlib_does() -> None:
    for arguments in [("inet",), (stdlib.AF_INET, "dgram"), (stdlib.AF_INET, stdlib.SOCK_STREAM, "tcp")]:
        with pytest.raises(TypeError):
            peer_relay.socket(*arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        peer_relay.socket(stdlib.AF_INET, stdlib.SOCK_STREAM, bootstrap=["ws://a.example"])
    with pytest.raises(OSError, match="Protocol not supported"):
        peer_relay.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM, stdlib.IPPROTO_TCP)
    with pytest.raises(OSError, match="Bad file descriptor"):
        peer_relay.socket(fileno=2**20)


@pytest.fixture(name="patched")
def _patched() -> object:
    peer_relay.patch()
    yield stdlib.socket
    peer_relay.unpatch()


def test_patch_replaces_the_class_and_the_resolver_and_unpatch_puts_them_back() -> None:
    names = ("socket", "getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")
    before = {name: getattr(stdlib, name) for name in vars(stdlib)}
    peer_relay.unpatch()
    peer_relay.patch()
    peer_relay.patch()
    try:
        assert {name for name in before if getattr(stdlib, name) is not before[name]} == set(names)
        assert stdlib.gethostbyname("ab" * 20 + ".peer") == "100.106.234.234"
        with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as s:
            assert type(s) is stdlib.socket
            assert isinstance(s, peer_relay.socket)
            assert isinstance(s, peer_relay_socket.Socket)
            with s.dup() as twin:
                assert type(twin) is stdlib.socket
        with stdlib.socket() as s:
            assert (type(s), s.type) == (stdlib.socket, stdlib.SOCK_STREAM)
            assert repr(s).startswith("<socket.socket fd=")
        with peer_relay.socket() as s:
            assert isinstance(s, stdlib.socket)
    finally:
        peer_relay.unpatch()
    assert {name: getattr(stdlib, name) for name in vars(stdlib)} == before


def test_unpatch_leaves_what_others_put_in_place() -> None:
    peer_relay.patch()
    original, stdlib.getaddrinfo = stdlib.getaddrinfo, print  # type: ignore[assignment]
    try:
        peer_relay.unpatch()
        assert stdlib.getaddrinfo is print
    finally:
        stdlib.getaddrinfo = importlib.import_module("peer_relay.names")._getaddrinfo
        assert original is not stdlib.getaddrinfo


def test_patch_reaches_names_that_programs_imported_and_warns_of_classes(tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text("from socket import socket, gethostbyname as look\nclass Late(socket): pass\n")
    printed = in_a_fresh_process(
        f"""
        import sys, warnings
        sys.path.insert(0, {str(tmp_path)!r})
        from socket import socket, SOCK_DGRAM
        import early, peer_relay, socket as stdlib
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            peer_relay.patch()
        print(*[str(w.message) for w in caught], [w.filename for w in caught])
        assert early.socket is socket is stdlib.socket
        assert early.look("ab" * 20) == "100.106.234.234"
        peer_relay.unpatch()
        assert early.socket is socket is stdlib.socket
        assert stdlib.socket.__module__ == "socket"
        """
    )
    assert printed == (
        "peer_relay.patch() came too late for early.Late: "
        "derived from the unpatched socket, still real UDP ['<string>']\n"
    )


def test_stdlib_servers_and_clients_work_while_patched(patched: type) -> None:
    with stdlib.create_server(("127.0.0.1", 0)) as server:
        assert type(server) is patched
        with stdlib.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            with accepted:
                assert type(accepted) is type(client) is patched
                client.send(b"x")
                assert accepted.recv(9) == b"x"
    left, right = stdlib.socketpair()
    with left, right:
        left.send(b"x")
        assert right.recv(9) == b"x"


def test_tls_works_whenever_ssl_was_imported() -> None:
    in_a_fresh_process(
        """
        import peer_relay
        peer_relay.patch()
        import socket, ssl
        plain = socket.socket()
        context = ssl.create_default_context()
        tls = context.wrap_socket(plain, server_hostname="a.example", do_handshake_on_connect=False)
        assert type(tls).__mro__[1].__module__ == "socket" and isinstance(tls, socket.socket)
        assert plain.fileno() == -1 and tls.type == socket.SOCK_STREAM
        tls.close()
        """
    )


def test_the_relays_own_thread_gets_real_sockets(patched: type, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = importlib.import_module("peer_relay_socket.bridge.runtime")
    relay = threading.get_ident() + 1
    kinds: list[type] = []

    def make() -> None:
        nonlocal relay
        relay = threading.get_ident()
        for module in ("asyncio.base_events", "a_finaliser_of_the_program"):
            there: dict[str, Any] = {"__name__": module, "stdlib": stdlib}
            exec("with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as s: kind = type(s)", there)
            kinds.append(there["kind"])

    monkeypatch.setattr(runtime, "on_relay_thread", lambda: threading.get_ident() == relay)
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert [kind is patched for kind in kinds] == [False, True]
    assert kinds[0].__module__ == "socket"
    with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as s:
        assert type(s) is patched
