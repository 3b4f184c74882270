"""The import name `peer_relay`: a look-alike of the standard library's `socket` module."""
