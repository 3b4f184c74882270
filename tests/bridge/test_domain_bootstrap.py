"""A program under `run` that joins by a domain: real DNS over UDP, by the system's resolver, past the guard."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import socket, sys
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.settimeout(20)
end.connect((sys.argv[1], 5000))
end.send(b"anybody there?")
try:
    end.recv(100)
except ConnectionRefusedError:
    print("the node answered", flush=True)
"""
INSIDE = """
import json, subprocess, sys
folder = sys.argv[1]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "--bind", folder + "/resolv.conf", "/etc/resolv.conf"], check=True)
def start(*argv):
    process = subprocess.Popen([sys.executable, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().split()
node, (_, peer_id, address, url) = start("-m", "peer_relay", "node")
port = url.rpartition(":")[2]
zone = ["@ 60 IN SOA ns. root. 1 2 3 4 60", "@ 60 IN NS ns.", f"_peer-relay._tcp 60 IN SRV 1 1 {port} localhost."]
zone.append(f'@ 60 IN TXT "peer-relay=ws://localhost:{port}#{peer_id}"')
server, _ = start("-m", "tests.transport.name_server", "127.0.0.1", "53", ";;".join(zone))
WAITING = "import socket, time; s = socket.socket(2, 2); s.bind(('', 9)); time.sleep(6)"
told = {}
def ask(*argv):
    return subprocess.run([sys.executable, "-m", "peer_relay", *argv], capture_output=True, text=True, timeout=40)
try:
    for name, *argv in (
        ("there", "dns:example.org", folder + "/program.py", address), ("none", "dns:example.net", "-c", WAITING)
    ):
        done = ask("run", "--bootstrap", *argv)
        told[name] = done.returncode, done.stdout, done.stderr
    found = json.loads(ask("doctor", "--json", "--bootstrap", "dns:example.org").stdout)["checks"]
    told["doctor"] = [(each["check"], each["target"], each["state"]) for each in found]
finally:
    node.kill()
    server.kill()
print(json.dumps(told))
"""


def test_a_program_under_run_joins_by_a_domain_and_hears_why_another_domain_is_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    inside = ["unshare", "-r", "-n", "-m", sys.executable, "-c"]
    if shutil.which("unshare") is None or subprocess.run([*inside, ""], capture_output=True, check=False).returncode:
        pytest.skip("needs lab: network namespaces are not permitted here")
    done = subprocess.run([*inside, INSIDE, str(tmp_path)], capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["there"] == [0, "the node answered\n", ""]
    status, _, said = told["none"]
    assert status == 0
    assert "cannot reach dns:example.net: " in said
    assert len(said.splitlines()) == 1
    assert ["names", "dns:example.org", "good"] in told["doctor"]
    assert [each[2] for each in told["doctor"] if each[0] == "link"] == ["good"]
