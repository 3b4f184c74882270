"""Sealed packets: what opens, what does not, and what the window remembers."""

from __future__ import annotations

import itertools
import random
from hashlib import blake2b

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.engine.seal import OVERHEAD, CheckingKey, OpeningKey, SealingKey, TaggingKey
from peer_relay_socket.errors import SealError, WireError
from peer_relay_socket.limits import MAX_BODY, REPLAY_WINDOW, SEAL_KEY_BYTES, SEAL_REKEY_BYTES
from tests.interruption import interrupted

KEY = bytes(range(32))


class Claims(bytes):
    """Bytes that claim a length that no test could hold."""

    claimed = 0

    def __len__(self) -> int:
        return self.claimed


def claiming(length: int) -> Claims:
    data = Claims(b"x")
    data.claimed = length
    return data


def pair() -> tuple[SealingKey, OpeningKey]:
    return SealingKey(KEY), OpeningKey(KEY)


def opens(opening: OpeningKey, sealed: bytes) -> bool:
    try:
        opening.open(sealed)
    except SealError:
        return False
    return True


def test_sealed_packet_is_counter_ciphertext_tag() -> None:
    sealing, _ = pair()
    sealing.seal(b"first")
    nonce = bytes(4) + (1).to_bytes(8, "big")
    assert sealing.seal(b"second", b"header") == nonce[4:] + AESGCM(KEY).encrypt(nonce, b"second", b"header")
    assert sealing.counter == 2


@given(st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=20)), max_size=20))
def test_what_was_sealed_opens(packets: list[tuple[bytes, bytes]]) -> None:
    sealing, opening = pair()
    for plaintext, associated in packets:
        sealed = sealing.seal(plaintext, associated)
        assert len(sealed) == len(plaintext) + OVERHEAD
        assert opening.open(sealed, associated) == plaintext


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_taken(kind: type[bytes] | type[bytearray] | type[memoryview]) -> None:
    sealing, opening = pair()
    plaintext = bytes(MAX_BODY)
    assert opening.open(kind(sealing.seal(kind(plaintext)))) == plaintext


def test_every_altered_byte_is_refused_and_leaves_the_window() -> None:
    sealing, opening = pair()
    sealed = sealing.seal(b"payload", b"header")
    for position in range(len(sealed)):
        for bit in (0x01, 0x80):
            altered = bytearray(sealed)
            altered[position] ^= bit
            with pytest.raises(SealError):
                opening.open(altered, b"header")
    for wrong in (b"Header", b"", None):
        with pytest.raises(SealError):
            opening.open(sealed, wrong)
    assert opening.newest == -1
    assert opening.open(sealed, b"header") == b"payload"


def test_every_truncation_and_extension_is_refused() -> None:
    sealing, opening = pair()
    sealed = sealing.seal(b"payload")
    for size in range(len(sealed)):
        with pytest.raises(SealError):
            opening.open(sealed[:size])
    with pytest.raises(SealError):
        opening.open(sealed + b"\0")
    assert opening.open(sealed) == b"payload"


@given(st.binary(max_size=200), st.integers(0, 3))
def test_random_bytes_raise_nothing_but_seal_error(data: bytes, opened: int) -> None:
    sealing, opening = pair()
    for _ in range(opened):
        opening.open(sealing.seal(b""))
    with pytest.raises(SealError):
        opening.open(data)
    with pytest.raises(SealError):
        opening.open(memoryview(data))
    assert opening.newest == opened - 1


def test_seal_error_is_an_error_of_the_wire() -> None:
    assert issubclass(SealError, WireError)


def test_packet_reflected_to_its_sender_is_refused() -> None:
    there, back = SealingKey(KEY), OpeningKey(bytes(32))  # a handshake gives each direction a key of its own
    with pytest.raises(SealError, match="not authentic"):
        back.open(there.seal(b"payload"))


def test_replayed_packet_is_refused_at_once_and_later() -> None:
    sealing, opening = pair()
    packets = [sealing.seal(b"") for _ in range(20)]
    for packet in packets:
        opening.open(packet)
        with pytest.raises(SealError, match="before"):
            opening.open(packet)
    assert not any(opens(opening, packet) for packet in packets)


def test_packets_in_any_order_within_the_window_open_once() -> None:
    sealing, opening = pair()
    packets = [sealing.seal(b"") for _ in range(REPLAY_WINDOW)]
    shuffled = packets * 2
    random.Random(5).shuffle(shuffled)
    seen: set[bytes] = set()
    for packet in shuffled:
        assert opens(opening, packet) is (packet not in seen)
        seen.add(packet)
    assert opening.missing == 0


@pytest.mark.parametrize("count", [3, 5])
def test_every_order_of_a_few_packets_opens_each_once(count: int) -> None:
    sealing, _ = pair()
    packets = [sealing.seal(b"") for _ in range(count)]
    for order in itertools.permutations(packets):
        opening = OpeningKey(KEY)
        for number, packet in enumerate(order):
            assert opens(opening, packet)
            assert not any(opens(opening, before) for before in order[: number + 1])


def test_window_ends_exactly_where_the_limit_says() -> None:
    sealing, opening = pair()
    packets = [sealing.seal(b"") for _ in range(REPLAY_WINDOW + 1)]
    opening.open(packets[-1])
    with pytest.raises(SealError, match="old"):
        opening.open(packets[0])
    opening.open(packets[1])
    with pytest.raises(SealError, match="before"):
        opening.open(packets[1])


def test_everything_before_a_leap_is_refused_or_opens_once() -> None:
    sealing, opening = pair()
    early = [sealing.seal(b"") for _ in range(10)]
    opening.open(early[3])
    sealing.counter += 3 * REPLAY_WINDOW
    late = [sealing.seal(b"") for _ in range(10)]
    opening.open(late[9])
    assert not any(opens(opening, packet) for packet in early)
    assert [opens(opening, packet) for packet in late] == [True] * 9 + [False]


def test_forged_counters_shut_nothing_out() -> None:
    sealing, opening = pair()
    first, second = sealing.seal(b"1"), sealing.seal(b"2")
    opening.open(first)
    for counter in (2**63 - 1, REPLAY_WINDOW * 2, 2, 1):
        with pytest.raises(SealError, match="not authentic"):
            opening.open(counter.to_bytes(8, "big") + bytes(40))
    assert opening.open(second) == b"2"


@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
def test_a_number_after_which_there_is_soon_none_opens_nothing(number: int) -> None:
    sealing, opening = pair()
    before = sealing.seal(b"1")
    sealing.counter = number
    with pytest.raises(SealError, match="no sealed packet has such a number"):
        opening.open(sealing.seal(b"2"))
    assert opening.open(before) == b"1"


@given(
    st.lists(
        st.one_of(
            st.integers(0, 6),
            st.integers(0, 40),
            st.integers(REPLAY_WINDOW - 3, REPLAY_WINDOW + 40),
            st.integers(0, 9000),
        ),
        max_size=60,
    )
)
def test_window_agrees_with_a_set(order: list[int]) -> None:
    sealing, opening = pair()
    seen: set[int] = set()
    for counter in order:
        sealing.counter = counter
        newest = max(seen, default=-1)
        expected = counter not in seen and counter > newest - REPLAY_WINDOW
        assert opens(opening, sealing.seal(b"")) == expected
        if expected:
            seen.add(counter)
        assert opening.newest == max(seen, default=-1)


def test_window_state_stays_within_its_width() -> None:
    sealing, opening = pair()
    for step in (1, 2, 5, REPLAY_WINDOW - 1, REPLAY_WINDOW, 10**9, 1, 7) * 40:
        sealing.counter += step
        opening.open(sealing.seal(b""))
    assert opening.missing.bit_length() <= REPLAY_WINDOW


def test_key_says_when_it_is_worn_and_stops_at_its_limit() -> None:
    # A length is all that is counted before encryption, and encryption takes what is really there.
    sealing, opening = pair()
    assert not sealing.worn
    sealing.seal(claiming(SEAL_REKEY_BYTES - 33))
    assert not sealing.worn
    sealing.seal(claiming(SEAL_KEY_BYTES - SEAL_REKEY_BYTES - 32 - 32))
    assert sealing.worn
    with pytest.raises(SealError, match="all it may"):
        sealing.seal(b"x" * 100)
    assert opening.newest == -1


def test_worn_comes_well_before_the_end() -> None:
    sealing, _ = pair()
    sealing.seal(claiming(SEAL_REKEY_BYTES - 32))
    assert sealing.worn
    sealing.seal(b"still works")
    with pytest.raises(SealError):
        sealing.seal(claiming(SEAL_KEY_BYTES - SEAL_REKEY_BYTES - 32 - 11 - 31))
    assert sealing.counter == 2


def test_numbers_never_repeat_when_sealing_is_interrupted_by_sealing() -> None:
    """As a signal handler may, or a thread that takes over: at any instruction."""
    for instruction in range(40):
        sealing = SealingKey(bytes(32))
        numbers = []

        def seal(sealing: SealingKey = sealing, numbers: list[bytes] = numbers) -> None:
            numbers.append(sealing.seal(b"inner")[:8])

        with interrupted(instruction, seal):
            numbers.append(sealing.seal(b"outer")[:8])
        assert len(set(numbers)) == len(numbers)
        sealing.seal(b"after")
        assert sealing.counter > len(numbers)


def test_a_tag_vouches_for_its_bytes_once() -> None:
    tagging, checking = TaggingKey(KEY), CheckingKey(KEY)
    for number in range(3):
        tag = tagging.tag(b"covered")
        counter = number.to_bytes(8)
        assert tag == counter + blake2b(counter + b"covered", key=KEY, digest_size=16).digest()
        for altered, covered in (
            (tag, b"uncovered"),
            (tag[:-1] + bytes((tag[-1] ^ 1,)), b"covered"),
            (tag[:-1], b"covered"),
        ):
            with pytest.raises(SealError):
                checking.open(altered, covered)
        assert checking.open(tag, b"covered") == b""
        with pytest.raises(SealError):
            checking.open(tag, b"covered")
    with pytest.raises(SealError):
        CheckingKey(bytes(32)).open(tag, b"covered")
