"""A network of one test's own: loopback, and an interface with an address and a default route, without which neither
aiortc nor a browser has a candidate to offer. It needs no root, and is gone with the process that holds it.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from tests.processes import read_line

ADDRESS = "10.77.0.1"
_BUILD = f"""
export PATH=$PATH:/usr/sbin:/sbin
ip link set lo up && ip link add eth0 type veth peer name far && ip addr add {ADDRESS}/24 dev eth0 &&
ip link set eth0 up && ip link set far up && ip route add default via 10.77.0.2 && echo ready && exec sleep 100000
"""


class PrivateNet:
    """The network, for as long as it is not closed."""

    def __init__(self) -> None:
        """Raises: OSError where that is not permitted, or a tool is missing; the text says which."""
        for tool in ("unshare", "nsenter", "ip"):
            if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
                raise OSError(f"needs the command {tool}")
        self._holder = subprocess.Popen(
            ["unshare", "-r", "-n", "sh", "-c", _BUILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if read_line(self._holder.stdout) != "ready\n":
            said = self._holder.stderr.read().strip()
            self.close()
            raise OSError(f"needs a network namespace, which is not permitted here: {said[:200]}")
        self.inside = ["nsenter", "-t", str(self._holder.pid), "-U", "-n", "--preserve-credentials"]
        """What to put before a command."""

    def run(self, *command: str) -> None:
        """Run a command in it."""
        environ = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
        subprocess.run([*self.inside, *command], check=True, capture_output=True, timeout=20, env=environ)

    def close(self) -> None:
        """Give it up."""
        self._holder.kill()
        self._holder.wait()
        for stream in (self._holder.stdout, self._holder.stderr):
            if stream is not None:
                stream.close()
