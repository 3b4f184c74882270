"""Three universes of stage light at 40 frames a second (PyPI sacn, multicast): SECONDS"""

import sys
import time

import sacn

sender = sacn.sACNsender(fps=40)
sender.start()
for universe in (1, 2, 3):
    sender.activate_output(universe)
    sender[universe].multicast = True
print("READY", flush=True)
end = time.monotonic() + float(sys.argv[1])
level = 0
while time.monotonic() < end:
    level = (level + 1) % 256
    for universe in (1, 2, 3):
        sender[universe].dmx_data = (level,) * 512
    time.sleep(1 / 40)
sender.stop()
print("sent", flush=True)
