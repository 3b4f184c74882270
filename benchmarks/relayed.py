"""One relay between two processes: ours beside npm peer-relay, coturn with aioice's TURN client, n2n's supernode.

Rates and CPU as in one_way.py, which measures the kernel and us; here every peer that is installed runs in the same
rounds. npm peer-relay: its package must lie in the folder TESTS_NPM_DIR, else npm fetches it. It compresses every
message, so it runs a second time with that turned off. coturn and n2n are Debian's packages of those names; n2n wants
a tun device and network namespaces, so root. What cannot run is left out, and said why.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ends import KERNEL, READY_SECONDS, RELAY, Course, End, course, end, free_tcp_port, machine, started
from one_way import Found, report

NPM, NPM_PLAIN, TURN, N2N = "npm peer-relay", "npm, uncompressed", "coturn and aioice", "n2n supernode"
ORDER = (KERNEL, RELAY, NPM, NPM_PLAIN, TURN, N2N)
HERE = Path(__file__).parent
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Missing(Exception):  # noqa: N818  # no error: a reason to go without
    """A peer cannot run here."""


def npm_folder() -> str:
    """Return where npm peer-relay is installed."""
    if shutil.which("node") is None:
        raise Missing("node is not installed")
    given = os.environ.get("TESTS_NPM_DIR")
    if given:
        return given
    folder = Path(tempfile.gettempdir()) / "peer-relay-benchmarks-npm"
    if not (folder / "node_modules" / "peer-relay").exists():
        folder.mkdir(exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "peer-relay@0.0.2"]
        if subprocess.run(command, **QUIET, timeout=300, check=False).returncode:
            raise Missing("npm could not install peer-relay")
    return str(folder)


def npm(stack: contextlib.ExitStack, **environ: str) -> Course:
    """Two npm peers that know only the same third."""
    script, environ = str(HERE / "npm_end.js"), {**environ, "NPM_FOLDER": npm_folder()}
    port = free_tcp_port()
    relay = started(stack, End("relay", port, "", script=script, **environ))
    url = f"ws://localhost:{port}"
    answering = started(stack, End("answer", "", url, script=script, **environ))
    asking = started(stack, End("ask", answering.first, url, script=script, **environ))
    return Course(asking, answering, [relay.process])


def turn(stack: contextlib.ExitStack) -> Course:
    """A TURN client and a kernel socket behind coturn."""
    if shutil.which("turnserver") is None:
        raise Missing("coturn is not installed")
    port = free_tcp_port()
    loopback = ["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--allow-loopback-peers"]
    plain = ["-n", "--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout"]
    user = ["--lt-cred-mech", "--user", "u:p", "--realm", "r"]
    options = [*plain, *user, *loopback]
    server = subprocess.Popen(["turnserver", *options, "--listening-port", str(port)], **QUIET, text=True)
    stack.callback(end, server)
    answering = started(stack, End("answer", KERNEL, {}))
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            asking = End(port, answering.first, script=str(HERE / "turn_end.py"))
        except EOFError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)  # coturn does not listen yet
        else:
            return Course(started(stack, asking), answering, [server])


def n2n(stack: contextlib.ExitStack) -> Course:
    """Kernel sockets in two networks that only a supernode joins."""
    if shutil.which("supernode") is None and not Path("/usr/sbin/supernode").exists():
        raise Missing("n2n is not installed")
    if os.geteuid() != 0 or not os.access("/dev/net/tun", os.W_OK):
        raise Missing("n2n needs root and /dev/net/tun")
    hub, ends = "prb-hub", ("prb-left", "prb-right")
    commands = []
    for number, name in enumerate(ends, 1):
        commands += [
            f"ip netns add {name}",
            f"ip link add wire netns {name} type veth peer name down{number} netns {hub}",
            f"ip -n {name} addr add 10.251.{number}.2/24 dev wire",
            f"ip -n {hub} addr add 10.251.{number}.1/24 dev down{number}",
            f"ip -n {name} link set wire up",
            f"ip -n {name} link set lo up",
            f"ip -n {hub} link set down{number} up",
            f"ip -n {name} route add default via 10.251.{number}.1",
        ]
    for name in (hub, *ends):
        stack.callback(subprocess.run, ["ip", "netns", "del", name], **QUIET, check=False)
    for command in [f"ip netns add {hub}", *commands]:
        if subprocess.run(command.split(), **QUIET, check=False).returncode:
            raise Missing(f"n2n needs network namespaces: {command!r} failed")

    def inside(name: str, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(["ip", "netns", "exec", name, *words], **QUIET, text=True)
        stack.callback(end, process)
        return process

    between = [inside(hub, "supernode", "-l", "7654")]
    for number, name in enumerate(ends, 1):
        address = f"10.250.0.{number}"
        words = f"edge -d n2n{number} -a {address} -s 255.255.255.0 -c bench -k secret -l 10.251.{number}.1:7654"
        between.append(inside(name, *words.split()))
    prefix = ["ip", "netns", "exec"]
    answering = started(stack, End("answer", KERNEL, {}, "10.250.0.2", prefix=[*prefix, ends[1]]))
    asking = started(stack, End("ask", KERNEL, {}, answering.first, prefix=[*prefix, ends[0]]))
    deadline = time.monotonic() + READY_SECONDS
    while asking.do("ping", 60, run=0xFE, size=64, count=2)["lost"]:  # until the edges have found each other
        if time.monotonic() > deadline:
            raise Missing("n2n's edges do not find each other (is tun permitted?)")
    return Course(asking, answering, between)


START: dict[str, Callable[[contextlib.ExitStack], Course]] = {
    KERNEL: lambda stack: course(stack, KERNEL),
    RELAY: lambda stack: course(stack, RELAY),
    NPM: npm,
    NPM_PLAIN: lambda stack: npm(stack, UNCOMPRESSED="1"),
    TURN: turn,
    N2N: n2n,
}


def measure(rounds: int, seconds: float, sizes: list[int], peers: list[str]) -> tuple[Found, dict[str, str]]:
    """Return (peer, size) -> what each round found, and why the others could not run."""
    missing: dict[str, str] = {}
    runs = itertools.cycle(range(1, 255))
    with contextlib.ExitStack() as stack:
        made = {}
        for peer in peers:
            try:
                made[peer] = START[peer](stack)
            except Missing as reason:
                missing[peer] = str(reason)
        found: Found = {(peer, size): [] for peer in made for size in sizes}
        for turn_, size in itertools.product(range(rounds), sizes):
            first = turn_ % max(1, len(made))
            for peer in [*made][first:] + [*made][:first]:
                found[peer, size].append(made[peer].flood(next(runs), size, seconds))
    return found, missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of sending, per round, size and peer")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1200])
    parser.add_argument("--peers", nargs="+", choices=ORDER, default=list(ORDER))
    chosen = parser.parse_args()
    print(f"through one relay, {machine()}; {chosen.rounds} rounds of {chosen.seconds} s, medians (lowest-highest)")
    found, missing = measure(chosen.rounds, chosen.seconds, chosen.sizes, chosen.peers)
    for yardstick in [peer for peer in (NPM, NPM_PLAIN, TURN, N2N) if peer in chosen.peers and peer not in missing]:
        shown = {key: rounds for key, rounds in found.items() if key[0] in (RELAY, yardstick)}
        print(f"\n### beside {yardstick}\n")
        report(shown, yardstick, ORDER)
    for peer, reason in missing.items():
        print(f"\n{peer}: not measured, {reason}")


if __name__ == "__main__":
    main()
