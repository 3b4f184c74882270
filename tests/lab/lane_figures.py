"""What relayed datagrams are late and lost by, beside plain UDP's through the same NAT at the same time.

    python -m tests.lab.lane_figures [SECONDS]        every IPv4 frame of one peer's NAT is delayed and lost alike

The last part has a flood and a TCP stream of the kernel's share 10 Mbit/s.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from tests.lab.nat_lab import RELAY, URL, Lab
from tests.lab.test_impairment import FLOW, SIZE, Stream, plain, row

PATHS = ((25.0, 0.0, 0.0), (25.0, 10.0, 0.0), (50.0, 0.0, 1.0), (50.0, 0.0, 3.0))
RATES = (50, 400)
WARM = 3.0


def relayed(lab: Lab, **environ: str) -> Stream:
    """Return a stream from host-a to host-b by the relay, warmed up."""
    environ["PEER_RELAY_WRTC"] = "0"
    receiver = lab.start("host-b", FLOW, "receive", URL, **environ)
    sender = lab.start("host-a", FLOW, "send-relayed", URL, receiver.line(), **environ)
    stream = Stream(sender, receiver)
    stream.run(SIZE, 100, WARM)
    return stream


def lossy(delay: float, jitter: float, loss: float, seconds: float) -> None:
    with Lab() as lab:
        lab.nat("b", "full")
        lab.serve()
        lab.impair("a", delay=delay, jitter=jitter, loss=loss, every=True)
        ours, tcp, udp = relayed(lab), relayed(lab, PEER_RELAY_LANE="0"), plain(lab)
        for rate in RATES:
            title = f"{delay:.0f} +- {jitter:.0f} ms, {loss:.0f} %, {rate}/s"
            print(f"\n{title:34}{'median':>12}{'p95':>12}{'lost':>11}")
            with ThreadPoolExecutor(2) as pool:
                anchor = pool.submit(udp.run, SIZE, rate, seconds)
                told = ours.run(SIZE, rate, seconds)
                row("plain UDP", anchor.result())
            row("by the relay", told)
            row("by the relay, PEER_RELAY_LANE=0", tcp.run(SIZE, rate, seconds))
        print("lane:", ours.sender.told[-1]["lane"])
        print(lab.complaints()[-500:], end="")


def shared(seconds: float) -> None:
    with Lab() as lab:
        lab.nat("b", "full")
        lab.serve()
        lab.impair("a", delay=15.0, every=True, mbit=10.0)
        counter = lab.start("relay", FLOW, "receive-tcp", "4002")
        assert counter.line() == "ready"
        stream = lab.start("host-a", FLOW, "send-tcp", RELAY, "4002")
        for name, environ in (("lane", {}), ("PEER_RELAY_LANE=0", {"PEER_RELAY_LANE": "0"})):
            ours = relayed(lab, **environ)
            for rate, what in ((0.0, "a flood"), (900.0, "900/s, 8.6 Mbit/s")):
                counter.ask("anew", 30)
                with ThreadPoolExecutor(2) as pool:
                    tcp = pool.submit(stream.ask, str(seconds), seconds + 30)
                    told = ours.run(SIZE, rate, seconds)
                    tcp.result()
                beside = counter.ask("so far", 30)["bytes"] * 8 / seconds / 1e6
                goodput, lost = told["received"] * SIZE * 8 / seconds / 1e6, 100 * told["lost"]
                print(f"\n10 Mbit/s, {what}, {name}: {goodput:.2f} Mbit/s, lost {lost:.2f} %, TCP {beside:.2f} Mbit/s")
                print("lane:", ours.sender.told[-1]["lane"])
        print(lab.complaints()[-500:], end="")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    for path in PATHS:
        lossy(*path, seconds)
    shared(seconds)


if __name__ == "__main__":
    main()
