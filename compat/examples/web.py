"""A web service beside a UDP socket (pip install fastapi uvicorn): what peers report is read over HTTP.

python web.py 8000                          # prints where peers report to
echo '21.5' | python web.py ADDRESS kitchen # a peer reports
curl http://127.0.0.1:8000/readings
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import peer_relay as socket
import uvicorn
from fastapi import FastAPI

PORT = 5009
readings: dict[str, str] = {}


class Reports(asyncio.DatagramProtocol):
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, _, value = data.decode(errors="replace").partition(" ")
        if len(readings) < 1000 or name in readings:
            readings[name] = f"{value} from {addr[0]}"


@asynccontextmanager
async def receiving(_app: FastAPI) -> AsyncIterator[None]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", PORT))
    sock.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Reports, sock=sock)
    print("report to", sock.peer.address, flush=True)
    yield
    transport.close()


app = FastAPI(lifespan=receiving)


@app.get("/readings")
def read() -> dict[str, str]:
    return readings


if __name__ == "__main__":
    if len(sys.argv) == 2:
        # uvloop would need peer_relay.patch() first.
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", loop="asyncio")
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(f"{sys.argv[2]} {sys.stdin.readline().strip()}".encode(), (sys.argv[1], PORT))
