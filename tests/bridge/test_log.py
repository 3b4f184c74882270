"""Log lines reach the program's handlers, also in a forked child."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.patience import LIMIT

FORKED_AMID_A_LINE = """
import logging, os, threading
from peer_relay_socket.bridge.log import finish, log

entered, go_on = threading.Event(), threading.Event()

class Blocking(logging.Handler):
    def emit(self, record):
        entered.set()
        go_on.wait(30)

class Printing(logging.Handler):
    def emit(self, record):
        os.write(1, record.getMessage().encode())

logger = logging.getLogger("peer_relay")
blocking = Blocking()
logger.addHandler(blocking)
log.log(logging.ERROR, "in the parent")
assert entered.wait(30)
child = os.fork()
if not child:
    logger.handlers[:] = [Printing()]
    log.log(logging.ERROR, "in the child")
    finish(30)
    os._exit(0)
os.waitpid(child, 0)
go_on.set()
finish(30)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_amid_a_line_logs() -> None:
    argv = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED_AMID_A_LINE]
    told = subprocess.run(argv, capture_output=True, text=True, timeout=2 * LIMIT, check=True)
    assert (told.stdout, told.stderr) == ("in the child", "")
