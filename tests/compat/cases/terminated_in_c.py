"""SIGTERM ends a program that set no handler, though its main thread stays in C."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time

if len(sys.argv) > 1:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", 0))
    assert signal.set_wakeup_fd(-1) == -1
    print("up", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10**9)
    sys.exit()
child = subprocess.Popen([sys.executable, __file__, "child"], stdout=subprocess.PIPE)
assert child.stdout is not None
child.stdout.readline()
time.sleep(0.5)  # so that it is in C
os.kill(child.pid, signal.SIGTERM)
try:
    assert child.wait(20) == -signal.SIGTERM
finally:
    child.kill()
