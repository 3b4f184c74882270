"""`run` for native programs: the process that serves the device while a supervised child has the program.

Lives here: the order of things, the device's configuration, signals, the exit status. May not live here: what happens
in the child (namespace.py), what packets mean (tun.py).

Law: the child is forked before any thread starts; what the machine forbids is known before the network is joined; and
the caller learns how the program ended as if it had started it itself.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import resource
import signal
import socket
import struct
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from ..limits import (
    EXIT_TIME,
    JOIN_TIME,
    KERNEL_OVERHEAD,
    PAIR_CREDIT,
    TUN_CREDIT_RATE,
    TUN_DRAIN,
    TUN_QUEUE_LENGTH,
    TUN_RATE_BURST,
    TUN_RATE_QUEUE,
)

if sys.platform == "linux":  # mypy asks for this, too
    from .namespace import DISCARD, RESOLVER, ForbiddenError, Plan, supervise

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import PeerConfig
    from .netlink import IpAddress, Netlink
    from .pasta import Pasta
    from .receive_queues import ReceiveQueues
    from .tun import Link, NameQuery, Tun

_READY: Final = b"g"
_FORWARDED: Final = (
    signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGWINCH, signal.SIGCONT,
)  # fmt: skip
_FROM_KERNEL: Final = 0x80
"""si_code of what a terminal sends, to the whole process group."""
_DATAGRAM_MTU: Final = 65_535
_OWN_TABLE: Final = 100
_EVERYTHING: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_OVERLAY6: Final = ipaddress.ip_network("fd00::/8")


class Program(NamedTuple):
    """What to run, and how."""

    argv: list[str]
    rate: float | None = None
    """Bytes per second that programs may send; None = what the overlay takes."""
    dns: NameQuery | None = None
    tcp_ports: frozenset[int] | None = None
    """Ports that peers may connect to by TCP; None = programs have no TCP of the overlay."""
    pasta: str | None = None
    """Where pasta(1) is, for TCP as the machine's."""


class Child:
    """The supervisor, as this process sees it."""

    def __init__(self, plan: Plan) -> None:
        """Fork it. Raises: ForbiddenError, when the machine permits no such world."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._channel.close()
            try:
                supervise(theirs, plan)
            finally:
                os._exit(2)
        theirs.close()
        self.program = 0
        """The program's pid, once it runs."""
        self._collected = False

    def device(self) -> tuple[int, bool, bytes, list[int], list[int]]:
        """Return the device's interface index, whether it takes several datagrams in one write, its Ethernet address
        (b"" = it is a TUN device), its descriptors (one to read and one to write, or one for both), and those of the
        namespace's sockets for routing and for questions about sockets, of a UDP socket and of the tables of all.

        Raises: ForbiddenError."""
        told, fds, _, _ = socket.recv_fds(self._channel, 4096, 8)
        if not fds:
            self.end()
            raise ForbiddenError(told.decode() or "the namespace could not be made")
        index, segments = struct.unpack_from("=ii", told)
        for fd in fds:
            os.set_inheritable(fd, False)
        return index, bool(segments), told[8:], fds[5:], fds[:5]

    def go(self) -> None:
        """Let the program start."""
        self._channel.send(_READY)
        told = self._channel.recv(4)
        if told:
            self.program = struct.unpack("=i", told)[0]

    def ended(self) -> tuple[int, str]:
        """Return the program's wait status, and what it left running, once the supervisor has ended."""
        told = self._channel.recv(8192) if self.program else b""
        if len(told) < 4:
            return int(signal.SIGKILL), ""  # the supervisor was killed, and the program with it
        return struct.unpack("=i", told[:4])[0], told[4:].decode("utf-8", "replace")

    def end(self) -> None:
        """End the supervisor, of which the program never started. Idempotent."""
        if not self._collected:
            self._collected = True
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def link(device: list[int], address: bytes) -> Link:
    """Return how a device is read and written. Args: as `Child.device` returns them."""
    from .packets import LONGEST_FRAME
    from .tun import Link

    reader, writer = device[0], device[-1]
    if not address:
        return Link(reader, partial(os.read, reader, LONGEST_FRAME), partial(os.write, writer))
    from . import veth

    return Link(reader, veth.reader(reader), veth.writer(writer, address), PAIR_CREDIT, KERNEL_OVERHEAD)


class Device:
    """The namespace's device: its addresses and its rate."""

    def __init__(self, netlink: Netlink, index: int, prompter: socket.socket, queues: ReceiveQueues, tun: Tun) -> None:
        """Args: prompter: a UDP socket."""
        self._netlink = netlink
        self._prompter = prompter
        self._index = index
        self._queues = queues
        self._tun = tun
        self._addresses: list[tuple[IpAddress, int]] = []
        self._table: int = 254
        """Of routes: the main one."""
        self._overhead = 0
        """As of `Link`."""

    def serve(self, link: Link, segments: bool, rate: float | None) -> None:
        """Bring loopback and the device up, and have its packets travel the overlay from now on.

        Args: as of `Tun.attach` and `Program`.
        """
        self._overhead = link.overhead
        self._netlink.up(1)
        self._netlink.up(self._index, mtu=_DATAGRAM_MTU, queue=TUN_QUEUE_LENGTH)
        refill: Callable[[int], object] | None = None
        with contextlib.suppress(OSError):  # a kernel without tbf: what programs send too fast is lost
            if rate is None:
                self.refill(link.credit)
                refill = self.refill
            else:
                self._netlink.set_rate(self._index, rate, TUN_RATE_BURST, TUN_RATE_QUEUE)
        self._tun.interface.run(
            lambda: self._tun.attach(
                link, segments=segments, renumber=self.renumber, queues=self._queues, refill=refill
            )
        )

    def leave_tcp(self) -> None:
        """From before `serve` on, carry all but TCP, for which another device is there."""
        self._table = _OWN_TABLE
        self._netlink.use_table(_OWN_TABLE, socket.AF_INET)
        with contextlib.suppress(OSError):  # a kernel without IPv6
            self._netlink.use_table(_OWN_TABLE, socket.AF_INET6)

    def refill(self, size: int) -> None:
        """Let programs send `size` bytes from now on; more makes their `sendto` wait."""
        self._netlink.set_rate(self._index, TUN_CREDIT_RATE, size, TUN_RATE_QUEUE, self._overhead)
        with contextlib.suppress(OSError):  # what waits already leaves after the next packet: here is one
            self._prompter.sendto(b"", socket.MSG_DONTWAIT, (RESOLVER, DISCARD))

    def renumber(self) -> None:
        """Give the device the host's addresses as they are now."""
        interface = self._tun.interface
        spelling, peer_id = interface.spelling, interface.peer_id
        network = spelling.ipv4_network
        while self._addresses:  # first: with an address go those of its network that came after it
            self._netlink.delete_address(self._index, *self._addresses.pop())
        ipv4 = ipaddress.ip_address(spelling.ipv4(peer_id))
        ipv6 = ipaddress.ip_address(spelling.ipv6(peer_id))
        self._add(ipv4, network.prefixlen, network.broadcast_address)
        for route in (network, _EVERYTHING[0]):
            self._netlink.add_route(self._index, route, ipv4, self._table)
        with contextlib.suppress(OSError):  # a kernel without IPv6
            self._add(ipv6, 8)
            for route6 in (_OVERLAY6, _EVERYTHING[1]):
                self._netlink.add_route(self._index, route6, ipv6, self._table)

    def _add(self, address: IpAddress, length: int, broadcast: IpAddress | None = None) -> None:
        self._netlink.add_address(self._index, address, length, broadcast)
        self._addresses.append((address, length))

    def waiting(self) -> int:
        """Return how many packets wait for the rate."""
        try:
            return self._netlink.waiting(self._index)
        except OSError:
            return 0


def run(program: Program, config: PeerConfig, keep_sigint_ignored: bool) -> int:
    """Run a program in a namespace whose only network is the overlay. Returns: its exit status; dies as it did.

    Raises: ForbiddenError, ConfigError, OSError before it starts.
    """
    real: Pasta | None = None
    child = Child(Plan(program.argv, keep_sigint_ignored))
    blocked = {*_FORWARDED, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        # After the fork, for these load the relay; while the child makes its namespace.
        from .netlink import Netlink
        from .receive_queues import ReceiveQueues
        from .tun import Tun

        index, segments, address, fds, (routing, diag, udp, *tables) = child.device()
        tun = Tun(config, program.dns, program.tcp_ports)
        netlink = Netlink(socket.socket(fileno=routing))
        prompter = socket.socket(fileno=udp)
        queues = ReceiveQueues(socket.socket(fileno=diag), tables, index, prompter)
        device = Device(netlink, index, prompter, queues, tun)
        # A key file's addresses stay; those of a fresh key may be taken, which the network tells.
        tun.interface.start(0.0 if config.identity is not None else JOIN_TIME)
        if program.pasta is not None:
            from .pasta import Pasta

            real = Pasta(program.pasta, child.pid)
            device.leave_tcp()
        device.serve(link(fds, address), segments, program.rate)
    except BaseException:
        child.end()
        if real is not None:
            real.end()
        raise
    child.go()
    status, left = _follow(child)
    if real is not None:
        real.end()
    _drain(tun, device)
    tun.interface.close(EXIT_TIME)
    if left:
        print(f"peer-relay run: still running, and without a network from now on: {left}", file=sys.stderr)
    return _end_as(status)


def _follow(child: Child) -> tuple[int, str]:
    """Pass signals on until the program has ended."""
    while True:
        told = signal.sigwaitinfo({*_FORWARDED, signal.SIGCHLD})
        if told.si_signo == signal.SIGCHLD:
            if os.waitpid(child.pid, os.WNOHANG)[0]:
                return child.ended()
        elif told.si_code != _FROM_KERNEL and child.program:  # a terminal's reach the program by themselves
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child.program, told.si_signo)


def _drain(tun: Tun, device: Device) -> None:
    """Send what the program left in the device, within TUN_DRAIN."""
    end = time.monotonic() + TUN_DRAIN
    while time.monotonic() < end:
        if not device.waiting() and tun.read_to_end:
            tun.interface.run(tun.detach)
            return
        time.sleep(0.002)


def _end_as(status: int) -> int:
    """Return the exit status that a wait status tells, or die by the signal that it tells."""
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core dump is enough
    signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number
