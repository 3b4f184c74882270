"""`python -m peer_relay ...` is `peer-relay ...`."""

import sys

from peer_relay_socket.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
