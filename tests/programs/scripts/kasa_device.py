"""A plug that is found by broadcast: PORT"""

import socket
import sys

from kasa.json import dumps
from kasa.transports.xortransport import XorEncryption

INFO = {
    "alias": "lamp", "deviceId": "8006", "hwId": "1", "oemId": "2", "mac": "02:00:00:00:00:01", "model": "HS100(EU)",
    "type": "IOT.SMARTPLUGSWITCH", "feature": "TIM", "relay_state": 1, "on_time": 5, "rssi": -50, "led_off": 0,
    "sw_ver": "1.5.6", "hw_ver": "2.1", "err_code": 0, "dev_name": "plug", "updating": 0,
}  # fmt: skip

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
    plug.bind(("", int(sys.argv[1])))
    print("READY", flush=True)
    while True:
        question, client = plug.recvfrom(2000)
        if b"get_sysinfo" in XorEncryption.decrypt(question).encode():
            plug.sendto(XorEncryption.encrypt(dumps({"system": {"get_sysinfo": INFO}}))[4:], client)
