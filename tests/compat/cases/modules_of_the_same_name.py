"""A program's own modules named as our dependencies are the program's, and not imported by anybody else."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

how = {"run": ["-m", "peer_relay", "run"], "import": [], "kernel": []}
if "peer_relay_socket" not in sys.modules:
    how = {"kernel": []}
for name in ("websockets", "cryptography", "janus"):
    for kind, words in how.items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / f"{name}.py").write_text("print('imported'); MINE = True\n")
            module = "peer_relay as socket" if kind == "import" else "socket"
            Path(folder, "program.py").write_text(
                f"import {module}\n"
                "def socket_in_use():\n"
                "    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "    sock.bind(('', 0))\n"
                "    sock.sendto(b'x', ('100.88.7.200', 9))\n"
                "socket_in_use()\n"
                "print('in use', flush=True)\n"
                f"import {name}\n"
                f"assert {name}.MINE\n"
                "socket_in_use()\n"
            )
            clean = {k: v for k, v in os.environ.items() if k not in ("PEER_RELAY_RUN", "PYTHONPATH")}
            command = [sys.executable, *words, f"{folder}/program.py"]
            done = subprocess.run(command, capture_output=True, text=True, env=clean, timeout=40, check=False)
            assert (done.stdout, done.returncode) == ("in use\nimported\n", 0), (kind, name, done.stdout, done.stderr)
