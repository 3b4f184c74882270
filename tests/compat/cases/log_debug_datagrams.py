"""The root logger may send every record, from DEBUG on, by datagram: also those of the network's own beginning."""

import logging
import logging.handlers
import os
import signal
import threading

signal.alarm(30)
handler = logging.handlers.DatagramHandler("100.88.7.200", 5000)
logging.basicConfig(level=logging.DEBUG, handlers=[handler])
log = logging.getLogger("program")
others = [threading.Thread(target=log.info, args=("hello",)) for _ in range(4)]
for other in others:
    other.start()
log.info("hello")
for other in others:
    other.join()
os._exit(0)
