"""What fork does to sockets: a child's copies hand back what they send, and refuse everything else.

Lives here: from a child's send to the owner's, and the hooks around fork. May not live here: the channel between them
(child_channel.py), what fork does to the relay thread (runtime.py).

Law: an endpoint stays with the process that made it. A child's datagrams leave as the owner's, in the order the child
sent them; nothing that the child or its end does can stop the owner.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from ..originals import os
from .child_channel import GROUP, LOCAL, PEER, Message, Place, channel, open_channel, take_channel
from .endpoint import Endpoint, Group, HandBack, Local, Nowhere, endpoint_by_serial, open_endpoints
from .groups import spread
from .outbox import Flow


def hand_back(way: HandBack, datagrams: list[bytes], mark: tuple[int, int] | None, timeout: float | None) -> None:
    """Have the owner of an inherited endpoint send `datagrams`.

    Raises: as `Channel.send`; PeerClosedError where the fork could not make a channel.
    """
    where = way.way
    to_owner = way.endpoint.channel
    if isinstance(where, Nowhere):
        way.endpoint.host.drop_foreign(where.host, len(datagrams))
        return
    if to_owner is None:
        way.endpoint.check()
        return
    kind, place = _spelled(where)
    to_owner.send(Message(way.endpoint.serial, kind, place, where.port, where.form, mark, datagrams), timeout)


def _spelled(way: Flow | Local | Group) -> tuple[int, Place]:
    if isinstance(way, Flow):
        return PEER, way.destination
    if isinstance(way, Local):
        return LOCAL, way.place
    return GROUP, way.host  # and the mark says how far


class _Owner:
    """The owner's side: sends what children hand back."""

    def unstarted(self, message: Message) -> Callable[[], object] | None:
        """As `child_channel.Sender`."""
        endpoint = endpoint_by_serial(message.serial)
        if endpoint is None or message.kind == LOCAL or endpoint.host.started:
            return None
        return endpoint.host.start

    def send_on(self, message: Message) -> Callable[[], bool] | None:
        """As `child_channel.Sender`."""
        endpoint = endpoint_by_serial(message.serial)
        if endpoint is None:
            return None
        _send_on(endpoint, message)
        return endpoint.overfull if endpoint.overfull() else None


_owner: Final = _Owner()


def _send_on(endpoint: Endpoint, message: Message) -> None:
    _, kind, place, port, form, mark, datagrams = message
    host = endpoint.host
    try:
        host.ports.autobind(endpoint)
        if kind == LOCAL:
            host.ports.send_local(endpoint, str(place), port, form, datagrams, mark)
        elif kind == GROUP:
            relays, loop = mark or (0, 1)
            spread(endpoint, _group(endpoint, str(place), port, form), datagrams, relays, loop)
        elif host.started:
            _flow(endpoint, place, port, form).accept(datagrams)
        else:
            host.count("dropped: a forked child's, the network could not start")
    except OSError:  # no free port
        host.count("dropped: a forked child's")


def _group(endpoint: Endpoint, place: str, port: int, form: int) -> Group:
    key = (f"fork {place}", port, form)
    group = endpoint.flows.get(key)
    if not isinstance(group, Group):
        group = Group(place, port, form)
        endpoint.remember(key, group)
    return group


def _flow(endpoint: Endpoint, destination: Place, port: int, form: int) -> Flow:
    assert not isinstance(destination, str)
    key = (f"fork {destination!r}", port, form)  # no host that a caller could name
    flow = endpoint.flows.get(key)
    if not isinstance(flow, Flow):
        flow = endpoint.flow(destination, port, form)
        endpoint.remember(key, flow)
    return flow


def _before() -> None:
    if any(not endpoint.inbox.inherited for endpoint in open_endpoints()):
        with contextlib.suppress(OSError):
            open_channel(_owner)


def _in_parent() -> None:
    from_children = channel()
    if from_children is not None:
        from_children.attend()


def _in_child() -> None:
    inherited = take_channel()
    if inherited is not None:
        inherited.leave()
    for endpoint in open_endpoints():
        endpoint.forked(inherited)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
