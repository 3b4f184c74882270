"""200 questions by 20 green threads (PyPI eventlet, monkey-patched): IP PORT"""

import os
import sys
import warnings

warnings.simplefilter("ignore")
os.environ["EVENTLET_NO_GREENDNS"] = "yes"  # eventlet's import of dnspython breaks where trio is installed
import eventlet  # noqa: E402

eventlet.monkey_patch()
import socket  # noqa: E402

QUESTIONS, TRIES = 200, 5
where = sys.argv[1], int(sys.argv[2])


def ask(number: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        for _ in range(TRIES):
            sock.sendto(b"question %d" % number, where)
            try:
                return sock.recv(99) == b"QUESTION %d" % number
            except TimeoutError:
                continue
    return False


right = sum(eventlet.GreenPool(20).imap(ask, range(QUESTIONS)))
print(f"{right} of {QUESTIONS} answers", flush=True)
