"""Folders that are one user's alone: which are, and how they are made."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from peer_relay_socket.private_folder import check, is_private, make

USER = os.geteuid()


def test_a_folder_is_made_with_those_above_it_and_no_other_may_look(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two"
    for _ in range(2):
        make(str(path), USER)
        assert is_private(str(path), USER)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o700, 0o700]


def test_a_folder_is_made_where_nothing_of_its_path_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make("one/two", USER)  # as of /nonexistent/.cache, the home of many a service
    assert is_private("one/two", USER)
    with pytest.raises(FileNotFoundError):
        make("", USER)


@pytest.mark.parametrize("kind", ["link", "file", "writable by all", "writable by the group", "another user's"])
def test_what_others_could_change_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    path, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    if kind == "link":
        path.symlink_to(elsewhere)
    elif kind == "file":
        path.write_text("")
    else:
        path.mkdir()
        path.chmod({"writable by all": 0o777, "writable by the group": 0o770}.get(kind, 0o700))
    user = USER + 1 if kind == "another user's" else USER
    before = path.lstat().st_mode
    for call in (check, make):
        with pytest.raises(PermissionError, match="is not a folder of this user's alone"):
            call(str(path), user)
    assert not is_private(str(path), user)
    assert path.lstat().st_mode == before


def test_a_folder_that_is_not_there_is_not_private_and_one_that_cannot_be_made_raises(tmp_path: Path) -> None:
    assert not is_private(str(tmp_path / "none"), USER)
    with pytest.raises(FileNotFoundError):
        check(str(tmp_path / "none"), USER)
    assert not is_private("\0", USER)
    with pytest.raises(OSError, match="process"):
        make("/proc/1/no such process", USER)
