"""Allow and deny lists: what a file may hold, what several lists say together, and what happens when one changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from peer_relay_socket.admission import Admission
from peer_relay_socket.config import PeerConfig
from peer_relay_socket.errors import ConfigError
from peer_relay_socket.limits import MAX_LIST_FILE

A, B, C = b"\xaa" * 20, b"\xbb" * 20, bytes(range(20))


def reload(admission: Admission) -> bool:
    """Look as often as it takes to believe a change: twice."""
    return admission.reload() | admission.reload()


def test_without_lists_everybody_is_admitted_and_nobody_asked() -> None:
    admission = Admission(PeerConfig())
    assert not admission
    assert admission.may_link is admission.may_talk is None


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("", []),
        ("# nobody\n\n  \n", []),
        (A.hex(), [A]),
        (A.hex().upper() + "\r\n" + B.hex() + "  # a friend\n", [A, B]),
        (f"\t{C.hex()}#\n{C.hex()}\n", [C]),
    ],
)
def test_a_file_holds_one_id_a_line(tmp_path: Path, text: str, held: list[bytes]) -> None:
    (tmp_path / "list").write_text(text)
    may_link = Admission(PeerConfig(allow_links=str(tmp_path / "list"))).may_link
    assert may_link is not None
    assert [peer_id for peer_id in (A, B, C) if may_link(peer_id)] == held


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("friend", "friend"),
        (A.hex()[:-1], A.hex()[:-1]),
        (A.hex() + "00", A.hex() + "00"),
        (A.hex() + " " + B.hex(), f"{A.hex()} {B.hex()}"[:60]),
        (A.hex()[:20] + " " + A.hex()[20:], A.hex()[:20] + " " + A.hex()[20:]),
        ("100.64.0.1", "100.64.0.1"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\N{FULLWIDTH DIGIT ONE}" * 40, "not a peer id"),
    ],
)
def test_a_line_that_is_no_id_is_named(tmp_path: Path, line: str, shown: str) -> None:
    (tmp_path / "list").write_text(f"# mine\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        Admission(PeerConfig(deny_datagrams=str(tmp_path / "list")))
    said = str(caught.value)
    assert said.startswith(f"deny_datagrams: {tmp_path / 'list'}, line 2: not a peer id (40 hex digits): ")
    assert shown in said
    assert said.isprintable()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^allow_links: .*absent: No such file"):
        Admission(PeerConfig(allow_links=str(tmp_path / "absent")))
    (tmp_path / "long").write_bytes(b"#" * (MAX_LIST_FILE + 1))
    with pytest.raises(ConfigError, match="longer than"):
        Admission(PeerConfig(allow_links=str(tmp_path / "long")))


@pytest.mark.parametrize("kind", ["file", "function"])
@pytest.mark.parametrize("what", ["links", "datagrams"])
def test_who_is_allowed_and_not_denied_is_admitted(tmp_path: Path, what: str, kind: str) -> None:
    if kind == "file":
        (tmp_path / "allow").write_text(f"{A.hex()}\n{B.hex()}\n")
        (tmp_path / "deny").write_text(f"{B.hex()}\n")
        lists = {f"{name}_{what}": str(tmp_path / name) for name in ("allow", "deny")}
    else:
        lists = {f"allow_{what}": {A, B}.__contains__, f"deny_{what}": {B}.__contains__}  # type: ignore[dict-item]
    admission = Admission(PeerConfig(**lists))  # type: ignore[arg-type]
    asked, other = admission.may_link, admission.may_talk
    if what == "datagrams":
        asked, other = other, asked
    assert other is None
    assert asked is not None
    assert [asked(A), asked(B), asked(C)] == [True, False, False]


@pytest.mark.parametrize("by", ["writing", "renaming"])
def test_a_file_that_changed_counts_when_it_looks_the_same_twice(tmp_path: Path, by: str) -> None:
    path = tmp_path / "list"
    path.write_text(A.hex())
    admission = Admission(PeerConfig(deny_links=str(path)))
    may_link = admission.may_link
    assert may_link is not None
    assert not reload(admission)
    if by == "writing":
        path.write_text(f"{A.hex()}\n{B.hex()}")
    else:
        (tmp_path / "new").write_text(B.hex() + "\n" + A.hex())
        os.replace(tmp_path / "new", path)
    assert not admission.reload()
    assert may_link(B)
    assert admission.reload()
    assert not may_link(B)
    assert not reload(admission)
    path.write_text("")
    assert admission.reload(at_once=True)
    assert may_link(A)
    assert may_link(B)


@pytest.mark.parametrize("broken", ["a bad line", "no file"])
def test_a_file_that_breaks_leaves_the_list_as_it_was_and_is_told_once(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "list"
    path.write_text(A.hex())
    admission = Admission(PeerConfig(allow_datagrams=str(path)))
    may_talk = admission.may_talk
    assert may_talk is not None
    if broken == "no file":
        path.unlink()
    else:
        path.write_text(f"{B.hex()}\noops")
    assert not reload(admission)
    assert not reload(admission)
    (problem,) = admission.problems
    assert problem.startswith(f"allow_datagrams: {path}")
    assert problem.endswith("; the list as it was stays in force")
    assert [may_talk(A), may_talk(B)] == [True, False]
    path.write_text(B.hex())
    assert reload(admission)
    assert [may_talk(A), may_talk(B)] == [False, True]


def test_a_relative_path_means_the_same_file_after_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list").write_text(A.hex())
    admission = Admission(PeerConfig(allow_links="list"))
    monkeypatch.chdir("/")
    (tmp_path / "list").write_text("")
    assert reload(admission)
    assert admission.problems == []


@pytest.mark.parametrize("setting", ["allow_links", "deny_links"])
def test_a_function_that_raises_admits_nobody_and_is_told_once(setting: str) -> None:
    def ask(peer_id: bytes) -> bool:
        raise LookupError("no database")

    admission = Admission(PeerConfig(**{setting: ask}))  # type: ignore[arg-type]
    assert admission.may_link is not None
    assert not admission.may_link(A)
    assert not admission.may_link(B)
    (problem,) = admission.problems
    assert problem.startswith(f"{setting}: the function raised LookupError('no database')")
    assert reload(admission)  # it may answer otherwise now
