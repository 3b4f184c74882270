"""Random calls, legal and not, on the kernel's UDP sockets first and then on ours; the same must happen."""

from __future__ import annotations

import socket
import struct

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from tests.surface.twins import At, Twins

SOL = socket.SOL_SOCKET
HOSTS = {
    socket.AF_INET: ["127.0.0.1", "", "0.0.0.0", "127.0.0.2", "localhost", "::1", "8.8.8.8", "224.0.0.9"],
    socket.AF_INET6: ["::1", "::", "::ffff:127.0.0.1", "", "127.0.0.1", "::ffff:0.0.0.0"],
}
LOCAL = {"8.8.8.8", "224.0.0.9"}
"""Where a kernel socket would reach the machine's network; only bind is asked about them."""
SIZES = st.sampled_from([0, 1, 5, 100, 1472, 65507, 65508, 70000])
FLAGS = st.sampled_from(
    [0, 0, socket.MSG_PEEK, socket.MSG_TRUNC, socket.MSG_DONTWAIT, socket.MSG_PEEK | socket.MSG_TRUNC]
)
OPTIONS = [
    (SOL, socket.SO_REUSEADDR), (SOL, socket.SO_REUSEPORT), (SOL, socket.SO_BROADCAST), (SOL, socket.SO_ERROR),
    (SOL, socket.SO_TYPE), (SOL, socket.SO_DOMAIN), (0, 1), (0, 2), (0, 12), (0, 13),
    (41, 26), (41, 16), (41, 51), (6, 1), (17, 103),
]  # fmt: skip


class SocketMachine(RuleBasedStateMachine):
    """Up to any number of sockets of both families that talk to each other over loopback."""

    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.twins = Twins()
        self.count = 0
        self.family: dict[str, int] = {}
        self.kin: dict[str, str] = {}  # whose duplicate, or itself

    def teardown(self) -> None:
        self.twins.__exit__()

    def _name(self, family: int) -> str:
        self.count += 1
        name = f"s{self.count}"
        self.family[name] = family
        return name

    @rule(target=names, family=st.sampled_from([socket.AF_INET, socket.AF_INET, socket.AF_INET6]))
    def open(self, family):
        name = self._name(family)
        self.kin[name] = name
        self.twins.open(name, family=family)
        return name

    @rule(target=names, name=names)
    def dup(self, name):
        twin = self._name(self.family[name])
        self.kin[twin] = self.kin[name]
        if self.twins.both(name, "dup", twin)[0] == "raises":
            self.twins.open(twin, family=self.family[name])
        return twin

    @rule(name=names, host=st.integers(0, 7))
    def bind(self, name, host):
        hosts = HOSTS[self.family[name]]
        self.twins.both(name, "bind", (hosts[host % len(hosts)], 0))

    @rule(name=names, other=names, host=st.integers(0, 5))
    def bind_to_a_used_port(self, name, other, host):
        if self._open(other):
            hosts = HOSTS[self.family[name]]
            address = (hosts[host % len(hosts)], At(other, port_only=True))
            self.twins.both(name, "bind", address)

    @rule(name=names, other=names, host=st.integers(0, 5))
    def connect(self, name, other, host):
        if self._bound(other):
            target = self._to(name, other, host)
            # A socket that was connected over one IP version and then over the other keeps halves of both in Linux.
            if self.family[name] == socket.AF_INET or ("." in target[0]) == (int(self.kin[name][1:]) % 2 == 0):
                self.twins.both(name, "connect", target)

    @rule(name=names)
    def disconnect(self, name):
        if self._open(name) and self.family[name] == socket.AF_INET:  # for the same reason
            self.twins.both(name, "disconnect")

    @rule(name=names, other=names, host=st.integers(0, 5), size=SIZES, flags=st.sampled_from([0, 0, 0, socket.MSG_OOB]))
    def sendto(self, name, other, host, size, flags):
        if self._bound(other):
            self.twins.both(name, "sendto", b"%d" % self.count + bytes(size)[2:], flags, self._to(name, other, host))

    @rule(name=names, size=SIZES)
    def send(self, name, size):
        self.twins.both(name, "send", bytes(size))

    @rule(name=names, parts=st.lists(st.binary(max_size=9), max_size=3), hops=st.none() | st.integers(-2, 300))
    def sendmsg(self, name, parts, hops):
        level, kind = (0, 2) if self.family[name] == socket.AF_INET else (41, 52)
        controls = [] if hops is None else [(level, kind, struct.pack("i", hops))]
        self.twins.both(name, "sendmsg", parts, controls)

    @rule(name=names, method=st.sampled_from(["recv", "recvfrom"]), size=st.integers(-1, 70000), flags=FLAGS)
    def receive(self, name, method, size, flags):
        if size > 0 or method == "recvfrom" or size < 0:
            self.twins.both(name, visible(method, size), flags & ~socket.MSG_TRUNC)

    @rule(name=names, method=st.sampled_from(["recv_into", "recvfrom_into"]), size=st.integers(0, 2000), flags=FLAGS)
    def receive_into(self, name, method, size, flags):
        self.twins.both(name, method, size, 0, flags)

    @rule(name=names, size=st.integers(0, 2000), room=st.integers(0, 100), flags=FLAGS)
    def recvmsg(self, name, size, room, flags):
        self.twins.both(name, "recvmsg", size, room, flags)

    @rule(name=names, sizes=st.lists(st.integers(0, 20), max_size=4), flags=FLAGS)
    def recvmsg_into(self, name, sizes, flags):
        self.twins.both(name, "recvmsg_into", sizes, 0, flags)

    @rule(name=names, option=st.sampled_from(OPTIONS), value=st.sampled_from([0, 1, 2, 64, 255, 256, -1]))
    def setsockopt(self, name, option, value):
        self.twins.both(name, "setsockopt", *option, value)
        self.twins.both(name, "getsockopt", *option)

    @rule(name=names, how=st.integers(-1, 3))
    def shutdown(self, name, how):
        self.twins.both(name, "shutdown", how)

    @rule(name=names)
    def ask(self, name):
        self.twins.both(name, "getsockname")
        self.twins.both(name, "getpeername")
        self.twins.both(name, "getsockopt", SOL, socket.SO_ERROR)

    @rule(name=consumes(names))
    def close(self, name):
        self.twins.both(name, "close")

    @invariant()
    def fds_tell_the_same(self):
        for name in self.family:
            self.twins.same_readiness(name)

    def _open(self, name):
        return self.twins.kernel.socks[name].fileno() >= 0

    def _bound(self, name):
        return self._open(name) and self.twins.kernel.socks[name].getsockname()[1]

    def _to(self, name, other, host):
        hosts = [each for each in HOSTS[self.family[name]] if each not in LOCAL]
        return (hosts[host % len(hosts)], At(other, port_only=True))


def visible(method, size):
    """Return a call of `method` whose result is at most `size` bytes, as the kernel's is."""

    def call(sock, flags):
        return getattr(sock, method)(size, flags)

    return call


def test_random_calls_do_the_same():
    run_state_machine_as_test(
        SocketMachine, settings=settings(stateful_step_count=40, suppress_health_check=list(HealthCheck))
    )
