"""A host name is resolved at each send: services that move are found again."""

import ctypes
import socket
import subprocess
import tempfile

assert ctypes.CDLL(None).unshare(0x20000) == 0
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
hosts = tempfile.NamedTemporaryFile("w")  # noqa: SIM115 - as long as the program


def point(address: str) -> None:
    hosts.seek(0)
    hosts.truncate()
    hosts.write(f"{address} metrics.test\n")
    hosts.flush()


point("127.0.0.1")
subprocess.run(["mount", "--bind", hosts.name, "/etc/hosts"], check=True)
old, new, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3))
old.bind(("127.0.0.1", 8125))
new.bind(("127.0.0.2", 8125))
for sock in (old, new):
    sock.settimeout(5)
client.sendto(b"1", ("metrics.test", 8125))
assert old.recv(9) == b"1"
point("127.0.0.2")
client.sendto(b"2", ("metrics.test", 8125))
assert new.recv(9) == b"2"
