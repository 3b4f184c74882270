"""The file of relays that worked: what is in it, who writes it, and what is made of a bad one."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from peer_relay_socket.bridge import state_file
from peer_relay_socket.engine.memory import Remembered
from peer_relay_socket.limits import REMEMBERED, STATE_AGE, STATE_FILES
from peer_relay_socket.scope import Scope
from peer_relay_socket.system import os as system_os

pytestmark = pytest.mark.skipif(not hasattr(system_os, "geteuid"), reason="no file where users have no numbers")
NOW = 1_000_000_000.0
NETWORK = b"n" * 32


def relay(number: int, seen: float = NOW - 5) -> Remembered:
    return Remembered(number.to_bytes(2) * 10, f"ws://r{number}.example", Scope.GLOBAL, False, int(seen))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found = state_file.path_for(NETWORK, ["ws://a"])
    assert found is not None
    return found


def test_what_was_written_is_read_and_only_the_user_may(path: str) -> None:
    old_mask = os.umask(0)
    try:
        assert state_file.write(path, [relay(1), relay(2)], {}, NOW)
    finally:
        os.umask(old_mask)
    assert state_file.read(path, NOW) == [relay(1), relay(2)]
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert Path(path).parent.stat().st_mode & 0o777 == 0o700


def test_which_relay_was_drawn_by_chance_is_read_again_and_older_files_name_none(path: str) -> None:
    state_file.write(path, [relay(1)._replace(by_chance=True), relay(2)], {}, NOW)
    assert state_file.read(path, NOW) == [relay(1)._replace(by_chance=True), relay(2)]
    entries = json.loads(Path(path).read_text())["relays"]
    for entry in entries:
        del entry["by_chance"]
    Path(path).write_text(json.dumps({"relays": entries}))
    assert state_file.read(path, NOW) == [relay(1), relay(2)]


def test_each_network_has_a_file_of_its_own(path: str) -> None:
    others = [(NETWORK, ["ws://b"]), (NETWORK, ["ws://a", "ws://b"]), (bytes(32), ["ws://a"])]
    assert len({path, *(state_file.path_for(*other) for other in others)}) == 4
    assert state_file.path_for(NETWORK, ["ws://b", "ws://a"]) == state_file.path_for(*others[1])


def test_of_several_writers_each_keeps_what_the_others_wrote_and_the_newest_stay(path: str) -> None:
    state_file.write(path, [relay(1, NOW - 9), relay(2, NOW - 8)], {}, NOW)
    state_file.write(path, [relay(1, NOW - 7)], {}, NOW)
    assert state_file.read(path, NOW) == [relay(2, NOW - 8), relay(1, NOW - 7)]
    state_file.write(path, [relay(i) for i in range(10, 10 + REMEMBERED - 1)], {}, NOW)
    assert [each.peer_id for each in state_file.read(path, NOW)][:1] == [relay(1).peer_id]
    assert len(state_file.read(path, NOW)) == REMEMBERED


def test_a_disproved_relay_leaves_the_file_unless_it_worked_since(path: str) -> None:
    state_file.write(path, [relay(1, NOW - 9), relay(2, NOW - 3)], {}, NOW)
    state_file.write(path, [], {relay(1).peer_id: int(NOW - 5), relay(2).peer_id: int(NOW - 5)}, NOW)
    assert state_file.read(path, NOW) == [relay(2, NOW - 3)]


def test_relays_and_files_that_are_too_old_or_too_many_go(path: str) -> None:
    state_file.write(path, [relay(1, NOW - STATE_AGE - 1), relay(2)], {}, NOW)
    assert state_file.read(path, NOW) == [relay(2)]
    folder = Path(path).parent
    for i in range(STATE_FILES + 2):
        (folder / f"{i}.relays").touch()
        os.utime(folder / f"{i}.relays", (NOW - 100 + i, NOW - 100 + i))
    os.utime(folder / "7.relays", (NOW - STATE_AGE - 1, NOW - STATE_AGE - 1))
    state_file.write(path, [relay(3)], {}, NOW)
    left = {each.name for each in folder.glob("*.relays")}
    assert len(left) == STATE_FILES
    assert Path(path).name in left
    assert not {"0.relays", "1.relays", "7.relays"} & left


GOOD: dict[str, Any] = {
    "id": "ab" * 20,
    "url": "ws://a.example",
    "scope": "GLOBAL",
    "nearby": False,
    "seen": int(NOW),
}


@pytest.mark.parametrize(
    "bad",
    [
        {"id": "ab" * 19},
        {"id": 5},
        {"url": "http://a.example"},
        {"url": "ws://a.example/?delete=all"},
        {"url": "ws://a.example/" + "x" * 300},
        {"url": "ws://127.0.0.1:22"},  # nearer than its scope says
        {"url": None},
        {"scope": "GALAXY"},
        {"scope": []},
        {"nearby": 1},
        {"by_chance": 1},
        {"seen": "now"},
        {"seen": 1e300},
        {"seen": True},
    ],
)
def test_an_entry_that_makes_no_sense_is_left_out(path: str, bad: dict[str, Any]) -> None:
    state_file.write(path, [relay(1)], {}, NOW)
    Path(path).write_text(json.dumps({"relays": [GOOD | bad, 7, GOOD]}))
    assert [each.url for each in state_file.read(path, NOW)] == ["ws://a.example"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\xff",
        b"[]",
        b"{}",
        b'{"relays": 3}',
        b'{"relays": {"a": 1}}',
        b"[" * 60_000,
        b" " * 70_000,
        b"1" * 9000,
    ],
)
def test_a_file_that_makes_no_sense_holds_nothing_and_is_replaced(path: str, data: bytes) -> None:
    state_file.write(path, [relay(1)], {}, NOW)
    Path(path).write_bytes(data)
    assert state_file.read(path, NOW) == []
    assert state_file.write(path, [relay(2)], {}, NOW)
    assert state_file.read(path, NOW) == [relay(2)]


def test_a_time_in_the_future_is_now(path: str) -> None:
    state_file.write(path, [relay(1, NOW + 1e6)], {}, NOW)
    assert state_file.read(path, NOW) == [relay(1, NOW)]


def test_no_link_and_no_pipe_is_followed(path: str, tmp_path: Path) -> None:
    state_file.write(path, [relay(1)], {}, NOW)
    Path(path).rename(tmp_path / "elsewhere")
    Path(path).symlink_to(tmp_path / "elsewhere")
    assert state_file.read(path, NOW) == []
    Path(path).unlink()
    os.mkfifo(path)
    assert state_file.read(path, NOW) == []  # and does not wait for a writer


def test_where_there_is_no_folder_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    assert state_file.path_for(NETWORK, ["ws://a"]) is None
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    path = state_file.path_for(NETWORK, ["ws://a"])
    assert path is not None
    assert path.startswith(f"{tmp_path}/.local/state/peer-relay/")
    (tmp_path / ".local").touch()  # no folder can be made in it
    assert not state_file.write(path, [relay(1)], {}, NOW)
    assert state_file.read(path, NOW) == []


def test_a_folder_that_others_may_write_to_is_not_used(path: str) -> None:
    Path(path).parent.mkdir()
    Path(path).parent.chmod(0o777)
    assert not state_file.write(path, [relay(1)], {}, NOW)
    assert list(Path(path).parent.iterdir()) == []


def test_a_file_that_another_process_writes_is_left_to_it(path: str) -> None:
    state_file.write(path, [relay(1)], {}, NOW)
    with (Path(path).parent / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not state_file.write(path, [relay(2)], {}, NOW)
    assert state_file.read(path, NOW) == [relay(1)]
