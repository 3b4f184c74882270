"""From a host's settings to its engine.

Lives here: which setting the engine is told as what; where its randomness and its clock come from. May not live here:
what they mean (config, engine/core.py).
"""

from __future__ import annotations

import random
from functools import lru_cache, partial

from ..engine.authentication import network_psk
from ..engine.core import EngineConfig
from ..engine.engine import Engine
from ..originals import os, time
from .events import Owner
from .machine import machine_secret
from .own_networks import OwnNetworks

_psk = lru_cache(maxsize=1)(network_psk)
"""Peers of one process have one network key, as a rule, and its scrypt takes some 45 ms of the loop's time each."""


def make_engine(
    host: Owner,
    urls: tuple[str, ...],
    udp_port: int | None,
    bootstrap: tuple[str, ...] | None,
    own_networks: OwnNetworks,
    now: float,
) -> Engine:
    """Return the engine of `host`, which has yet to start.

    Args: urls: where the host listens. udp_port: of its UDP port. bootstrap: what it joins through in place of
        its setting.
    """
    config = host.config
    public = () if config.public_url is None or not urls else (config.public_url,)
    settings = EngineConfig(
        bootstrap=config.bootstrap if bootstrap is None else bootstrap,
        serves=bool(public),
        urls=public,
        listens=() if public else urls,
        ipv4_network=config.ipv4_network,
        psk=None if config.network_key is None else _psk(config.network_key),
        direct=True,
        webrtc=config.wrtc is not False and config.candidates != "none",
        candidates="all" if config.candidates == "none" else config.candidates,
        welcomes_links=partial(host.listens, "peer"),
        text_hint=": peer-relay of npm, which npm_peers turns on",
        machine=machine_secret(),
        is_nearby=own_networks.is_near,
        udp=None if udp_port is None else config.public_udp or (None if public else ("", udp_port)),
        lane=config.lane,
        broadcast_hops=config.broadcast_hops,
        may_link=host.admission.may_link,
        may_talk=host.admission.may_talk,
    )
    kind: type[Engine] = Engine
    if config.npm_peers:
        from ..engine.npm.engine import GatewayEngine

        kind = GatewayEngine
    engine = kind(host.identity, settings, random=random.Random(), entropy=os.urandom, now=now)
    engine.clock(time.time(), now)
    return engine
