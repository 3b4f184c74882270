"""A small internet in network namespaces: a relay, TURN, an HTTP proxy, and hosts behind NATs of any kind.

    relay  203.0.113.1 ---+--- nat-a 203.0.113.10 --- host-a 192.168.1.2
    second 203.0.113.2 ---+--- nat-b 203.0.113.20 --- host-b 192.168.2.2

Everything lives in a user namespace of its own: no root is needed, nothing else is touched, and it is gone with the
process that holds it. `Lab.missing` says why it cannot be had here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.patience import LIMIT
from tests.processes import read_line

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
HOSTS = {"a": "192.168.1.2", "b": "192.168.2.2"}
RELAY = "203.0.113.1"
URL = f"ws://{RELAY}:80"
PROXY = f"http://{RELAY}:3128"
TURN = f"turn:lab:secret@{RELAY}:3479"
MODES = ("full", "addr", "port", "symmetric", "noudp", "webonly", "proxy")
"""Full cone, address-restricted, port-restricted, symmetric; no UDP; TCP to ports 80 and 443 alone; nothing but an HTTP
proxy."""

_LEARN = {
    "full": 'oif "eth0" ip protocol udp update @mapped { udp sport : ip saddr . udp sport }',
    "addr": """oif "eth0" ip protocol udp update @mapped { udp sport : ip saddr . udp sport }
               oif "eth0" ip protocol udp update @seen { udp sport . ip daddr }""",
}
"""What an outgoing packet opens: its port to everybody, or its port to the address it went to."""
_LET_IN = {
    "full": 'iif "eth0" ip protocol udp dnat ip to udp dport map @mapped',
    "addr": 'iif "eth0" ip protocol udp udp dport . ip saddr @seen dnat ip to udp dport map @mapped',
}
_FORBID = {
    "noudp": 'iif "lan" ip protocol udp drop',
    "webonly": """iif "lan" tcp dport { 80, 443 } accept
                  iif "lan" drop""",
    "proxy": f"""iif "lan" ip daddr {RELAY} tcp dport 3128 accept
                 iif "lan" drop""",
}
_RULES = """
flush ruleset
table ip lab {{
  map mapped {{ type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 120s; }}
  set seen {{ type inet_service . ipv4_addr; flags dynamic,timeout; timeout 120s; }}
  chain cut {{ type filter hook forward priority -10; policy accept; }}
  chain forwarded {{ type nat hook prerouting priority -101; }}
  chain learn {{ type filter hook postrouting priority 0; {learn}
  }}
  chain let_in {{ type nat hook prerouting priority -100; {let_in}
  }}
  chain translate {{ type nat hook postrouting priority 100; oif "eth0" masquerade {how}; }}
  chain forward {{ type filter hook forward priority 0; policy accept; ct state established,related accept
    iif "eth0" ct status dnat accept
    iif "eth0" drop
    {forbid}
  }}
  chain input {{ type filter hook input priority 0; policy accept; iif "eth0" ct state new drop; }}
}}
"""
"""Plain masquerading keeps the port and lets in answers only: port-restricted. `fully-random`: symmetric."""

_FORGET = """
import socket, struct, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 0))
s.send(struct.pack("=IHHIIBBH", 20, 0x102, 5, 0, 0, 2, 0, 0))
sys.exit(struct.unpack_from("=i", s.recv(4096), 16)[0])
"""
"""Deletes every entry of the connection tracker (ctnetlink), without its tool."""


class LabError(Exception):
    """A command in the lab failed."""


class Talker:
    """A process in the lab that prints lines."""

    def __init__(self, process: subprocess.Popen[str], lab: Lab) -> None:
        self.process = process
        self._lab = lab
        self.told: list[dict[str, Any]] = []

    def line(self, limit: float = 3 * LIMIT) -> str:
        """Return its next line; the first comes once it is ready, and may have waited for a relay before."""
        try:
            line = read_line(self.process.stdout, limit)
        except TimeoutError:
            raise LabError(f"nothing was said within {limit} s; before: {self.told}") from None
        if not line:
            raise LabError(f"ended with {self.process.wait(5)}; before: {self.told}; {self._lab.complaints()[-2000:]}")
        return line.strip()

    def until(self, condition: Callable[[dict[str, Any]], bool], limit: float) -> dict[str, Any]:
        """Return the first line from now on for which `condition` holds."""
        end = time.monotonic() + limit
        while True:
            self.told.append(json.loads(self.line(max(0.0, end - time.monotonic()))))
            if condition(self.told[-1]):
                return self.told[-1]

    def ask(self, line: str, limit: float) -> dict[str, Any]:
        """Say a line to it; return what it answers."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.told.append(json.loads(self.line(limit)))
        return self.told[-1]

    def order(self, limit: float = 10.0, **command: Any) -> dict[str, Any]:
        """Say an object to it, as a line of JSON; return what it answers."""
        return self.ask(json.dumps(command), limit)

    def finish(self) -> dict[str, Any]:
        """Tell it to end; return its account."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.until(lambda told: "sent" in told, 10)


class Lab:
    """One such internet."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self._environ: dict[str, dict[str, str]] = {}
        """What the processes on a machine find in their environment."""
        self._said = tempfile.TemporaryFile("a+")  # noqa: SIM115  # `close` closes it; "a": who reads it moves its position for all
        self._holder = subprocess.Popen(
            ["unshare", "-r", "-n", "-m", "sh", "-c", "mount -t tmpfs tmpfs /run && echo ready && exec sleep 100000"],
            stdout=subprocess.PIPE,
            text=True,
        )
        if read_line(self._holder.stdout) != "ready\n":
            self.close()
            raise LabError("no namespaces")
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def missing() -> str | None:
        """Return why there can be no lab here, or None."""
        for tool in ("unshare", "nsenter", "ip", "nft"):
            if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
                return f"the NAT lab needs the command {tool}"
        probe = (
            "mount -t tmpfs tmpfs /run && ip netns add x && nft list ruleset && echo 1 > /proc/sys/net/ipv4/ip_forward"
        )
        done = subprocess.run(
            ["unshare", "-r", "-n", "-m", "sh", "-c", probe], capture_output=True, text=True, timeout=20, check=False
        )
        if done.returncode:
            return (
                f"the NAT lab needs namespaces and nftables, which are not permitted here: {done.stderr.strip()[:200]}"
            )
        return None

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that runs in the lab; the namespaces go with it."""
        for process in [*self._processes, self._holder]:
            process.kill()
        for process in [*self._processes, self._holder]:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        self._said.close()

    # --- building ------------------------------------------------------------------------------------------------

    def inside(self, machine: str | None) -> list[str]:
        """Return what runs the words after it on a machine."""
        inside = ["nsenter", "-t", str(self._holder.pid), "-U", "-n", "-m", "--preserve-credentials"]
        return inside if machine is None else [*inside, "nsenter", f"--net=/run/netns/{machine}"]

    def run(self, machine: str | None, *command: str, stdin: str = "") -> str:
        """Run a command on a machine (None = where the wires are); return what it printed."""
        done = subprocess.run(
            [*self.inside(machine), *command], input=stdin, capture_output=True, text=True, timeout=20, check=False
        )
        if done.returncode:
            raise LabError(f"{' '.join(command)[:60]}: {done.stderr.strip()[:200]}")
        return done.stdout

    def _shell(self, machine: str | None, script: str) -> None:
        self.run(machine, "sh", "-e", stdin=script)

    def _build(self) -> None:
        wires = ["ip link add br0 type bridge", "ip link set br0 up"]
        wires += [f"ip netns add {name}" for name in ("relay", "second", "nat-a", "nat-b", "host-a", "host-b")]
        for name, end in (("relay", "1"), ("second", "2"), ("nat-a", "10"), ("nat-b", "20")):
            wires += [
                f"ip link add to-{name} type veth peer name eth0 netns {name}",
                f"ip link set to-{name} master br0 up",
                f"ip -n {name} link set lo up",
                f"ip -n {name} addr add 203.0.113.{end}/24 dev eth0",
                f"ip -n {name} link set eth0 up",
                # The rest of the internet: what is sent there vanishes.
                f"ip -n {name} neigh add 203.0.113.254 lladdr 02:00:00:00:00:fe dev eth0",
                f"ip -n {name} route add default via 203.0.113.254",
            ]
        for side, net in (("a", "192.168.1"), ("b", "192.168.2")):
            wires += [
                f"ip -n nat-{side} link add lan type veth peer name eth0 netns host-{side}",
                f"ip -n nat-{side} addr add {net}.1/24 dev lan",
                f"ip -n nat-{side} link set lan up",
                f"ip -n host-{side} link set lo up",
                f"ip -n host-{side} addr add {net}.2/24 dev eth0",
                f"ip -n host-{side} link set eth0 up",
                f"ip -n host-{side} route add default via {net}.1",
            ]
        self._shell(None, "\n".join(wires))
        for side in "ab":
            self._shell(f"nat-{side}", "echo 1 > /proc/sys/net/ipv4/ip_forward")
            self.nat(side, "port")

    # --- what happens in it --------------------------------------------------------------------------------------

    def nat(self, side: str, mode: str) -> None:
        """Make the NAT of a side one of MODES, without memory."""
        rules = _RULES.format(
            learn=_LEARN.get(mode, ""),
            let_in=_LET_IN.get(mode, ""),
            forbid=_FORBID.get(mode, ""),
            how="fully-random" if mode == "symmetric" else "",
        )
        self._environ[f"host-{side}"] = {"https_proxy": PROXY} if mode == "proxy" else {}
        self.run(f"nat-{side}", "nft", "-f", "-", stdin=rules)
        self.forget(side)

    def forget(self, side: str) -> None:
        """Lose every mapping, as a restarted router does."""
        self.run(f"nat-{side}", sys.executable, "-c", _FORGET)
        self.run(f"nat-{side}", "nft", "-f", "-", stdin="flush map ip lab mapped\nflush set ip lab seen\n")

    def other_udp_ports(self, side: str) -> None:
        """From now on each mapping of UDP gets a port by chance: after `forget`, another one."""
        rule = 'insert rule ip lab translate oif "eth0" ip protocol udp masquerade fully-random'
        self.run(f"nat-{side}", "nft", "-f", "-", stdin=rule)

    def cut_udp(self, side: str) -> None:
        """From now on UDP gets through no more, in either direction; TCP does."""
        self.run(f"nat-{side}", "nft", "add", "rule", "ip", "lab", "cut", "ip", "protocol", "udp", "drop")

    def forward(self, side: str, port: int) -> None:
        """Let TCP connections to a port of the NAT through to the host behind it, as its owner may tell a router to."""
        rule = f'iif "eth0" tcp dport {port} dnat to {HOSTS[side]}'
        self.run(f"nat-{side}", "nft", "add", "rule", "ip", "lab", "forwarded", *rule.split())

    def link(self, side: str, state: str) -> None:
        """Cut or mend ("down", "up") the wire between the NAT of a side and the rest."""
        self._shell(None, f"ip link set to-nat-{side} {state}")

    def impair(
        self,
        side: str,
        *,
        delay: float,
        jitter: float = 0.0,
        loss: float = 0.0,
        every: bool = False,
        mbit: float = 0.0,
    ) -> None:
        """Hold each UDP packet through a NAT back for milliseconds, lose some percent. `every`: TCP's, too. `mbit`: per
        second, each way."""
        inside, outside, port = f"to-nat-{side}", f"impaired-{side}", f"port-{side}"
        self._shell(
            None,
            f"""ip link set {inside} nomaster
                ip link add {outside} type veth peer name {port}
                ip link set {port} master br0 up
                ip link set {outside} up""",
        )
        numbers = [*map(str, (delay, jitter, loss, 7)), "ip" if every else "udp", *([str(mbit)] if mbit else [])]
        impairment = self.start(None, str(HERE / "impairment.py"), inside, outside, *numbers)
        if impairment.line() != "ready":
            raise LabError(f"no impairment: {self.complaints()[-200:]}")

    def start(self, machine: str | None, *command: str, **environ: str) -> Talker:
        """Start a Python process on a machine."""
        return self._start(machine, [sys.executable, *command], environ, self._said)

    def _start(self, machine: str | None, command: list[str], environ: dict[str, str], said: Any) -> Talker:
        process = subprocess.Popen(
            [*self.inside(machine), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            cwd=ROOT,
            env={
                **{n: v for n, v in os.environ.items() if not n.startswith("PEER_RELAY_") and "proxy" not in n.lower()},
                "PYTHONPATH": f"{ROOT}:{ROOT / 'compat'}",
                "XDG_STATE_HOME": f"/run/state-{machine}",
                **self._environ.get(machine or "", {}),
                **environ,
            },
        )
        self._processes.append(process)
        return Talker(process, self)

    def complaints(self) -> str:
        """Return what all processes so far said on stderr."""
        self._said.seek(0)
        return self._said.read()

    def serve(self) -> Talker:
        """Start the relay and, where somebody needs it, the proxy; return the relay."""
        others = []
        if any(self._environ.values()):
            others.append(self.start("relay", str(HERE / "http_proxy.py"), "3128"))
        relay = self.start("relay", "-m", "peer_relay", "node", "--host", "0.0.0.0", "--port", "80")
        assert [other.line() for other in others] == ["ready"] * len(others)
        assert relay.line().startswith("node ")
        return relay

    def serve_second(self) -> None:
        """Start another relay, which joins the first."""
        node = ["-m", "peer_relay", "node", "--host", "0.0.0.0", "--port", "80", "--bootstrap", URL]
        assert self.start("second", *node).line().startswith("node ")

    def serve_turn(self) -> None:
        """Start a TURN server (coturn), with the account that TURN names."""
        options = f"--listening-ip {RELAY} --relay-ip {RELAY} --listening-port 3479 --user lab:secret --realm lab"
        plain = (
            "--lt-cred-mech --no-tls --no-dtls --no-cli --log-file stdout --pidfile /run/turn.pid --userdb /run/turn.db"
        )
        command = ["turnserver", "-n", "-v", *options.split(), *plain.split()]
        server = self._start("relay", command, {}, subprocess.DEVNULL)
        while "listener opened on" not in server.line():
            pass

    def echo(self, **environ: str) -> Talker:
        """Start an echo on host-b, always under the same key."""
        environ["PEER_RELAY_IDENTITY"] = "/run/echo.pem"
        return self.start("host-b", str(HERE / "talker.py"), "echo", URL, **environ)

    def conversation(self, **environ: str) -> tuple[Talker, Talker]:
        """Start a talker on host-a that talks to an echo on host-b; return both."""
        echo = self.echo(**environ)
        talker = self.start("host-a", str(HERE / "talker.py"), "talk", URL, echo.line(), **environ)
        return talker, echo
