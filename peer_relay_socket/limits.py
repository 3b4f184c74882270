"""Every number that bounds something. Lives here: the value with its unit, why it is that, what an attacker does
without it, its price, and who may override it. May not live here: code.

Seconds are floats, sizes are bytes. Everything a peer can make grow names its limit from this file where it is made.
"""

from __future__ import annotations

from typing import Final

# --- datagrams -------------------------------------------------------------------------------------------------
MAX_DATAGRAM: Final = 65_507
"""Largest datagram: 65,535 less the IPv4 and UDP headers (RFC 768); what the kernel refuses with EMSGSIZE beyond."""

# --- packets and bundles ---------------------------------------------------------------------------------------
PACKET_TARGET: Final = 60 * 1024
"""Datagrams that wait together are packed into one sealed packet up to this size: 50 datagrams of 1200 bytes
share one header, one AEAD call and one WebSocket frame (0.26 µs each instead of 8.4)."""
MAX_BODY: Final = 80 * 1024
"""Largest packet body: one datagram of MAX_DATAGRAM with its record, seal and slack. Without it a peer makes a
relay buffer what it likes. Price: 80 KiB per packet in flight."""
MAX_BUNDLE: Final = 256 * 1024
"""Largest WebSocket message. websockets' own default is 1 MiB; ours holds three full packets. Price: this much
receive buffer per link being filled, 5,000 links x 256 KiB = 1.2 GiB worst case on a relay under attack."""
HOP_LIMIT: Final = 24
"""Links a packet may cross; p99 at 10,000 peers is 6, so this ends loops, not journeys."""

# --- trust -----------------------------------------------------------------------------------------------------
NETWORK_KEY_SCRYPT_N: Final = 2**14
NETWORK_KEY_SCRYPT_R: Final = 8
NETWORK_KEY_SCRYPT_P: Final = 1
"""scrypt's cost (RFC 7914 §2; these are its interactive parameters) for turning the network key into 32 bytes. Without
it whoever lured a member into a handshake tries a dictionary at 10^7 words a second; with it each word costs 16 MiB and
35 ms (measured). Price: the same, once per process that has a network key. Equal across a network: not a setting."""
