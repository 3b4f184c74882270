"""Ask a game server for its status (PyPI mcstatus), blocking and by asyncio: HOST PORT"""

import asyncio
import sys

from mcstatus import BedrockServer

server = BedrockServer(sys.argv[1], int(sys.argv[2]), timeout=20)
status, again = server.status(), asyncio.run(server.async_status())
print("players", status.players.online, "of", again.players.max, flush=True)
