"""`peer-relay id`: who a key file is. Nothing here touches the network."""

from __future__ import annotations

import json

from ..address import Spelling
from ..config import peer_config
from ..errors import ConfigError, IdentityError
from ..identity import Identity
from .arguments import Arguments


def command(arguments: list[str]) -> int:
    """Print ``<40-hex id> <ipv4> <ipv6>`` of a key file, making the file (mode 0600) if it is absent.

    Raises: SystemExit with status 2 and one line: a key file that is broken, that others can read, or that cannot be
    made; a PEER_RELAY_* variable that cannot mean anything.
    """
    parser = Arguments(
        prog="peer-relay id", description="Show the id and addresses of a key file, making it if absent."
    )
    parser.add_argument("file", metavar="FILE", help="key file; made with mode 0600 if absent")
    parser.add_argument("--json", action="store_true", help='print an object with "id", "ipv4" and "ipv6"')
    options = parser.parse_args(arguments)
    try:
        spelling = Spelling(peer_config().ipv4_network)
        peer_id = Identity.load_or_create(options.file).peer_id
    except (ConfigError, IdentityError) as error:
        parser.refuse(error)
    shown = {"id": peer_id.hex(), "ipv4": spelling.ipv4(peer_id), "ipv6": spelling.ipv6(peer_id)}
    print(json.dumps(shown) if options.json else " ".join(shown.values()))
    return 0
