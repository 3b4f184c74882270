"""The key by which the programs of one user meet: where it is had, and what it proves."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from peer_relay_socket import meeting
from peer_relay_socket.limits import MEETING_PORTS
from peer_relay_socket.meeting import Meeting

KEY, OTHER = bytes(32), bytes(31) + b"\x01"
USER = os.geteuid()
OWN = ("127.0.0.1", 40_000)


def test_ports_are_the_keys_and_others_for_another_key() -> None:
    ports = Meeting(KEY, USER).ports
    assert ports == Meeting(KEY, USER + 1).ports
    assert len(set(ports)) == MEETING_PORTS
    assert all(1024 < port < 32_768 for port in ports)
    assert not set(ports) & set(Meeting(OTHER, USER).ports)


def test_both_ends_prove_the_key_on_this_port() -> None:
    one, other = Meeting(KEY, USER), Meeting(KEY, USER)
    question = one.question(7000)
    answer = other.answer(question, 7000)
    assert answer is not None
    assert one.is_answer(question, answer, 7000, OWN)
    assert not one.is_answer(one.question(7000), answer, 7000, OWN)
    assert not one.is_answer(question, answer, 7001, OWN)
    assert other.answer(question, 7001) is None


@pytest.mark.parametrize("text", ["", "zz", "00", "é", "00" * 31, "00" * 32, "00" * 500])
def test_what_proves_nothing_is_refused(text: str) -> None:
    assert Meeting(KEY, USER).answer(text, 7000) is None
    assert not Meeting(KEY, USER).is_answer(Meeting(KEY, USER).question(7000), text, 7000, OWN)


def test_another_key_proves_nothing() -> None:
    mine, theirs = Meeting(KEY, USER), Meeting(OTHER, USER)
    question = mine.question(7000)
    assert theirs.answer(question, 7000) is None
    assert theirs.answer(theirs.question(7000), 7000) is not None
    answer = theirs.answer(theirs.question(7000), 7000)
    assert answer is not None
    assert not mine.is_answer(question, answer, 7000, OWN)


def test_without_a_key_the_kernel_says_whose_program_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        port = server.getsockname()[1]
        with accepted:
            for user in (USER, USER + 1):
                keyless = Meeting(None, user)
                question = keyless.question(port)
                answer = keyless.answer(question, port)
                assert answer is not None
                assert keyless.is_answer(question, answer, port, client.getsockname()) is (user == USER)


def test_programs_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    found: list[bytes] = []

    def start() -> None:
        found.append(meeting._key_in(f"{tmp_path}/a/b/peer-relay", USER))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert os.listdir(f"{tmp_path}/a/b/peer-relay") == ["meeting-key"]
    assert os.stat(f"{tmp_path}/a/b/peer-relay/meeting-key").st_mode & 0o777 == 0o600


def _loose(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)


def _readable(folder: Path) -> None:
    meeting._key_in(str(folder), USER)
    (folder / "meeting-key").chmod(0o644)


def _short(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "meeting-key").touch(0o600)


def _pipe(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.mkfifo(folder / "meeting-key", 0o600)


def _link(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "meeting-key").symlink_to("/dev/zero")


@pytest.mark.parametrize("spoil", [_loose, _readable, _short, _pipe, _link])
def test_a_key_that_others_may_know_is_not_taken(tmp_path: Path, spoil: object) -> None:
    tmp_path.chmod(0o700)
    folder = tmp_path / "peer-relay"
    assert callable(spoil)
    spoil(folder)
    with pytest.raises((OSError, ValueError)):
        meeting._key_in(str(folder), USER)


def test_another_users_folder_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        meeting._key_in(str(tmp_path), USER + 1)
