"""The systemd unit and the Dockerfile: packaged, accepted by their tools, and run as far as this machine permits."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest

from peer_relay_socket.cli.node import _parser as node_parser
from peer_relay_socket.config import unknown_variables
from peer_relay_socket.errors import IdentityError
from peer_relay_socket.identity import Identity
from tests.patience import LIMIT
from tests.processes import environment, read_line
from tests.wheel import PIP, build_wheel

ROOT = Path(__file__).parents[2]
FILES = resources.files("peer_relay_socket.cli")


def unit() -> str:
    return FILES.joinpath("peer-relay-node.service").read_text()


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile and what follows each."""
    text = FILES.joinpath("Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(line[0], line[1]) for line in lines]


def assignments(text: str) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in shlex.split(text))


def test_the_unit_starts_a_node_with_settings_that_there_are() -> None:
    (start,) = re.findall(r"^ExecStart=(.*)$", unit(), re.M)
    program, command, *options = shlex.split(start)
    assert (program, command) == ("/opt/peer-relay/bin/peer-relay", "node")
    node_parser().parse_args(options)
    told = " ".join(re.findall(r"^Environment=(.*)$", unit(), re.M))
    assert unknown_variables(assignments(told)) == {}
    for part in ("Type=notify", "DynamicUser=yes", "LoadCredential=", "ExecReload=/bin/kill -HUP $MAINPID"):
        assert part in unit()


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd: systemd-analyze")
    program = tmp_path / "peer-relay"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "peer-relay-node.service").write_text(unit().replace("/opt/peer-relay/bin/peer-relay", str(program)))
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "peer-relay-node.service")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_key_file_that_systemd_gives_a_service_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "node.key"
    made = Identity.load_or_create(str(path))
    path.chmod(0o440)  # as the mask of an access list shows
    with pytest.raises(IdentityError, match="others can read it"):
        Identity.load(str(path))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Identity.load(str(path)).peer_id == made.peer_id
    path.chmod(0o444)
    with pytest.raises(IdentityError, match="others can read it"):
        Identity.load(str(path))


@pytest.mark.slow
def test_the_image_keeps_its_key_on_the_volume(tmp_path: Path) -> None:
    """Its steps, with folders of this test's in the place of the image's; under Docker itself where there is one."""
    context, volume, wheel_folder = tmp_path / "context", tmp_path / "volume", tmp_path / "wheel"
    context.mkdir()
    wheel_folder.mkdir()
    packed = zipfile.ZipFile(build_wheel(wheel_folder)).namelist()
    assert "pytest_peer_relay.py" in packed
    for name in ("Dockerfile", "peer-relay-node.service"):
        assert f"peer_relay_socket/cli/{name}" in packed
    steps = dockerfile()
    assert next(rest for name, rest in steps if name == "COPY").split()[0] == "peer_relay_socket-*.whl"
    image = tmp_path / "image"
    told: dict[str, str] = {}
    for name, rest in steps:
        here = rest.replace("/tmp/", f"{wheel_folder}/").replace("/var/lib/peer-relay", str(volume))
        if name == "RUN" and "pip" in rest:
            words = here.replace("pip install", f"{shlex.join(PIP)} install -q --no-deps --target {image}")
            subprocess.run(words, shell=True, timeout=120, check=True)
        elif name == "RUN":
            owner = f"-o {os.getuid()} -g {os.getgid()}"  # only root may give it away
            subprocess.run(re.sub(r"-o \d+ -g \d+", owner, here), shell=True, timeout=LIMIT, check=True)
        elif name == "ENV":
            told |= assignments(here)
    assert unknown_variables(told) == {}
    (entry,), (command,) = (
        [json.loads(rest) for name, rest in steps if name == kind] for kind in ("ENTRYPOINT", "CMD")
    )
    argv = [sys.executable, str(image / "bin" / entry[0]), *entry[1:], *command]
    argv[argv.index("127.0.0.1:9100")], argv[argv.index("8080")], argv[argv.index("0.0.0.0")] = (
        "127.0.0.1:0",
        "0",
        "127.0.0.1",
    )
    ids = [run_once(argv, environment(PYTHONPATH=str(image), **told), context) for _ in range(2)]
    assert ids[0] == ids[1]
    assert (volume / "node.key").stat().st_mode & 0o777 == 0o600


def run_once(argv: list[str], told: dict[str, str], folder: Path) -> str:
    """Start the image's program, end it as Docker does, and return the node's id."""
    with subprocess.Popen(argv, env=told, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            words = read_line(process.stdout).split()
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()
    assert words[0] == "node"
    return words[1]
