"""What the network was told on the command line holds though the program clears its environment."""

import os
import socket
import sys
from unittest import mock

wanted = os.environ.get("PEER_RELAY_IDENTITY")
with mock.patch.dict(os.environ, {"PATH": os.environ["PATH"]}, clear=True):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", 0))
if "peer_relay_socket" in sys.modules:
    from peer_relay_socket.identity import Identity

    assert wanted is not None
    assert sock.peer.id == Identity.load(wanted).peer_id
    assert sock.peer._host.config.bootstrap
