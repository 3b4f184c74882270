"""BACnet/IP (PyPI bacpypes3): serve ADDRESS | ask ADDRESS DEVICE-ADDRESS, each ADDRESS as HOST/BITS:PORT"""

import asyncio
import sys

from bacpypes3.argparse import SimpleArgumentParser
from bacpypes3.ipv4.app import Application
from bacpypes3.local.analog import AnalogValueObject
from bacpypes3.pdu import Address
from bacpypes3.primitivedata import ObjectIdentifier


async def main() -> None:
    role, own = sys.argv[1:3]
    number = "100" if role == "serve" else "200"
    arguments = SimpleArgumentParser().parse_args(["--address", own, "--instance", number, "--name", role])
    app = Application.from_args(arguments)
    if role == "serve":
        app.add_object(
            AnalogValueObject(objectIdentifier="analog-value,1", objectName="temperature", presentValue=21.5)
        )
        print("READY", flush=True)
        await asyncio.sleep(60)
    device = Address(sys.argv[3])
    for _ in range(20):
        found = await app.who_is(100, 100, address=device, timeout=1)
        if found:
            break
    value = await app.read_property(device, ObjectIdentifier("analog-value,1"), "present-value")
    print("device", found[0].iAmDeviceIdentifier[1], "reads", value, flush=True)
    app.close()


asyncio.run(main())
