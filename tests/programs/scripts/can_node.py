"""A CAN bus over UDP multicast (PyPI python-can): listen | send"""

import sys
import time

import can

with can.Bus(interface="udp_multicast", channel="239.74.163.2", port=43113, receive_own_messages=False) as bus:
    if sys.argv[1] == "listen":
        print("READY", flush=True)
        message = bus.recv(30)
        print("heard", message and bytes(message.data), flush=True)
        if message:
            bus.send(can.Message(arbitration_id=0x321, data=b"answer", is_extended_id=False))
            time.sleep(0.5)  # the bus has no acknowledgement
    else:
        end, answer, sent_at = time.monotonic() + 20, None, 0.0
        while answer is None and time.monotonic() < end:
            if time.monotonic() > sent_at + 0.5:
                sent_at = time.monotonic()
                bus.send(can.Message(arbitration_id=0x123, data=b"hello", is_extended_id=False))
            message = bus.recv(0.1)  # its own, too
            if message is not None and message.arbitration_id == 0x321:
                answer = message
        print("heard", answer and bytes(answer.data), flush=True)
