"""The zone that `python -m twisted dns --pyzone` evaluates: SOA, NS and A are given by Twisted."""

# ruff: noqa: F821
zone = [
    SOA(
        "peers.test",
        mname="ns.peers.test",
        rname="root.peers.test",
        serial=1,
        refresh=60,
        retry=60,
        expire=60,
        minimum=60,
    ),
    NS("peers.test", "ns.peers.test"),
    *[A(f"h{number}.peers.test", f"10.30.{number >> 8}.{number & 255}") for number in range(300)],
]
