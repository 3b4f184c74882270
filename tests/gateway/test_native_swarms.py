"""BitTorrent clients, unmodified, that find each other by their DHT and speak uTP: all over UDP, in namespaces."""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gateway.conftest import COMMAND, Start
from tests.gateway.test_native_programs import needs
from tests.patience import LIMIT, until
from tests.processes import environment, read_line

pytestmark = pytest.mark.slow
PROGRAMS = Path(__file__).parent / "programs"


class Key(NamedTuple):
    path: str
    ipv4: str


def keys(folder: Path, count: int) -> list[Key]:
    """Make as many key files."""
    made = []
    for number in range(count):
        path = str(folder / f"key{number}")
        told = subprocess.run([*COMMAND, "id", path], env=environment(), capture_output=True, text=True, check=True)
        made.append(Key(path, told.stdout.split()[1]))
    return made


def test_libtorrent_fetches_a_magnet_link_by_utp_alone(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("libtorrent", reason="needs libtorrent: the Python package")
    owners = keys(tmp_path, 2)
    nodes = []
    for number, role in enumerate(("seed", "node", "node", "node", "leech")):
        folder = tmp_path / str(number)
        folder.mkdir()
        identity = ("--identity", owners[number].path) if number < len(owners) else ()
        known = [owner.ipv4 for each, owner in enumerate(owners) if each != number]
        script = str(PROGRAMS / "torrent_node.py")
        nodes.append(start(sys.executable, script, str(folder), role, *known, options=("--native", *identity)))
    for node in nodes:
        assert read_line(node.stdout) == "ready\n"
    leech = nodes[-1]
    told, _ = leech.communicate((tmp_path / "0" / "magnet").read_text() + "\n", timeout=4 * LIMIT)
    assert told.startswith("complete in ")
    assert filecmp.cmp(tmp_path / "0" / "file.bin", tmp_path / "4" / "file.bin", shallow=False)


SETTINGS = {
    "dht-enabled": True,
    "utp-enabled": True,
    "lpd-enabled": False,
    "pex-enabled": True,
    "port-forwarding-enabled": False,
    "rename-partial-files": False,
    "rpc-whitelist-enabled": False,
    "peer-port": 51413,
}


@pytest.mark.long
@needs("transmission-daemon", "transmission-remote", "transmission-create", "transmission-show")
def test_eleven_transmission_daemons_share_a_magnet_link_by_dht_and_utp(start: Start, tmp_path: Path) -> None:
    owners = keys(tmp_path, 11)
    file = tmp_path / "0" / "file.bin"
    file.parent.mkdir()
    file.write_bytes(os.urandom(4 << 20))
    subprocess.run(["transmission-create", "-o", tmp_path / "torrent", file], check=True, capture_output=True)
    told = subprocess.run(["transmission-show", "-m", tmp_path / "torrent"], check=True, capture_output=True, text=True)
    adds = {0: str(tmp_path / "torrent"), len(owners) - 1: told.stdout.strip()}
    for number, owner in enumerate(owners):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(SETTINGS | {"download-dir": str(folder)}))
        others = [other.ipv4 for other in owners if other is not owner]
        (folder / "dht.bootstrap").write_text("".join(f"{address} 51413\n" for address in others))
        script = (
            'transmission-daemon -f -g "$1" >"$1/log" 2>&1 & '
            'until transmission-remote -l >"$1/list" 2>&1; do sleep 0.2; done; '
            '[ -z "$2" ] || transmission-remote -a "$2"; wait'
        )
        start("sh", "-c", script, "sh", str(folder), adds.get(number, ""), options=("--identity", owner.path))
    fetched = tmp_path / str(len(owners) - 1) / "file.bin"
    until(lambda: fetched.exists() and filecmp.cmp(file, fetched, shallow=False), 8 * LIMIT)


ARIA = [
    *("--enable-dht", "--dht-listen-port=6881", "--listen-port=6881", "--enable-dht6=false", "--bt-enable-lpd=false"),
    *("--seed-ratio=0.0", "--no-conf", "--summary-interval=0"),
]


@pytest.mark.long
@needs("aria2c", "transmission-create", "transmission-show")
def test_aria2_fetches_a_magnet_link_by_dht_and_tcp_over_the_overlay(start: Start, tmp_path: Path) -> None:
    """Its DHT speaks UDP and its peers TCP, in which nothing but its listening port is to be reached."""
    owners = keys(tmp_path, 5)
    file = tmp_path / "0" / "file.bin"
    file.parent.mkdir()
    file.write_bytes(os.urandom(4 << 20))
    subprocess.run(["transmission-create", "-o", tmp_path / "torrent", file], check=True, capture_output=True)
    told = subprocess.run(["transmission-show", "-m", tmp_path / "torrent"], check=True, capture_output=True, text=True)
    wanted = ["--check-integrity=true", str(tmp_path / "torrent")], *([None] * 3), [told.stdout.strip()]
    for number, owner in enumerate(owners):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        what = wanted[number] or [f"magnet:?xt=urn:btih:{number:040x}"]  # nothing that is there: a node of the DHT
        entry = [f"--dht-entry-point={owners[0].ipv4}:6881"] * bool(number)
        words = ["aria2c", *ARIA, *entry, f"--dht-file-path={folder}/dht", f"--dir={folder}", *what]
        script = 'exec "$@" >log 2>&1'
        options = ("--identity", owner.path, "--tcp", "overlay", "--tcp-allow", "6881")
        start("sh", "-c", f"cd {folder} && {script}", "sh", *words, options=options)
    fetched = tmp_path / "4" / "file.bin"
    until(lambda: fetched.exists() and filecmp.cmp(file, fetched, shallow=False), 4 * LIMIT)
