"""A TFTP server (PyPI tftpy): BIND PORT DIRECTORY"""

import sys
import threading

import tftpy

bind, port, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
server = tftpy.TftpServer(directory)


def announce() -> None:
    server.is_running.wait()
    print("READY", flush=True)


threading.Thread(target=announce, daemon=True).start()
server.listen(bind, port, timeout=5)
