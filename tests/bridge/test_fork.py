"""What fork does to sockets and peers: each case is a program in a process of its own, which forks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bridge.forks import relay, run

__all__ = ["relay"]


def test_a_forked_child_is_refused_all_but_sending() -> None:
    run("""
        server, client, address = pair()
        server.fileno()
        client.sendto(b"for the parent", server.getsockname())

        def child():
            for sock in (server, server.dup(), Socket(fileno=os.dup(server.fileno()))):
                refused(sock.recvfrom, 100)
                refused(sock.recv, 100)
                refused(sock.recv_into, bytearray(100))
                refused(sock.recvmsg, 100)
                refused(sock.bind, ("127.0.0.1", 0))
                refused(sock.connect, address)
                refused(sock.recvfrom, 100, socket.MSG_DONTWAIT)
                assert sock.connect_ex(address) == errno.ENETDOWN
            refused(server.peer.start)
            refused(server.peer.send, bytes(20), "text")
            server.peer.destroy()
            assert server.getsockname()[1]
            server.close()

        reap(fork(child))
        assert server.recv(100) == b"for the parent"
        assert select.select([server], [], [], 0)[0] == []
        """)


def test_a_child_that_polls_an_inherited_socket_is_told() -> None:
    run("""
        import selectors
        server, client, _ = pair()
        poller = select.epoll()
        poller.register(server, select.EPOLLIN)

        def child():
            assert select.select([client], [client], [], 10) == ([client], [client], [])
            with selectors.DefaultSelector() as selector:
                selector.register(server, selectors.EVENT_READ)
                assert len(selector.select(10)) == 1
            refused(server.recv, 10)

        reap(fork(child))
        assert poller.poll(0) == []
        client.sendto(b"still", server.getsockname())
        assert len(poller.poll(10)) == 1 and server.recv(10) == b"still"
        """)


@pytest.mark.slow
def test_locks_that_other_threads_hold_at_the_fork_do_not_block_the_child() -> None:
    run("""
        server, client, address = pair()
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                client.sendto(b"x", server.getsockname())
                server.recv(100)
                with Socket() as other:
                    other.bind(("127.0.0.1", 0))

        threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()

        def child():
            server.sendto(b"child", address)
            refused(server.recv, 10)
            with Socket() as own:
                own.bind(("127.0.0.1", 0))
                own.sendto(b"me", own.getsockname())
                assert own.recv(10) == b"me"
            server.close()
            client.close()

        for _ in range(25):
            reap(fork(child))
        stop.set()
        for _ in threads:
            client.sendto(b"enough", server.getsockname())
        for thread in threads:
            thread.join(20)
        """)


def test_a_thread_blocked_in_the_parent_is_not_disturbed() -> None:
    run("""
        server, client, _ = pair()
        heard = []
        thread = threading.Thread(target=lambda: heard.append(server.recv(100)))
        thread.start()
        reap(fork(lambda: refused(server.recv, 10)))
        client.sendto(b"for the thread", server.getsockname())
        thread.join(10)
        assert heard == [b"for the thread"]
        """)


@pytest.mark.slow
def test_sockets_made_in_the_child_are_on_a_peer_of_its_own(relay: str) -> None:
    output = run(
        """
        server = Socket()
        server.bind(("", 0))
        assert server.peer.wait_connected(10)

        def child():
            own = Socket()
            own.settimeout(10)
            own.sendto(b"from the child", (server.peer.address, server.getsockname()[1]))
            assert own.recv(100) == b"heard"
            print(own.peer.id.hex(), flush=True)

        pid = fork(child)
        server.settimeout(10)
        data, address = server.recvfrom(100)
        assert data == b"from the child"
        server.sendto(b"heard", address)
        reap(pid)
        print(server.peer.id.hex())
        """,
        PEER_RELAY_BOOTSTRAP=relay,
    )
    assert len(set(output.split())) == 2


@pytest.mark.slow
def test_a_child_never_takes_its_parents_key(tmp_path: Path) -> None:
    output = run(
        """
        server = Socket()
        server.bind(("", 0))
        server.settimeout(10)

        def child():
            own = Socket()
            own.sendto(b"from the child", (server.peer.address, server.getsockname()[1]))
            own.peer.flush(10)
            with Socket(identity=os.environ["PEER_RELAY_IDENTITY"]) as other:
                assert other.peer.id not in (own.peer.id, server.peer.id)
            assert own.peer.id != server.peer.id and own.peer.url is None
            own.peer.destroy()

        pid = fork(child)
        assert server.recv(100) == b"from the child"
        reap(pid)
        """,
        PEER_RELAY_IDENTITY=str(tmp_path / "key"),
        PEER_RELAY_PORT="0",
    )
    assert re.search(r"key file .* fresh identity", output)


def test_a_child_keeps_nothing_of_the_relay_open() -> None:
    run("""
        peer = Peer(host="127.0.0.1", port=0)
        port = int(peer.url.rpartition(":")[2])
        held = socket.socketpair()
        other = Peer(bootstrap=[peer.url])
        assert other.wait_connected(10)

        def child():
            kinds = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                     if os.path.lexists(f"/proc/self/fd/{fd}")]
            mine = [kind for kind in kinds if kind.startswith(("socket:", "anon_inode:"))]
            assert len(mine) == len(held), kinds

        reap(fork(child))
        reader, writer = os.pipe()

        def linger():
            os.close(writer)
            os.read(reader, 1)

        pid = fork(linger)
        other.destroy()
        peer.destroy()
        socket.create_server(("127.0.0.1", port)).close()
        os.close(writer)
        reap(pid)
        """)


def test_an_endpoint_lives_as_long_as_a_child_holds_it() -> None:
    run("""
        server, client, address = pair()
        name = server.getsockname()
        reader, writer = os.pipe()

        def child():
            os.read(reader, 1)
            server.sendto(b"late", address)

        pid = fork(child)
        server.close()
        with Socket() as other:
            try:
                other.bind(name)
            except OSError as error:
                assert error.errno == errno.EADDRINUSE
            else:
                raise AssertionError("the port was free")
            os.write(writer, b"!")
            assert client.recvfrom(100) == (b"late", name)
            reap(pid)
            other.bind(name)
        """)


def test_a_child_is_told_when_the_parent_has_ended() -> None:
    run("""
        server, client, address = pair()
        reader, writer = os.pipe()

        def child():  # its own child outlives it
            pid = os.getpid()
            own, _, _ = pair()

            def grandchild():
                while os.getppid() == pid:
                    time.sleep(0.01)
                refused(own.sendto, b"x", address)
                os.write(writer, b"told")

            fork(grandchild)

        reap(fork(child))
        assert os.read(reader, 10) == b"told"
        """)


def test_a_parent_that_is_stopped_does_not_hang_its_child() -> None:
    run("""
        server, client, address = pair()
        server.settimeout(0.2)
        parent = os.getpid()

        def child():
            outer = os.getpid()

            def stopped():
                try:
                    while True:
                        server.sendto(bytes(60000), address)
                except TimeoutError:
                    pass
                server.setblocking(False)
                try:
                    server.sendto(bytes(60000), address)
                except BlockingIOError:
                    pass
                else:
                    raise AssertionError("there was room")
            os.kill(parent, signal.SIGSTOP)
            try:
                stopped()
            finally:
                os.kill(parent, signal.SIGCONT)

        reap(fork(child))
        """)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["close_fds=False", "preexec_fn=lambda: None"])
def test_programs_that_are_started_inherit_nothing_of_ours(relay: str, how: str) -> None:
    output = run(
        f"""
        import subprocess
        server, client, _ = pair()
        server.fileno()
        assert Peer().wait_connected(10)
        reap(fork(lambda: None))  # so that there is a channel
        lister = "import os; print([os.readlink(f'/proc/self/fd/{{fd}}') for fd in range(3, 100)"
        lister += " if os.path.lexists(f'/proc/self/fd/{{fd}}')])"
        print(subprocess.run([sys.executable, "-c", lister], {how}, capture_output=True, text=True).stdout)
        client.sendto(b"still there", server.getsockname())
        assert server.recv(100) == b"still there"
        """,
        PEER_RELAY_BOOTSTRAP=relay,
    )
    assert output.split() == ["[]"]


def test_the_relay_thread_holds_no_lock_when_the_child_is_made() -> None:
    run(
        """
        from peer_relay_socket.bridge.runtime import Runtime

        held, entered = threading.Lock(), threading.Event()

        def in_the_midst():
            with held:
                entered.set()
                time.sleep(0.2)  # as OpenSSL's own locks are held, for a shorter time

        with Peer(host="127.0.0.1", port=0):
            Runtime.current().call(in_the_midst)
            assert entered.wait(10)
            pid = fork(lambda: os._exit(held.locked()))
            reap(pid)
            assert not held.locked()
            entered.clear()
            Runtime.current().call(entered.set)
            assert entered.wait(10)  # the thread goes on in the parent
        """
    )
