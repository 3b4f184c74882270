"""Where a stranger's word makes this machine send: one table of the places that neighbours may advertise, in every
spelling. WebRTC candidates have theirs in test_ssrf_candidates.py.

Each URL goes the whole way: a neighbour tells it over a real link of the engine, the engine asks for dials, and these
are performed by the real dialler, on a loop that resolves names as the table says and only notes where it is to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import pytest

from peer_relay_socket.address import PeerId
from peer_relay_socket.bridge.dialler import Dialler
from peer_relay_socket.bridge.own_networks import OwnNetworks
from peer_relay_socket.codec import control
from peer_relay_socket.codec.control import Contact
from peer_relay_socket.codec.packet import LinkOp
from peer_relay_socket.config import PeerConfig
from peer_relay_socket.engine.effects import Dial
from peer_relay_socket.scope import Scope
from peer_relay_socket.transport.link import LinkError
from peer_relay_socket.transport.websocket import dial
from tests.sim.bench import Bench
from tests.transport.links import Recorder

INTERNET, LAN, WIRE, HERE = "8.0.0.1", "10.0.0.9", "fe80::9", "127.0.0.1"
"""Where the neighbour who tells us is seen: what it may send us to reaches at least as far."""
OWN = [ipaddress.ip_network(network) for network in ("81.2.69.0/24", "2a02:8071:1234:5600::/64", "93.184.216.34/32")]
"""Networks that this machine is on, beside those that nobody outside can reach."""
SEEN = ("77.1.2.3",)
"""Where relays see this machine: the address of a router that translates."""
STRANGER: PeerId = b"\x5a" * 20


class Loop(asyncio.SelectorEventLoop):
    """Resolves names by a table, of which each question takes the next answer, and connects nowhere."""

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        super().__init__()
        self.names = names
        self.connected: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """Answer as the table says."""
        answers = self.names.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Note where to."""
        assert host is not None, "a socket that was connected elsewhere"
        self.connected.append(host)
        raise ConnectionRefusedError(host)


def told(where: str, url: str) -> list[Dial]:
    """Return what a peer on OWN networks does whose neighbour, seen at `where`, says that a stranger can be dialled at
    `url`."""
    bench = Bench()
    us, neighbour = bench.node("us"), bench.node("neighbour", serves=True)
    neighbour.config.urls = ()
    cable = bench.join(us, neighbour)
    state = us.engine._links.all[cable.number(us)]
    scope = Scope.of(where)
    assert scope is not None
    state.scope, state.nearby = scope, scope is Scope.LOOPBACK or OwnNetworks(lambda: OWN, lambda: SEEN).is_near(where)
    bench.flow()
    us.effects.clear()
    link = neighbour.engine._links.by_id[us.peer_id]
    neighbour.engine._links.tell(link, LinkOp.NEIGHBOURS, control.contacts([Contact(STRANGER, (url,))]))
    bench.flow()
    return us.take(Dial)


def connects(dials: list[Dial], names: dict[str, list[list[str]]]) -> list[str]:
    """Return where performing `dials` connects to."""

    async def perform() -> list[str]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        over = asyncio.Event()
        told = print, lambda _url, _why: over.set(), lambda _place, _urls: None, lambda: None
        dialling = Dialler(Recorder(), PeerConfig(), OwnNetworks(lambda: OWN, lambda: SEEN), *told)
        for each in dials:
            over.clear()
            dialling.start(each)
            async with asyncio.timeout(10):
                await over.wait()
        return loop.connected

    with asyncio.Runner(loop_factory=lambda: Loop(names)) as runner:
        return runner.run(perform())


NAMES = {
    "public.example": ["8.8.8.8"],
    "lan.example": ["192.168.1.1"],
    "self.example": ["127.0.0.1"],
    "self6.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "any.example": ["0.0.0.0"],
    "several.example": ["127.0.0.1", "10.0.0.1", "8.8.8.8"],
}

PLACES: list[tuple[str, str, str, str, str]] = [
    # host of the URL; where it leads when a neighbour on the Internet, in our LAN, on our wire, on this machine says so
    ("8.8.8.8", "8.8.8.8", "8.8.8.8", "8.8.8.8", "8.8.8.8"),
    ("[2600::1]", "2600::1", "2600::1", "2600::1", "2600::1"),
    ("10.0.0.1", "", "10.0.0.1", "10.0.0.1", "10.0.0.1"),
    ("172.16.0.1", "", "172.16.0.1", "172.16.0.1", "172.16.0.1"),
    ("192.168.1.1", "", "192.168.1.1", "192.168.1.1", "192.168.1.1"),
    ("100.64.0.1", "", "100.64.0.1", "100.64.0.1", "100.64.0.1"),
    ("[fd00::1]", "", "fd00::1", "fd00::1", "fd00::1"),
    ("[fec0::1]", "", "fec0::1", "fec0::1", "fec0::1"),
    ("169.254.169.254", "", "", "169.254.169.254", "169.254.169.254"),
    ("[fe80::1]", "", "", "fe80::1", "fe80::1"),
    ("127.0.0.1", "", "", "", "127.0.0.1"),
    ("127.9.9.9", "", "", "", "127.9.9.9"),
    ("[::1]", "", "", "", "::1"),
    # other spellings of IPv4 addresses, which resolvers take (inet_aton): refused unless everything is allowed
    ("2130706433", "", "", "", "127.0.0.1"),
    ("0x7f000001", "", "", "", "127.0.0.1"),
    ("0x7f.1", "", "", "", "127.0.0.1"),
    ("127.1", "", "", "", "127.0.0.1"),
    ("0177.0.0.1", "", "", "", "127.0.0.1"),
    ("017700000001", "", "", "", "127.0.0.1"),
    ("134744072", "", "", "", "8.8.8.8"),
    ("0xa9fea9fe", "", "", "", "169.254.169.254"),
    # IPv6 addresses that stand for IPv4 ones
    ("[::ffff:127.0.0.1]", "", "", "", "127.0.0.1"),
    ("[::ffff:7f00:1]", "", "", "", "127.0.0.1"),
    ("[::ffff:10.0.0.1]", "", "10.0.0.1", "10.0.0.1", "10.0.0.1"),
    ("[::ffff:169.254.169.254]", "", "", "169.254.169.254", "169.254.169.254"),
    ("[64:ff9b::8.8.8.8]", *["64:ff9b::808:808"] * 4),
    ("[64:ff9b::10.0.0.1]", "", *["64:ff9b::a00:1"] * 3),
    ("[64:ff9b::127.0.0.1]", "", "", "", "64:ff9b::7f00:1"),
    ("[64:ff9b:1::8.8.8.8]", "", *["64:ff9b:1::808:808"] * 3),
    ("[2002:808:808::1]", *["2002:808:808::1"] * 4),
    ("[2002:a00:1::1]", "", *["2002:a00:1::1"] * 3),
    ("[2002:7f00:1::1]", "", "", "", "2002:7f00:1::1"),
    ("[2001:0:808:808:0:0:80ff:fffe]", "", "", "", "2001:0:808:808::80ff:fffe"),
    ("[2600::5efe:192.168.1.1]", "", *["2600::5efe:c0a8:101"] * 3),
    # what nobody may dial
    ("0.0.0.0", "", "", "", ""),
    ("0.1.2.3", "", "", "", ""),
    ("[::]", "", "", "", ""),
    ("224.0.0.1", "", "", "", ""),
    ("[ff02::1]", "", "", "", ""),
    ("240.0.0.1", "", "", "", ""),
    ("255.255.255.255", "", "", "", ""),
    ("[::7f00:1]", "", "", "", ""),
    # names: asked about once resolved, each address by itself
    ("public.example", *["8.8.8.8"] * 4),
    ("lan.example", "", *["192.168.1.1"] * 3),
    ("metadata.example", "", "", "169.254.169.254", "169.254.169.254"),
    ("self.example", "", "", "", "127.0.0.1"),
    ("self6.example", "", "", "", "::1"),
    ("mapped.example", "", "", "", "127.0.0.1"),
    ("any.example", "", "", "", ""),
    ("several.example", "8.8.8.8", "10.0.0.1 8.8.8.8", "10.0.0.1 8.8.8.8", "127.0.0.1 10.0.0.1 8.8.8.8"),
    ("no.example", "", "", "", ""),
    # names of this machine, and what is no host at all
    ("localhost.", "", "", "", ""),
    ("a.localhost", "", "", "", ""),
    ("[fe80::1%25eth0]", "", "", "", ""),
    ("user@127.0.0.1", "", "", "", ""),
    ("127.0.0.1#@8.8.8.8", "", "", "", ""),
    ("8.8.8.8%2f@127.0.0.1", "", "", "", ""),
]


@pytest.mark.parametrize(("host", "internet", "lan", "wire_", "here"), PLACES, ids=[row[0] for row in PLACES])
def test_an_advertised_url_leads_no_nearer_than_who_told_it(
    host: str, internet: str, lan: str, wire_: str, here: str
) -> None:
    for where, expected in ((INTERNET, internet), (LAN, lan), (WIRE, wire_), (HERE, here)):
        dials = told(where, f"ws://{host}:9/")
        assert connects(dials, {name: [answer] for name, answer in NAMES.items()}) == expected.split(), where


ON_WIRE = "81.2.69.7"
"""A neighbour at the next socket of the wall, at a public address."""

OWN_PLACES: list[tuple[str, str, str]] = [
    # host of the URL; where it leads when a neighbour on the Internet, on our wire says so
    ("81.2.69.142", "", "81.2.69.142"),
    ("81.2.69.8", "", "81.2.69.8"),
    ("93.184.216.34", "", "93.184.216.34"),
    ("[2a02:8071:1234:5600::99]", "", "2a02:8071:1234:5600::99"),
    ("[::ffff:81.2.69.142]", "", "81.2.69.142"),
    ("[64:ff9b::81.2.69.142]", "", "64:ff9b::5102:458e"),
    ("[2002:5102:458e::1]", "", "2002:5102:458e::1"),
    ("own.example", "", "81.2.69.142"),
    ("81.2.70.1", "81.2.70.1", "81.2.70.1"),
    ("[2a02:8071:1234:5601::99]", *["2a02:8071:1234:5601::99"] * 2),
    ("10.0.0.1", "", ""),
]


@pytest.mark.parametrize(("host", "internet", "wire_"), OWN_PLACES, ids=[row[0] for row in OWN_PLACES])
def test_this_machines_own_addresses_and_wires_are_not_strangers_to_name(host: str, internet: str, wire_: str) -> None:
    for where, expected in ((INTERNET, internet), (ON_WIRE, wire_), (HERE, wire_)):
        if where == HERE and host == "10.0.0.1":
            continue
        dials = told(where, f"ws://{host}:6379")
        assert connects(dials, {"own.example": [["81.2.69.142"]]}) == expected.split(), where


@pytest.mark.parametrize("host", ["77.1.2.3", "[::ffff:77.1.2.3]", "[2002:4d01:203::1]", "router.example"])
def test_where_relays_see_us_is_not_for_strangers_to_name(host: str) -> None:
    names = {"router.example": [["77.1.2.3"]]}
    assert connects(told(INTERNET, f"ws://{host}:80"), names) == []
    assert len(connects(told(SEEN[0], f"ws://{host}:80"), names)) == 1, "one that is there itself"


@pytest.mark.parametrize(
    "end",
    [
        "/FLUSHALL?x=1",
        "/cgi-bin/reset?confirm=yes",
        "/?",
        "/a.php",
        "/%2e%2e",
        "/a#b",
        "#" + "ab" * 20,
        "/" + "a" * 64,
        "?x",
    ],
)
@pytest.mark.parametrize("where", [INTERNET, LAN, HERE])
def test_a_stranger_chooses_no_request(where: str, end: str) -> None:
    assert told(where, f"ws://8.8.8.8:9{end}") == []


@pytest.mark.parametrize("end", ["", "/", "/relay", "/a/b-c_D9/", "/" + "a" * 63])
def test_a_harmless_path_is_a_relay_behind_a_proxy(end: str) -> None:
    assert [dial.url for dial in told(INTERNET, f"wss://relay.example{end}")] == [f"wss://relay.example{end}"]


@pytest.mark.parametrize(
    "url", ["ws://me:pw@8.8.8.8", "ws://8.8.8.8:", "ws://8.8.8.8:123456", "http://8.8.8.8", "ws://a b"]
)
def test_what_is_no_plain_url_is_not_dialled(url: str) -> None:
    assert told(INTERNET, url) == []


def test_a_name_that_resolves_to_something_else_the_second_time_gains_nothing() -> None:
    dials = told(INTERNET, "ws://rebind.example/")
    names = {"rebind.example": [["8.8.8.8", "8.8.4.4"], ["127.0.0.1"]]}
    assert connects(dials, names) == ["8.8.8.8", "8.8.4.4"]  # both from the first answer
    assert connects(dials, names) == []  # the second answer is asked about anew
    assert connects(dials, {"rebind.example": [["127.0.0.1"], ["8.8.8.8"]]}) == []


def test_a_redirect_leads_nowhere() -> None:
    async def perform() -> None:
        reached = asyncio.Event()

        async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reached.set()
            writer.close()

        async def redirecting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            place = f"http://127.0.0.1:{inner.sockets[0].getsockname()[1]}/"
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()

        async with await asyncio.start_server(target, "127.0.0.1", 0) as inner:
            async with await asyncio.start_server(redirecting, "127.0.0.1", 0) as outer:
                url = f"ws://127.0.0.1:{outer.sockets[0].getsockname()[1]}/"
                with pytest.raises(LinkError, match="answered HTTP 302"):
                    await dial(Recorder(), url, timeout=10, allow=lambda _host: True, proxy=None)
            assert not reached.is_set()

    asyncio.run(perform())


@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("answer", ["10.0.0.1", "8.8.8.8"])
def test_a_proxy_is_given_addresses_and_not_the_names_of_strangers(
    kind: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a name leads wherever it leads the proxy: into the network behind it."""
    monkeypatch.setattr(socket, "getaddrinfo", _resolving(socket.getaddrinfo, {"stranger.example": answer}))

    async def perform() -> bytes:
        asked = bytearray()

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if kind == "socks5":
                asked.extend(await reader.readexactly(3))
                writer.write(b"\x05\x00")
                asked.extend(await reader.readexactly(10))
            else:
                asked.extend(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
            via = f"{kind}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with contextlib.suppress(OSError):
                await dial(
                    Recorder(),
                    "ws://stranger.example:80/",
                    timeout=10,
                    allow=Scope.GLOBAL.covers,
                    proxy=via,
                    named=False,
                )
        return bytes(asked)

    asked = asyncio.run(perform())
    assert b"stranger" not in asked
    spelled = b"\x08\x08\x08\x08" if kind == "socks5" else b"CONNECT 8.8.8.8:80 "
    assert (spelled in asked) is (answer == "8.8.8.8")


def _resolving(real: Callable[..., Any], names: dict[str, str]) -> Callable[..., Any]:
    def getaddrinfo(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host in names and not options.get("flags", 0) & socket.AI_NUMERICHOST:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names[host], port))]
        return real(host, port, *rest, **options)

    return getaddrinfo
