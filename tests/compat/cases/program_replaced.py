"""A program that replaces itself by os.exec* keeps its address; a child that it starts has one of its own."""

import contextlib
import os
import socket
import subprocess
import sys

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
with contextlib.suppress(OSError):
    sock.connect(("192.0.2.1", 9))
address = sock.getsockname()[0]
if len(sys.argv) == 1:
    sys.stdout.flush()
    for missing in ("/no/such/program", "no-such-program-at-all"):
        with contextlib.suppress(FileNotFoundError):
            os.execvp(missing, [missing])
    os.execv(sys.executable, [sys.executable, __file__, address])
if len(sys.argv) == 2:
    assert sys.argv[1] == address, (sys.argv[1], address)
    subprocess.run([sys.executable, __file__, address, "child"], check=True)
elif "peer_relay_socket" in sys.modules:
    assert sys.argv[1] != address
