"""The world that a native program sees: a user, network and mount namespace with a TUN device, and its supervisor.

Lives here: what runs in the forked child between us and the program, before and while that runs. May not live here: the
overlay; this process never starts a thread and imports nothing of the relay's.

Law: the program has no capability and no socket of the outer network. When the process that serves the device ends, in
whatever way, the device is gone at once (nothing else holds it), and the supervisor kills every descendant.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import select
import signal
import socket
import stat
import struct
import sys
import tempfile
import time
from typing import Final, NamedTuple, NoReturn

from ..limits import KILL_TIME, MISSING_FILE_TIME

DEVICE: Final = "peer0"
TUN_PATH: Final = "/dev/net/tun"
RESOLVER: Final = "192.0.2.53"
"""Where programs ask for names. RFC 5737 gives this address to no host, so it is neither a peer's nor in a network of
the machine's."""
DISCARD: Final = 9
"""The port there to which a datagram is sent that means nothing (RFC 863)."""

assert sys.platform == "linux"

_NEW_MOUNTS, _NEW_USER, _NEW_NETWORK = 0x20000, 0x10000000, 0x40000000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_SET_INTERFACE, _SET_OFFLOAD = 0x400454CA, 0x400454D0
_IS_TUN, _NO_INFO, _VIRTIO = 1, 0x1000, 0x4000
_CHECKSUMS, _UDP_SEGMENTS = 1, 0x60
_DEATH_SIGNAL, _SUBREAPER, _DROP_BOUND, _AMBIENT, _CLEAR_AMBIENT = 1, 36, 24, 47, 4
_SOCK_DIAG: Final = 4
_CAPABILITIES_V3: Final = 0x20080522
_READY: Final = b"g"
_SYSCTLS: Final = (
    ("ipv4/ip_unprivileged_port_start", "0"),
    ("ipv4/icmp_ratelimit", "0"),  # ICMP errors are how refusals reach peers
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    (f"ipv4/conf/{DEVICE}/rp_filter", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    (f"ipv6/conf/{DEVICE}/router_solicitations", "0"),
)


class Plan(NamedTuple):
    """What is to run, and in what world."""

    argv: list[str]
    keep_sigint_ignored: bool = False
    """Whether SIGINT was ignored when we started (nohup, a shell's background)."""


class ForbiddenError(Exception):
    """This machine does not permit it; the text says what, and the way out."""


_OTHERWISE: Final = "`peer-relay forward`, `expose` and `socks` need none of this"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    """Raises: OSError with `what` as its file name."""
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def enter(libc: ctypes.CDLL) -> None:
    """Move this process, of one thread, into new namespaces, as the user it is. Raises: ForbiddenError."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        _check(libc.unshare(_NEW_USER | _NEW_NETWORK | _NEW_MOUNTS), "unshare")
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
        _check(libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None), "mount")
    except OSError as error:
        raise ForbiddenError(f"no user namespaces here ({error.filename}: {error.strerror}): {_why()}") from None


def _why() -> str:
    """Return the way out, as far as this machine tells it."""
    switches = (
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "1"),
        ("/proc/sys/user/max_user_namespaces", "0", "10000"),
    )
    for path, forbidden, permitted in switches:
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
            if file.read().strip() == forbidden:
                name = path.removeprefix("/proc/sys/").replace("/", ".")
                profile = ", or an AppArmor profile with `userns,`" if "apparmor" in name else ""
                return f"`sysctl -w {name}={permitted}`{profile}; {_OTHERWISE}"
    return f"in a container, start it with `--privileged` or a seccomp profile that permits unshare; {_OTHERWISE}"


def open_device(path: str = TUN_PATH) -> tuple[int, bool]:
    """Return a new TUN device, and whether it takes several datagrams in one write. Raises: ForbiddenError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        cure = f"in a container, `--device {TUN_PATH}`; else `modprobe tun`"
        if error.errno in (errno.EACCES, errno.EPERM):
            cure = f"`chmod 666 {TUN_PATH}`, as distributions have it; in a container, `--device {TUN_PATH}`"
        raise ForbiddenError(f"{path}: {error.strerror}: {cure}; {_OTHERWISE}") from None
    try:
        fcntl.ioctl(fd, _SET_INTERFACE, struct.pack("16sH22x", DEVICE.encode(), _IS_TUN | _NO_INFO | _VIRTIO))
    except OSError as error:
        os.close(fd)
        raise ForbiddenError(f"{path}: {error.strerror}: the kernel makes no TUN device here; {_OTHERWISE}") from None
    for offload in (_CHECKSUMS | _UDP_SEGMENTS, _CHECKSUMS, 0):  # segments: Linux 6.2
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, _SET_OFFLOAD, offload)
            return fd, bool(offload & _UDP_SEGMENTS)
    return fd, False


def _open_any(libc: ctypes.CDLL) -> tuple[list[int], bool, bytes]:
    """Return a device as `open_device`, or else the packet sockets of a pair, as `veth.open_pair`.

    Raises: ForbiddenError.
    """
    try:
        fd, segments = open_device()
        return [fd], segments, b""
    except ForbiddenError as forbidden:
        from . import veth

        try:
            reader, writer, address = veth.open_pair(libc, DEVICE)
        except OSError:
            raise forbidden from None
        return [reader, writer], True, address


def _configure(libc: ctypes.CDLL) -> BoundFiles:
    for name, value in _SYSCTLS:
        with contextlib.suppress(OSError):  # no IPv6 here, or /proc/sys is read-only, as in containers
            _write("/proc/sys/net/" + name, value)
    nsswitch = ""
    with contextlib.suppress(OSError), open("/etc/nsswitch.conf", encoding="utf-8") as file:
        nsswitch = re.sub(r"(?m)^\s*hosts:.*$", "hosts: files dns", file.read())
    files = {
        "/etc/resolv.conf": f"nameserver {RESOLVER}\noptions timeout:2 attempts:2\n",
        "/etc/nsswitch.conf": nsswitch,  # nss-resolve and mdns ask daemons of the outer network
        "/etc/gai.conf": "precedence ::ffff:0:0/96 100\n",  # A before AAAA: every peer has both
        "/run/nscd/socket": "",
        "/var/run/nscd/socket": "",
    }
    bound = BoundFiles(libc)
    for path, text in files.items():
        path = os.path.realpath(path)
        if os.path.exists(path):
            bound.bind(path, text)
        elif path.endswith("resolv.conf"):
            print(f"peer-relay run: no {path} here: .peer names are not found", file=sys.stderr)
    return bound


class BoundFiles:
    """Files of this machine that hold another text in this mount namespace.

    Where a file is replaced on the machine, as a change of its networks does with resolv.conf, the kernel takes what
    was mounted over it away, in every namespace.
    """

    def __init__(self, libc: ctypes.CDLL) -> None:
        self._libc = libc
        self._texts: dict[str, str] = {}
        self._mounted: dict[str, tuple[int, int]] = {}
        """By path: device and inode of what is mounted there."""
        self.mounts = os.open("/proc/thread-self/mounts", os.O_RDONLY | os.O_CLOEXEC)
        """Tells of each change of this namespace's mounts by an exceptional condition (proc_pid_mounts(5))."""

    def bind(self, path: str, text: str) -> None:
        """Have `path` hold `text`. Raises: ForbiddenError."""
        _bind(self._libc, path, text)
        self._texts[path] = text
        self._mounted[path] = _identity(path)

    def restore(self) -> bool:
        """Bind again what was replaced. Returns: whether all is bound; a file may be missing for a moment."""
        whole = True
        for path, text in self._texts.items():
            try:
                if _identity(path) != self._mounted[path]:
                    self.bind(path, text)
            except (OSError, ForbiddenError):
                whole = False
        return whole


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _bind(libc: ctypes.CDLL, path: str, text: str) -> None:
    """Have `path` hold `text`, in this mount namespace."""
    fd, name = tempfile.mkstemp(prefix="peer-relay-")
    try:
        os.write(fd, text.encode())
        os.fchmod(fd, 0o644)
        _check(libc.mount(name.encode(), path.encode(), None, _BIND, None), path)
    except OSError as error:
        raise ForbiddenError(f"mount over {path}: {error.strerror}; {_OTHERWISE}") from None
    finally:
        os.close(fd)
        os.unlink(name)


def supervise(channel: socket.socket, plan: Plan) -> NoReturn:
    """The child's whole life: make the world, hand its device over, run the program when told to, tell how it ended.

    The channel carries, to the parent: the device's interface index, whether it takes several datagrams in one write
    and, where it is half of a pair, its Ethernet address, with the descriptors of sockets for routing and for questions
    about sockets, of a UDP socket, of the tables of UDP sockets and of the device, or the text of a refusal; then the
    pid of the program; then its wait status and the names of what it left running.
    """
    signal.set_wakeup_fd(-1)
    libc = _libc()
    try:
        enter(libc)
        device, segments, address = _open_any(libc)
        bound = _configure(libc)
        with (
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as routing,
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as diag,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as prompter,
        ):
            tables = [os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("udp", "udp6")]
            index = socket.if_nametoindex(DEVICE)
            head = struct.pack("=ii", index, segments) + address
            socket.send_fds(channel, [head], [routing.fileno(), diag.fileno(), prompter.fileno(), *tables, *device])
        for fd in (*tables, *device):
            os.close(fd)
    except ForbiddenError as error:
        channel.send(str(error).encode())
        os._exit(2)
    except OSError as error:
        channel.send(f"{error.filename or 'namespace'}: {error.strerror}; {_OTHERWISE}".encode())
        os._exit(2)
    if channel.recv(1) != _READY:  # the parent ended
        os._exit(2)
    os._exit(_run(libc, channel, plan, bound))


def _run(libc: ctypes.CDLL, channel: socket.socket, plan: Plan, bound: BoundFiles) -> int:
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)  # the terminal sends them to the program, too
    wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    main = os.fork()
    if main == 0:
        signal.set_wakeup_fd(-1)
        _execute(libc, plan)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    channel.send(struct.pack("=i", main))
    poll = select.poll()  # a select fails where 1,024 descriptors were inherited
    for fd, event in ((channel.fileno(), select.POLLIN), (wake, select.POLLIN), (bound.mounts, select.POLLPRI)):
        poll.register(fd, event)
    whole = True
    while True:
        # No limit: the program's life has none, and our parent's end wakes us.
        ready = dict(poll.poll(None if whole else MISSING_FILE_TIME * 1000))
        if bound.mounts in ready or not whole:
            whole = bound.restore()
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
        status = _reap(main)
        if status is not None:
            left = " ".join(f"{name}({pid})" for pid, name in _descendants().items())
            channel.send(struct.pack("=i", status) + left.encode("utf-8", "replace")[:4096])
            return 0
        try:
            gone = channel.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
        except BlockingIOError:
            continue
        except OSError:
            gone = True
        if gone:
            _kill_all()
            return 0


def _reap(main: int) -> int | None:
    """Collect whatever has ended. Returns: the wait status of `main` if that has."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == main:
            found = status


def _descendants() -> dict[int, str]:
    """Return the processes below this one, and their names."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{entry}/stat", "rb") as file:
            head, _, tail = file.read().rpartition(b")")
            fields = tail.split()
            if fields[0] != b"Z":
                names[int(entry)] = head.partition(b"(")[2].decode("utf-8", "replace")
                parents[int(entry)] = int(fields[1])
    below = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        if not more:
            return {pid: names[pid] for pid in sorted(below - {os.getpid()})}
        below |= more


def _kill_all() -> None:
    """Kill every descendant, those that are born meanwhile included; KILL_TIME seconds at most."""
    end = time.monotonic() + KILL_TIME
    while time.monotonic() < end:
        left = _descendants()
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.005)


def _execute(libc: ctypes.CDLL, plan: Plan) -> NoReturn:
    """Become the program."""
    libc.prctl(_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    for number in signal.valid_signals():
        if number in (signal.SIGKILL, signal.SIGSTOP):
            continue
        ignored = number == signal.SIGINT and plan.keep_sigint_ignored
        ours = number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
        if not ignored and (ours or number in (signal.SIGINT, signal.SIGCHLD)):
            signal.signal(number, signal.SIG_DFL)
    _close_sockets()
    _drop_capabilities(libc)
    try:
        os.execvp(plan.argv[0], plan.argv)  # noqa: S606  # no shell is wanted
    except OSError as error:
        print(f"peer-relay run: {plan.argv[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127 if error.errno == errno.ENOENT else 126)


def _close_sockets() -> None:
    """Close the sockets of the outer network that we inherited; those of no network (AF_UNIX) stay."""
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            fd = int(entry)
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as sock:
                inner = sock.family == socket.AF_UNIX or (fd < 3 and sock.type == socket.SOCK_STREAM)
            if not inner:
                os.close(fd)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up every capability, for good: an empty bounding set gives none back to root, nor to setuid programs."""
    libc.prctl(_AMBIENT, _CLEAR_AMBIENT, 0, 0, 0)
    capability = 0
    while libc.prctl(_DROP_BOUND, capability, 0, 0, 0) == 0:
        capability += 1
    header = struct.pack("=Ii", _CAPABILITIES_V3, 0)
    _check(libc.capset(header, bytes(24)), "capset")
