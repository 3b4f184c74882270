"""The `peer-relay` command as a process: what it prints, and how it refuses."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from peer_relay_socket.address import Spelling
from peer_relay_socket.identity import Identity
from tests.processes import environment


def peer_relay(*arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "peer_relay", *arguments],
        cwd=cwd,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_id_makes_a_private_key_file_and_names_it(tmp_path: Path) -> None:
    made = peer_relay("id", "a.key", cwd=tmp_path)
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    peer_id = Identity.load(str(tmp_path / "a.key")).peer_id
    spelling = Spelling()
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == f"{peer_id.hex()} {spelling.ipv4(peer_id)} {spelling.ipv6(peer_id)}\n"
    again = peer_relay("id", "a.key", "--json", cwd=tmp_path)
    assert json.loads(again.stdout) == dict(zip(("id", "ipv4", "ipv6"), made.stdout.split(), strict=True))
    elsewhere = peer_relay("id", "a.key", cwd=tmp_path, PEER_RELAY_IPV4_NETWORK="10.0.0.0/8")
    assert elsewhere.stdout.split()[1].startswith("10.")


@pytest.fixture
def keys(tmp_path: Path) -> None:
    """Write a program, and key files that are none or that others can read."""
    (tmp_path / "x.py").write_text("print('ran')\n")
    (tmp_path / "broken.key").write_text("no key\n")
    (tmp_path / "broken.key").chmod(0o600)
    Identity.load_or_create(str(tmp_path / "open.key"))
    (tmp_path / "open.key").chmod(0o644)


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        ([], {}, "which command"),
        (["serve"], {}, "'serve' is no command"),
        (["--colour"], {}, "--colour"),
        (["id"], {}, "FILE"),
        (["id", "absent/a.key"], {}, "absent/a.key: key file: No such file or directory"),
        (["id", "broken.key"], {}, "broken.key: key file: not an unencrypted Ed25519 key"),
        (["id", "open.key"], {}, "open.key: key file: others can read it"),
        (["id", "new.key"], {"PEER_RELAY_IPV4_NETWORK": "100.64.0.0/33"}, "PEER_RELAY_IPV4_NETWORK: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_status_2(
    keys: None,
    called: Callable[..., tuple[int, str, str]],
    arguments: list[str],
    environment: dict[str, str],
    complaint: str,
) -> None:
    status, out, error = called(*arguments, **environment)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith("peer-relay")
    assert complaint in error


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        (["run"], {}, "which program"),
        (["run", "-m"], {}, "-m"),
        (["run", "--direct", "x.py"], {}, "--direct"),
        (["run", "absent.py"], {}, "can't open file 'absent.py'"),
        (["run", "-m", "no_such_module"], {}, "no module named no_such_module"),
        (["run", "-m", "no_such.module"], {}, "no module named no_such.module"),
        (["run", "-m", "email"], {}, "email is a package without a __main__ module"),
        (["run", "."], {}, "can't find '__main__'"),
        (["run", "--bootstrap", "http://a.example", "x.py"], {}, "'http://a.example' is not a ws:// or wss:// URL"),
        (["run", "--identity", "open.key", "x.py"], {}, "others can read it"),
        (["run", "x.py"], {"PEER_RELAY_IDENTITY": "broken.key"}, "not an unencrypted Ed25519 key"),
        (["run", "x.py"], {"PEER_RELAY_PORT": "http"}, "PEER_RELAY_PORT: 'http' is not a port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_run_refuses_bad_input_with_one_line_and_status_2(
    keys: None, tmp_path: Path, arguments: list[str], environment: dict[str, str], complaint: str
) -> None:
    refused = peer_relay(*arguments, cwd=tmp_path, **environment)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("peer-relay")
    assert refused.stderr.count("\n") == 1
    assert complaint in refused.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["id", "--help"], ["run", "--help"]], ids=" ".join)
def test_help_is_no_error(called: Callable[..., tuple[int, str, str]], arguments: list[str]) -> None:
    status, out, error = called(*arguments)
    assert (status, error) == (0, "")
    assert out.startswith("usage: peer-relay")
