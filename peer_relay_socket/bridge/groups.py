"""What is sent to a group: broadcast and multicast, to this host's own sockets at once, to other hosts by the loop.

Lives here: the fork between the two. May not live here: who hears what (ports.py), how far it travels (engine).
"""

from __future__ import annotations

from .endpoint import OWN, Endpoint, Group
from .mailbox import Flow
from .ports import speaks


def spread(endpoint: Endpoint, group: Group, datagrams: list[bytes], relays: int, loop: int) -> None:
    """Send `datagrams`, from any thread. The network must have been started, or they stay on this host.

    Args: relays: how many may be passed, 0 = not beyond this host. loop: whether this host's own sockets hear it.
    """
    host = endpoint.host
    if loop:
        host.ports.send_group(endpoint, group.host, group.port, group.form, datagrams)
    if relays <= 0 or not host.started or (endpoint.local != OWN and speaks(endpoint.local)):
        return  # what is bound to loopback has no source that others could answer
    flow = group.flows.get(relays)
    if flow is None:
        flow = group.flows[relays] = Flow(endpoint, b"", endpoint.port, group.port, group.form)
        flow.group = (group.host, relays)
    flow.accept(datagrams)
