"""What breaks under a conversation on a direct path, and how soon it goes on.

`python -m pytest -m slow -s tests/lab/test_recovery.py` prints the table. Datagrams are numbered: none may come twice,
and what is lost is lost between the break and its discovery.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from tests.lab.nat_lab import Lab, LabError

pytestmark = pytest.mark.slow

LIMIT = 4.0
"""Seconds from a break to the first answer over the relay: 3, on a machine that does nothing else."""


class Scene:
    """A conversation that has found its direct path."""

    def __init__(self, lab: Lab, a: str = "port", b: str = "full") -> None:
        self.lab = lab
        lab.nat("a", a)
        lab.nat("b", b)
        self.relay = lab.serve()
        self.talker, self.echo = lab.conversation()
        self.talker.until(lambda told: told["reached"] == "direct", 60)

    def until_relayed(self, limit: float = 10.0) -> dict[str, Any]:
        return self.talker.until(lambda told: told["reached"] == "relayed", limit)

    def unchanged(self, seconds: float) -> None:
        """Let it go on for a while, in which the path stays as it is."""
        with pytest.raises(LabError, match="nothing was said"):
            self.talker.until(lambda told: True, seconds)

    def go_on(self, seconds: float) -> None:
        """Let it go on for a while, whatever becomes of the path."""
        with pytest.raises(LabError, match="nothing was said"):
            self.talker.until(lambda told: False, seconds)

    def account(self) -> dict[str, Any]:
        told = self.talker.finish()
        assert "Traceback" not in self.lab.complaints()
        return told


def udp_cut(scene: Scene) -> None:
    scene.lab.cut_udp("a")
    scene.until_relayed()
    scene.unchanged(1)


def mappings_lost(scene: Scene) -> None:
    scene.lab.forget("a")
    with contextlib.suppress(LabError):  # the path may change, or mend by itself
        scene.until_relayed(4)
    scene.go_on(1)


def relay_killed(scene: Scene) -> None:
    scene.relay.process.kill()
    scene.unchanged(4)


def peer_killed(scene: Scene) -> None:
    """The path is known to be dead; and whoever comes back under the same key is found again."""
    scene.echo.process.kill()
    scene.until_relayed()
    scene.lab.echo()
    scene.talker.until(lambda told: told["reached"] == "direct", 60)


def wire_cut(scene: Scene) -> None:
    """Nothing passes for four seconds, neither UDP nor TCP."""
    scene.lab.link("a", "down")
    with pytest.raises(LabError, match="nothing was said"):
        scene.talker.until(lambda told: told["reached"] == "direct", 4)
    scene.lab.link("a", "up")
    with contextlib.suppress(LabError):
        scene.talker.until(lambda told: told["reached"] == "direct", 10)


CASES: dict[str, tuple[Callable[[Scene], None], dict[str, str], float, float]] = {
    # what happens, the NATs, seconds of silence that are allowed, seconds from the first lost datagram to the last
    "UDP is cut": (udp_cut, {}, LIMIT, LIMIT),
    "mappings lost, port-restricted": (mappings_lost, {}, LIMIT, LIMIT),
    "mappings lost, symmetric": (mappings_lost, {"a": "symmetric"}, LIMIT, LIMIT),
    "relay killed": (relay_killed, {}, LIMIT, 0.0),
    "peer killed, and started anew": (peer_killed, {}, 30.0, 30.0),
    "wire cut for 4 s": (wire_cut, {}, 4 + 12.0, 4 + LIMIT),
}


def play(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    scenario, nats, *_ = CASES[name]
    with Lab() as lab:
        scene = Scene(lab, **nats)
        scenario(scene)
        return scene.account(), scene.talker.told


@pytest.fixture(scope="module")
def plays() -> Iterator[dict[str, Future[tuple[dict[str, Any], list[dict[str, Any]]]]]]:
    """All of them, three at a time: they mostly wait."""
    with ThreadPoolExecutor(3) as pool:
        yield {name: pool.submit(play, name) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_conversation_goes_on(name: str, plays: Any) -> None:
    told, path = plays[name].result()
    _, _, silence, loss = CASES[name]
    turns = [(at["reached"], at["t"]) for at in path if "t" in at]
    turns = [now for before, now in pairwise([("", 0.0), *turns]) if before[0] != now[0]]
    paths = ", ".join(f"{reached} at {t:.1f}" for reached, t in turns)
    lost = told["sent"] - told["received"]
    print(f"\n{name:32}{told['gap']:6.2f} s silent, {lost:4} lost within {told['lost']:5.2f} s ({paths})")
    assert told["gap"] < silence
    assert told["lost"] <= loss
