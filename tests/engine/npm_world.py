"""Engines and scripted npm peers, joined by lists: no sockets and no clock."""

from __future__ import annotations

from random import Random
from typing import Any

from peer_relay_socket.codec import npm as wire
from peer_relay_socket.codec.npm import Envelope
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.effects import Effect
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.engine.npm.engine import GatewayEngine
from peer_relay_socket.errors import PacketError
from peer_relay_socket.identity import Identity

LOW, HIGH, FAR = b"\x00" * 20, b"\xff" * 20, b"\x77" * 20


class Node:
    """An npm peer: what it was sent, and what it says."""

    def __init__(self, world: World, peer_id: bytes, engine: Engine, number: int) -> None:
        self.world, self.id, self.engine, self.number = world, peer_id, engine, number
        self.texts: list[str] = []
        self._nonce = 0

    def say(self, kind: str, data: Any = None, **changes: Any) -> None:
        """Send the engine an envelope of this peer, or what `changes` make of it."""
        self._nonce += 1
        whole = Envelope(self.engine.peer_id, self.id, (self.id,), f"{self.id.hex()[:8]}{self._nonce}", kind, data)
        self.raw(wire.envelope_text(whole._replace(**changes)))

    def raw(self, text: str) -> None:
        """Send the engine a text."""
        self.engine.link_text(self.number, text, self.world.now)
        self.world.pump()

    def greet(self) -> None:
        """Tell the id, and ask what npm's peers ask."""
        self.raw(wire.id_text(self.id))
        self.say(wire.FIND_PEERS, self.id)

    def envelopes(self, kind: str) -> list[Envelope]:
        """Return the envelopes of that kind it was sent."""
        found = []
        for text in self.texts:
            try:
                envelope = wire.read_envelope(text)
            except PacketError:
                continue  # an id
            found += [envelope] if envelope.kind == kind else []
        return found


class World:
    """Engines and npm peers, joined by lists."""

    def __init__(self) -> None:
        self.now = 0.0
        self.engines: list[Engine] = []
        self.effects: dict[Engine, list[Effect]] = {}
        self.joins: dict[tuple[Engine, int], tuple[Engine, int]] = {}
        self.nodes: dict[tuple[Engine, int], Node] = {}
        self.links = 0

    def engine(
        self,
        *,
        npm_peers: bool = True,
        serves: bool = True,
        urls: tuple[str, ...] = (),
        webrtc: bool = False,
        direct: bool = False,
        bootstrap: tuple[str, ...] = ("ws://8.8.8.8:80",),
    ) -> Engine:
        dice = Random(len(self.engines) + 1)
        config = EngineConfig(
            serves=serves,
            urls=urls,
            webrtc=webrtc,
            direct=direct,
            bootstrap=bootstrap,
            text_hint=": npm_peers",
        )
        kind = GatewayEngine if npm_peers else Engine
        engine = kind(Identity.from_seed(dice.randbytes(32)), config, random=dice, entropy=dice.randbytes, now=self.now)
        self.engines.append(engine)
        self.effects[engine] = []
        engine.start(self.now)
        return engine

    def node(
        self, engine: Engine, peer_id: bytes, *, dialled: str | None = None, host: str = "8.8.4.4", greet: bool = True
    ) -> Node:
        """Connect an npm peer; `dialled` is the URL at which the engine dialled it, if it did."""
        self.links += 1
        node = self.nodes[engine, self.links] = Node(self, peer_id, engine, self.links)
        engine.link_opened(self.links, url=dialled, remote_host=host, now=self.now, native=dialled is not None)
        self.pump()
        if greet:
            node.greet()
        return node

    def join(self, dialler: Engine, acceptor: Engine) -> None:
        """Connect two engines."""
        one, other = self.links + 1, self.links + 2
        self.links += 2
        self.joins[dialler, one], self.joins[acceptor, other] = (acceptor, other), (dialler, one)
        dialler.link_opened(one, url="ws://8.8.8.8:80", remote_host="8.8.8.8", now=self.now)
        acceptor.link_opened(other, url=None, remote_host="8.8.8.9", now=self.now)
        self.pump()

    def pump(self) -> None:
        """Carry everything until nothing moves."""
        moved = True
        while moved:
            moved = False
            for engine in self.engines:
                for number, chunks in engine.take_bundles():
                    moved = True
                    far = self.joins.get((engine, number))
                    if far is not None:
                        far[0].receive(far[1], b"".join(chunks), self.now)
                for number, text in engine.take_texts():
                    moved = True
                    self.nodes[engine, number].texts.append(text)
                self.effects[engine] += engine.take_effects()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            due = [when for engine in self.engines if (when := engine.next_timer()) is not None]
            if not due or min(due) > end:
                break
            self.now = max(self.now, min(due))
            for engine in self.engines:
                engine.handle_timer(self.now)
            self.pump()
        self.now = end

    def of(self, engine: Engine, kind: type[Any]) -> list[Any]:
        """Return the effects of that kind that `engine` asked for."""
        return [effect for effect in self.effects[engine] if isinstance(effect, kind)]
