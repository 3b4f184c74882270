"""1 MB over a data channel (PyPI aiortc), signalled by files in this folder: offer | answer"""

import asyncio
import json
import sys
from pathlib import Path

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

SIZE, CHUNK = 1_000_000, 16_000


def read(name: str) -> str | None:
    return Path(name).read_text() if Path(name).exists() else None


async def appears(name: str) -> RTCSessionDescription:
    for _ in range(600):
        text = read(name)
        if text is not None:
            return RTCSessionDescription(**json.loads(text))
        await asyncio.sleep(0.05)
    raise TimeoutError(name)


def show(name: str, description: RTCSessionDescription) -> None:
    partial = Path(f"{name}.part")
    partial.write_text(json.dumps({"sdp": description.sdp, "type": description.type}))
    partial.rename(name)


async def main(role: str) -> None:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    done = asyncio.get_running_loop().create_future()
    if role == "offer":
        channel = connection.createDataChannel("file")

        @channel.on("open")
        def send() -> None:
            for _ in range(SIZE // CHUNK):
                channel.send(bytes(CHUNK))
            channel.send(bytes(SIZE % CHUNK))

        channel.on("message", lambda text: done.done() or done.set_result(text))
        await connection.setLocalDescription(await connection.createOffer())
        show("offer", connection.localDescription)
        print("READY", flush=True)
        await connection.setRemoteDescription(await appears("answer"))
        print(await asyncio.wait_for(done, 60), flush=True)
    else:

        @connection.on("datachannel")
        def opened(channel: object) -> None:
            came = 0

            @channel.on("message")  # type: ignore[attr-defined]
            def heard(data: bytes) -> None:
                nonlocal came
                came += len(data)
                if came == SIZE:
                    channel.send(f"{came} bytes")  # type: ignore[attr-defined]

            channel.on("close", lambda: done.done() or done.set_result(None))  # type: ignore[attr-defined]

        await connection.setRemoteDescription(await appears("offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        show("answer", connection.localDescription)
        await asyncio.wait_for(done, 60)
    await connection.close()
    print("closed", flush=True)


asyncio.run(main(sys.argv[1]))
