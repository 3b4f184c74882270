"""Machines far from each other, in network namespaces: each with a public address of its own, the distances as asked.

    with WideArea(delays) as lab: machine i has the address lab.address(i), delays[i][j] milliseconds from machine j

All are hosts of one network without NATs (distances.py carries their frames); what lies behind a NAT is nat_lab.py's.
"""

from __future__ import annotations

import json

from tests.lab.nat_lab import HERE, Lab, LabError, Talker

MESH = str(HERE / "mesh.py")
PORT = 80


class WideArea(Lab):
    """One such network."""

    def __init__(self, delays: list[list[float]]) -> None:
        self._delays = delays
        super().__init__()

    def _build(self) -> None:
        count = len(self._delays)
        wires = []
        for port in range(count):
            name = f"m{port}"
            wires += [
                f"ip netns add {name}",
                f"ip link add {name} type veth peer name eth0 netns {name}",
                f"ip link set {name} up",
                f"ip -n {name} link set eth0 address 02:00:00:00:00:{port + 1:02x} up",
                f"ip -n {name} link set lo up",
                f"ip -n {name} addr add {self.address(port)}/32 dev eth0",
                f"ip -n {name} route add default dev eth0",
            ]
        self._shell(None, "\n".join(wires))
        network = {"ports": [f"m{port}" for port in range(count)], "delays": self._delays}
        self._network = self.start(None, "-m", "tests.lab.distances", json.dumps(network))
        if self._network.line() != "ready":
            raise LabError(f"no network: {self.complaints()[-200:]}")

    @staticmethod
    def address(port: int, network: int = 81) -> str:
        """Return the address of a machine: each in a /16 of its own, as relays of several providers are."""
        return f"{network}.{port + 2}.0.1"

    @classmethod
    def url(cls, port: int) -> str:
        """Return the URL of the relay on a machine."""
        return f"ws://{cls.address(port)}:{PORT}"

    def change(self, **what: object) -> int:
        """Change the network: `delays`, `cut`, `no_udp` of distances.py. Returns: frames that this machine has lost so
        far because it was too busy."""
        return int(self._network.order(20.0, **what)["overrun"])

    def move(self, port: int, network: int) -> None:
        """Take a machine to another network: its address there, in place of the one here."""
        self.arrive(port, network)
        self.leave(port)

    def arrive(self, port: int, network: int) -> None:
        """Give a machine an address in another network, and have it send from there."""
        new = self.address(port, network)
        self._shell(f"m{port}", f"ip addr add {new}/32 dev eth0; ip route replace default dev eth0 src {new}")

    def leave(self, port: int) -> None:
        """Take away the address that a machine has had longest; with the last one its routes go."""
        address = self.run(f"m{port}", "ip", "-4", "-br", "addr", "show", "dev", "eth0").split()[2]
        self._shell(f"m{port}", f"ip addr del {address} dev eth0")

    def relay(self, port: int, bootstrap: int | None = None, **environ: str) -> tuple[Talker, str]:
        """Start a relay on a machine; return it and its id once it serves."""
        known = [] if bootstrap is None else ["--bootstrap", self.url(bootstrap)]
        node = self.start(
            f"m{port}", "-m", "peer_relay", "node", "--host", "0.0.0.0", "--port", str(PORT), *known, **environ
        )
        word, peer_id, *_ = node.line(60).split()
        if word != "node":
            raise LabError(f"no relay: {self.complaints()[-200:]}")
        return node, peer_id

    def peer(self, port: int, *bootstraps: int, **environ: str) -> tuple[Talker, str]:
        """Start a peer on a machine (mesh.py); return it and its id."""
        peer = self.start(f"m{port}", MESH, *map(self.url, bootstraps), **environ)
        return peer, json.loads(peer.line(60))["id"]
