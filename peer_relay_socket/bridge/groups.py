"""What is sent to a group: broadcast and multicast, to this host's own sockets at once, to other hosts by the loop.

Lives here: the fork between the two. May not live here: which sockets hear it (ports.py), how far it travels (engine).
"""

from __future__ import annotations

from .binding import OWN
from .endpoint import Endpoint, Group
from .matching import group_source, speaks


def spread(
    endpoint: Endpoint, group: Group, datagrams: list[bytes], relays: int, loop: int, mark: tuple[int, int] = (1, 0)
) -> None:
    """Send `datagrams`, from any thread. The network must have been started, or they stay on this host.

    Args: relays: how many may be passed, 0 = not beyond this host. loop: whether this host's own sockets hear it. mark:
        the hop limit and traffic class that they are told.
    """
    host = endpoint.host
    if loop:
        host.ports.send_group(endpoint, group.host, group.port, group.form, datagrams, mark)
    source = endpoint.local if speaks(endpoint.local) else group_source(endpoint, group.host)
    if relays <= 0 or not host.started or source != OWN:  # who sends from loopback cannot be answered
        return
    flow = group.flows.get(relays)
    if flow is None:
        flow = group.flows[relays] = endpoint.flow(b"", group.port, group.form)
        flow.group = (group.host, relays)
    flow.accept(datagrams)
