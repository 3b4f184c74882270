"""`peer-relay node --admin`: health, metrics, the record and the page, of a node that is a process; who is kept out."""

from __future__ import annotations

import base64
import html.parser
import http.client
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from peer_relay_socket import Peer, Socket
from peer_relay_socket.limits import ADMIN_CLIENTS, ADMIN_HEAD, ADMIN_PATIENCE, STREAM_CLIENTS
from tests.loopback import free_port
from tests.patience import LIMIT, until
from tests.processes import environment, read_line

Called = Callable[..., tuple[int, str, str]]


class Node(NamedTuple):
    process: subprocess.Popen[str]
    id: str
    url: str
    admin: int

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=LIMIT)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def say(self, data: bytes) -> bytes:
        """Return all that is answered to raw bytes."""
        with socket.create_connection(("127.0.0.1", self.admin), timeout=LIMIT) as sock:
            answer = b""
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while part := sock.recv(65536):
                    answer += part
            except OSError:  # let go without a word
                pass
            return answer


@contextmanager
def node(*options: str, host: str = "127.0.0.1", admin: int | None = None) -> Iterator[Node]:
    admin = admin or free_port()
    argv = [sys.executable, "-m", "peer_relay", "node", "--admin", f"{host}:{admin}", *options]
    with subprocess.Popen(
        argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            words = read_line(process.stdout).split()
            assert words[:1] == ["node"], process.communicate()
            yield Node(process, words[1], words[3], admin)
        finally:
            process.kill()


def test_a_node_says_that_it_lives_and_is_ready_and_what_it_knows() -> None:
    with node() as served, Peer(bootstrap=served.url, wrtc=False) as peer:
        assert peer.wait_connected(LIMIT)
        assert served.get("/livez") == (200, "alive\n")
        assert served.get("/readyz") == (200, "ready\n")
        until(lambda: len(json.loads(served.get("/status")[1])["peers"][0]["links"]) == 1)
        (record,) = json.loads(served.get("/status")[1])["peers"]
        assert (record["id"], record["relays"]) == (served.id, True)
        assert record["links"][0]["id"] == peer.id.hex()
        assert served.get("/status", "HEAD") == (200, "")
        assert served.get("/nothing")[0] == 404


@pytest.mark.slow
def test_a_node_that_is_cut_off_lives_and_is_not_ready() -> None:
    with node("--bootstrap", f"ws://127.0.0.1:{free_port()}") as served:
        assert served.get("/livez")[0] == 200
        assert served.get("/readyz") == (503, "cut off: no bootstrap URL answers\n")


def test_metrics_follow_the_fields_naming_and_carry_no_ids() -> None:
    with node() as served, Peer(bootstrap=served.url, wrtc=False) as peer:
        assert peer.wait_connected(LIMIT)
        until(lambda: 'direction="in"' in served.get("/metrics")[1])
        text = served.get("/metrics")[1]
        families = {family.name: family for family in text_string_to_metric_families(text)}
        (links,) = families["peer_relay_links"].samples
        assert (links.labels, links.value) == ({"scope": "loopback", "direction": "in", "carrier": "websocket"}, 1.0)
        assert families["peer_relay_ready"].samples[0].value == 1.0
        assert families["peer_relay_open_fds"].samples[0].value > 3
        for name in ("peer_relay_forwarded_bytes", "peer_relay_drops", "peer_relay_refusals"):
            assert families[name].type == "counter"
            assert all(sample.name.endswith("_total") for sample in families[name].samples)
        assert peer.id.hex()[:8] not in text
        assert served.id[:8] not in text
        assert "127.0.0.1" not in text


def test_the_link_port_answers_healthz_and_nothing_of_the_admin_port() -> None:
    with node() as served:
        link = http.client.HTTPConnection(served.url.removeprefix("ws://"), timeout=LIMIT)
        link.request("GET", "/healthz")
        assert link.getresponse().status == 200
        for path in ("/status", "/metrics", "/"):
            link.close()
            link.request("GET", path)
            assert link.getresponse().status == 426
        link.close()


def test_sigterm_drains_a_node_within_five_seconds() -> None:
    with node() as served, Peer(bootstrap=served.url, wrtc=False) as peer:
        assert peer.wait_connected(LIMIT)
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(LIMIT) == 0
        assert time.monotonic() - began < 10  # five, on a machine that does nothing else
        until(lambda: not peer.peers)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--admin", "127.0.0.1"], "--admin: '127.0.0.1' is not HOST:PORT"),
        (["--admin", "127.0.0.1:70000"], "is not HOST:PORT"),
        (["--admin", "0.0.0.0:0"], "off loopback it needs --admin-token-file"),
        (
            ["--admin", "127.0.0.1:0", "--admin-token-file", "/nonexistent"],
            "--admin-token-file /nonexistent: No such file",
        ),
        (["--admin", "127.0.0.1:0", "--admin-token-file", "/dev/null"], "no token in it"),
        (["--admin-token-file", "/dev/null"], "of no use without --admin"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_admin_options_get_one_line_and_status_2(called: Called, options: list[str], complaint: str) -> None:
    status, out, error = called("node", *options)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert complaint in error


def test_an_admin_port_in_use_is_said_in_one_line(called: Called) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, out, error = called("node", "--admin", f"127.0.0.1:{taken.getsockname()[1]}")
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert "Address already in use" in error


def test_with_a_token_only_probes_need_none(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    with node("--admin-token-file", str(token)) as served:
        assert served.get("/livez")[0] == served.get("/readyz")[0] == 200
        for path in ("/status", "/metrics", "/"):
            assert served.get(path)[0] == 401
            assert served.get(path, Authorization="Bearer guess")[0] == 401
            assert served.get(path, Authorization="Basic ???")[0] == 401
            assert served.get(path, Authorization="Bearer secret")[0] == 200
            basic = base64.b64encode(b"anyone:secret").decode()
            assert served.get(path, Authorization=f"Basic {basic}")[0] == 200


def test_pages_of_other_sites_are_kept_out() -> None:
    with node() as served:
        assert served.get("/status", Host=f"localhost:{served.admin}")[0] == 200
        assert served.get("/status", Host=f"rebound.example:{served.admin}")[0] == 421
        assert served.get("/status", Origin="https://example.org")[0] == 403
        assert served.get("/status", Origin=f"http://127.0.0.1:{served.admin}")[0] == 200
        assert served.get("/status", "POST")[0] == 405


@pytest.mark.slow
def test_garbage_slow_clients_and_crowds_do_no_harm() -> None:
    with node() as served:
        for garbage, answer in (
            (b"\r\n\r\n", b"HTTP/1.1 400 "),
            (b"GET\r\n\r\n", b"HTTP/1.1 400 "),
            (b"GET http://x/ HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"HTTP/1.1 421 "),
            (b"\xff\xfe" * 100 + b"\r\n\r\n", b"HTTP/1.1 400 "),
            (b"GET / HTTP/1.1\r\nx: " + b"y" * (2 * ADMIN_HEAD) + b"\r\n\r\n", b"HTTP/1.1 431 "),
            (b"GET /livez HTTP/1.1\r\nHost: localhost", b""),
            (b"", b""),
        ):
            assert served.say(garbage).startswith(answer), garbage[:40]
        alive = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with ExitStack() as idle:
            for _ in range(2 * ADMIN_CLIENTS):
                idle.enter_context(socket.create_connection(("127.0.0.1", served.admin), timeout=LIMIT))
            until(lambda: served.say(alive).startswith(b"HTTP/1.1 200 "), 2 * ADMIN_PATIENCE + 1.0)
        answers: list[int] = []

        def scrape() -> None:
            answers.extend(served.get("/metrics")[0] for _ in range(50))

        scrapers = [threading.Thread(target=scrape) for _ in range(20)]
        for thread in scrapers:
            thread.start()
        for thread in scrapers:
            thread.join()
        assert len(answers) == 1000
        assert set(answers) <= {200, 503}
        assert served.get("/livez")[0] == 200
        assert served.process.poll() is None


def memory(pid: int) -> int:
    """Return the bytes of memory that a process has."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


@pytest.mark.slow
def test_a_thousand_at_once_who_read_nothing_cost_little_and_delay_no_datagram() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with (
            node() as served,
            Socket(bootstrap=served.url, wrtc=False) as a,
            Socket(bootstrap=served.url, wrtc=False) as b,
            ExitStack() as crowd,
        ):
            for sock in (a, b):
                sock.bind(("", 0))
                sock.settimeout(LIMIT)
                assert sock.peer.wait_connected(LIMIT)
            there = b.peer.address, b.getsockname()[1]

            def slowest() -> float:
                most = 0.0
                for _ in range(50):
                    began = time.monotonic()
                    a.sendto(b"x", there)
                    b.recv(10)
                    most = max(most, time.monotonic() - began)
                return most

            slowest()
            served.get("/metrics")
            before = memory(served.process.pid)
            for path in (b"/metrics", b"/status", b"/stream", b"/") * 250:
                sock = crowd.enter_context(socket.create_connection(("127.0.0.1", served.admin), timeout=LIMIT))
                sock.send(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert slowest() < 1.0  # some milliseconds, on a machine that does nothing else
            assert len(list(Path(f"/proc/{served.process.pid}/fd").iterdir())) < 60 + 2 * ADMIN_CLIENTS
            assert memory(served.process.pid) - before < 32 * 1024 * 1024
            crowd.close()
            until(lambda: served.get("/livez")[0] == 200)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Links(html.parser.HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_loads_nothing_from_elsewhere() -> None:
    with node() as served:
        for page in ("/", "/join"):
            status, text = served.get(page)
            assert status == 200
            links = Links()
            links.feed(text)
            assert set(links.found) <= {"/", "/join", "/status", "/metrics"}
            assert "url(" not in text
            assert "prefers-color-scheme" in text


def follow(served: Node, stack: ExitStack) -> socket.socket:
    """Ask for the stream, and return the connection."""
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", served.admin), timeout=LIMIT))
    sock.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return sock


@pytest.mark.slow
def test_the_stream_tells_records_rates_and_losses_and_is_bounded() -> None:
    with node() as served, Peer(bootstrap=served.url, wrtc=False) as peer, ExitStack() as stack:
        assert peer.wait_connected(LIMIT)
        lines = follow(served, stack).makefile("rb")
        assert lines.readline() == b"HTTP/1.1 200 OK\r\n"
        while lines.readline().strip():
            pass
        first, _, second = (lines.readline() for _ in range(3))
        told = json.loads(second.removeprefix(b"data: "))
        (record,) = told["peers"]
        assert json.loads(first.removeprefix(b"data: "))["rates"][served.id] == {}
        assert (told["not_ready"], record["id"], told["lost"][served.id]) == ("", served.id, [0])
        assert set(told["rates"][served.id]) == {peer.id.hex()}
        assert set(record) == set(json.loads(served.get("/status")[1])["peers"][0])
        for _ in range(STREAM_CLIENTS - 1):  # of which none reads
            assert follow(served, stack).recv(12) == b"HTTP/1.1 200"
        assert follow(served, stack).recv(12) == b"HTTP/1.1 503"
        assert served.get("/livez")[0] == 200
        stack.close()

        def has_room() -> bool:
            with ExitStack() as one:
                return follow(served, one).recv(12) == b"HTTP/1.1 200"

        until(has_room)


def test_log_lines_may_be_json_and_tell_of_links_that_come_and_go() -> None:
    argv = [sys.executable, "-m", "peer_relay", "node", "--log-format", "json"]
    with subprocess.Popen(
        argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            url = read_line(process.stdout).split()[3]
            with Peer(bootstrap=url, wrtc=False) as peer:
                assert peer.wait_connected(LIMIT)
                name = peer.id.hex()[:8]
            lines = [json.loads(read_line(process.stderr)) for _ in range(2)]
            process.send_signal(signal.SIGTERM)
            lines += [json.loads(line) for line in process.communicate(timeout=LIMIT)[1].splitlines()]
        finally:
            process.kill()
    assert all(set(line) == {"time", "level", "message"} for line in lines)
    up, down = [line for line in lines if name in line["message"]][:2]
    assert (up["level"], up["message"]) == ("info", f"link up: {name} at 127.0.0.1")
    assert re.fullmatch(rf"link down: {name} at 127\.0\.0\.1 after \d+ s, \d+ bytes in, \d+ out: .+", down["message"])
