"""Free ports, in a namespace that has four."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.patience import LIMIT
from tests.snippets import ROOT

FOUR_PORTS = "ip link set lo up && echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range && exec "
PROGRAM = """
import errno, socket
from tests.loopback import free_port
with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
    with socket.create_connection(server.getsockname()[:2]):
        for _ in range(2):
            socket.create_server(("", free_port()), family=socket.AF_INET6, dualstack_ipv6=True).close()
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError as error:
            print(errno.errorcode[error.errno])
"""


def test_a_free_port_is_free_on_all_addresses_and_nobody_else_gets_it() -> None:
    words = ["unshare", "-r", "-n", "sh", "-c", f'{FOUR_PORTS}"$0" -c "$1"', sys.executable, PROGRAM]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip(f"needs lab: network namespaces are not permitted here: {done.stderr[:200]}")
    assert (done.stdout, done.stderr) == ("EADDRINUSE\n", "")
