"""A bounded model of the handshake: every order of what an attacker on the way can do with two honest ends.

The ends are real handshakes. The attacker carries every message: it delivers any message that was ever written to any
end, any number of times or never, changed or not, and takes part itself, under its own identity, on both sides. All
states that can be reached are visited; an end is a function of what it accepted, so each answer is computed once.

Law: nothing here knows how the handshake works, only what its ends say about each other, and their keys.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from random import Random

import pytest

from peer_relay_socket.address import PeerId
from peer_relay_socket.engine.authentication import LINK_PROLOGUE, Handshake, StaticKey, session_prologue
from peer_relay_socket.errors import HandshakeError
from peer_relay_socket.identity import Identity

PSK = hashlib.sha256(b"the network").digest()
ALICE, BOB, MALLORY = (Identity.from_seed(bytes((seed,)) * 32) for seed in (1, 2, 3))
STATIC = {each.peer_id: StaticKey(each, Random(each.peer_id).randbytes) for each in (ALICE, BOB, MALLORY)}
THIEF: PeerId = bytes(20)
"""Mallory with the proof of Alice, which she read in a handshake of hers, and a static key of her own."""
STATIC[THIEF] = StaticKey(MALLORY, Random(4).randbytes)
STATIC[THIEF].proof = STATIC[ALICE.peer_id].proof


@dataclass(frozen=True, eq=False)
class End:
    """One side of one handshake: `number` tells an end from another of the same peer, by its ephemeral key."""

    peer: PeerId
    initiator: bool
    number: int
    prologue: bytes
    psk: bytes | None
    expected: PeerId | None = None


Accepted = tuple[bytes, ...]
"""The messages that an end took, in order: its whole state."""
State = tuple[tuple[End, Accepted], ...]


@cache
def played(end: End, accepted: Accepted) -> tuple[Handshake, tuple[bytes, ...]] | None:
    """Return the end after these messages, and what it wrote; None if it refuses the last of them."""
    handshake = Handshake(
        initiator=end.initiator,
        static=STATIC[end.peer],
        prologue=end.prologue,
        psk=end.psk,
        entropy=Random(f"{end.peer.hex()} {end.initiator} {end.number}").randbytes,
        expected=end.expected,
    )
    written = [handshake.write()] if end.initiator else []
    for message in accepted:
        if handshake.complete:
            return None
        try:
            handshake.read(message)
            if handshake.our_turn and not handshake.complete:
                written.append(handshake.write())
        except HandshakeError:
            return None
    return handshake, tuple(written)


@cache
def offered(written: frozenset[bytes]) -> list[bytes]:
    """Return what an attacker can deliver who has seen these messages: each of them, and what it makes of them."""
    made = set(written)
    for message in written:
        middle = () if len(message) <= 48 else (40, len(message) - 1)  # a changed message 1 can only be answered
        made |= {message[:at] + bytes((message[at] ^ 1,)) + message[at + 1 :] for at in (0, *middle)}
        made.add(message[:-1])
        made |= {other[:32] + message[32:] for other in written if len(message) > 48}
    return sorted(made)


@cache
def taken(end: End, accepted: Accepted, written: frozenset[bytes]) -> list[Accepted]:
    """Return what the end will have accepted after each message that it takes now."""
    return [(*accepted, each) for each in offered(written) if played(end, (*accepted, each)) is not None]


@cache
def reachable(scenario: str) -> set[State]:
    """Return every state of the ends that the attacker can bring about."""
    start: State = tuple((end, ()) for end in SCENARIOS[scenario])
    seen, left = {start}, [start]
    while left:
        state = left.pop()
        written = frozenset(message for end, accepted in state for message in written_by(end, accepted))
        for position, (end, accepted) in enumerate(state):
            for more in taken(end, accepted, written):
                after = (*state[:position], (end, more), *state[position + 1 :])
                if after not in seen:
                    seen.add(after)
                    left.append(after)
    return seen


def written_by(end: End, accepted: Accepted) -> tuple[bytes, ...]:
    answer = played(end, accepted)
    assert answer is not None
    return answer[1]


LINK = {"prologue": LINK_PROLOGUE}
TO_BOB, TO_MALLORY = (
    {"prologue": session_prologue(one.peer_id, other.peer_id)} for one, other in ((ALICE, BOB), (ALICE, MALLORY))
)
A, B, M = (each.peer_id for each in (ALICE, BOB, MALLORY))

KEYED = "the network has a key that the attacker lacks"
SCENARIOS = {
    "one peer is asked twice": [
        End(A, True, 1, psk=None, **LINK),
        End(B, False, 1, psk=None, **LINK),
        End(B, False, 2, psk=None, **LINK),
    ],
    "the attacker is asked, too": [
        End(A, True, 1, psk=None, **LINK),
        End(B, False, 1, psk=None, **LINK),
        End(M, False, 1, psk=None, **LINK),
    ],
    "the attacker asks, too": [
        End(A, True, 1, psk=None, **LINK),
        End(B, False, 1, psk=None, **LINK),
        End(M, True, 1, psk=None, **LINK),
        End(THIEF, True, 1, psk=None, **LINK),
    ],
    "a peer may hear itself": [
        End(A, True, 1, psk=None, **LINK),
        End(A, False, 1, psk=None, **LINK),
        End(B, False, 1, psk=None, **LINK),
    ],
    KEYED: [
        End(A, True, 1, psk=PSK, **LINK),
        End(B, False, 1, psk=PSK, **LINK),
        End(B, False, 2, psk=PSK, **LINK),
        End(M, True, 1, psk=bytes(32), **LINK),
        End(M, False, 1, psk=bytes(32), **LINK),
    ],
    "a link and a session": [
        End(A, True, 1, psk=None, **LINK),
        End(A, True, 2, psk=None, expected=B, **TO_BOB),
        End(B, False, 1, psk=None, expected=A, **TO_BOB),
    ],
    "sessions, one of them with the attacker": [
        End(A, True, 1, psk=None, expected=B, **TO_BOB),
        End(A, True, 2, psk=None, expected=M, **TO_MALLORY),
        End(B, False, 1, psk=None, expected=A, **TO_BOB),
        End(M, False, 1, psk=None, **TO_MALLORY),
        End(M, True, 1, psk=None, **TO_BOB),
    ],
}


def complete(state: State) -> list[tuple[End, Accepted, Handshake]]:
    """Return the ends that have done all of their handshake."""
    there = [(end, accepted, played(end, accepted)) for end, accepted in state]
    return [(end, accepted, answer[0]) for end, accepted, answer in there if answer and answer[0].complete]


def mirrored(one: Handshake, other: Handshake) -> bool:
    return one.keys() == other.keys()[::-1]


@pytest.fixture(scope="module", params=SCENARIOS)
def states(request: pytest.FixtureRequest) -> set[State]:
    """Every state of one scenario."""
    return reachable(request.param)


def test_honest_ends_can_complete_a_handshake_in_the_model(states: set[State]) -> None:
    assert any(
        {end.peer for end, _, handshake in done if handshake.remote_id in (A, B)} == {A, B}
        for done in map(complete, states)
    )


def test_who_has_the_keys_of_an_end_is_whom_that_end_names(states: set[State]) -> None:
    for state in states:
        done = complete(state)
        for position, (end, _, handshake) in enumerate(done):
            assert handshake.remote_id != end.peer
            for other, _, opposite in done[position + 1 :]:
                assert handshake.keys() != opposite.keys()
                if mirrored(handshake, opposite):
                    assert (handshake.remote_id, opposite.remote_id) == (other.peer, end.peer)
                    assert (end.initiator, end.prologue) == (not other.initiator, other.prologue)


def test_a_responder_that_is_done_agrees_with_one_initiator_and_no_other_responder_does(states: set[State]) -> None:
    for state in states:
        done = complete(state)
        for end, _, handshake in done:
            if end.initiator or handshake.remote_id not in (A, B):
                continue  # what the attacker says about itself is its own affair
            partners = [each for each in done if each[0].peer == handshake.remote_id and mirrored(handshake, each[2])]
            assert len(partners) == 1
            alike = [each for each in done if mirrored(each[2], partners[0][2])]
            assert [each[0] for each in alike] == [end]


def test_an_initiator_that_is_done_was_answered_by_the_peer_it_names(states: set[State]) -> None:
    for state in states:
        for end, accepted, handshake in complete(state):
            if not end.initiator or handshake.remote_id not in (A, B):
                continue
            (first,) = written_by(end, ())
            answered = [
                other
                for other, took in state
                if other.peer == handshake.remote_id and took[:1] == (first,) and accepted[0] in written_by(other, took)
            ]
            assert len(answered) == 1


def test_nobody_without_the_network_key_has_the_keys_of_a_member() -> None:
    for state in reachable(KEYED):
        done = complete(state)
        members = [each for each in done if each[0].peer != M]
        assert all(handshake.remote_id != M for end, _, handshake in members if not end.initiator)
        strangers = [each for each in done if each[0].peer == M]
        assert not any(mirrored(a[2], b[2]) for a in members for b in strangers)
