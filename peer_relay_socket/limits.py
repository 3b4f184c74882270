"""Every number that bounds something. Lives here: the value with its unit, why it is that, what an attacker does
without it, its price, and who may override it. May not live here: code.

Seconds are floats, sizes are bytes. Everything a peer can make grow names its limit from this file where it is made.
"""

from __future__ import annotations

from typing import Final

# --- datagrams -------------------------------------------------------------------------------------------------
MAX_DATAGRAM: Final = 65_507
"""Largest datagram: 65,535 less the IPv4 and UDP headers (RFC 768); what the kernel refuses with EMSGSIZE beyond."""
DATAGRAM_OVERHEAD: Final = 128
"""What a waiting datagram counts for beside its bytes (Python keeps about that: a bytes header, a tuple, a slot).
Without it a flood of empty datagrams waits without bound. The kernel's figure is 768 and more."""
SOCKET_BUFFER: Final = 212_992
"""What SO_RCVBUF and SO_SNDBUF report before they are set (net.core.rmem_default). Also the send budget of a socket:
170 datagrams of 1200 bytes, three full packets, wait before a blocking sendto does."""
RECEIVE_BUFFER: Final = 1024 * 1024
"""What may wait in a socket whose SO_RCVBUF was not set: a reader that loses the GIL for one switch interval (5 ms) at
200,000 datagrams/s finds 1000 of them. Price: 1 MiB per socket that nobody reads, under flood. SO_RCVBUF overrides."""
SOCKET_BUFFER_MOST: Final = 2 * 4 * 1024 * 1024
"""Largest SO_RCVBUF or SO_SNDBUF: twice a generous net.core.rmem_max (the kernel doubles what is asked for)."""
RECEIVE_BUFFER_LEAST: Final = 2304
"""Smallest SO_RCVBUF, Linux's SOCK_MIN_RCVBUF."""
SEND_BUFFER_LEAST: Final = 4608
"""Smallest SO_SNDBUF, Linux's SOCK_MIN_SNDBUF."""
EPHEMERAL_PORTS: Final = (32_768, 60_999)
"""First and last port given to sockets that ask for none (net.ipv4.ip_local_port_range)."""
FLOWS_PER_SOCKET: Final = 4096
"""Addresses whose way one socket remembers; idle ones are forgotten beyond. Price: 0.4 kB each. A DHT node talks to
some thousand; forgetting costs 5 µs at the next send."""
SPELLED_SOURCES: Final = 8192
"""Source address tuples one peer keeps ready for received datagrams. Without a bound a peer that sends from every port
fills memory. Price: 0.3 kB each; all are forgotten when full."""

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
REPLAY_WINDOW: Final = 2048
"""Packets that may overtake one another and still be opened; one that is older is dropped. Without a window a relay
replays what it carried. WireGuard's has 8128, IPsec's default 64; a path change at 600 k datagrams/s in packets of 50
reorders some 100 ms x 12,000/s = 1200. Price: 300 bytes per session while packets are missing, none in order."""
SEAL_REKEY_BYTES: Final = 2**38
"""256 GiB under one key, each packet counting 32 bytes extra: a new handshake is due. At 1 Gbit/s, every 37 minutes."""
SEAL_KEY_BYTES: Final = 2**39
"""512 GiB: the key seals no more. That is 2^35 AES blocks, up to which an attacker learns next to nothing (RFC 9001
§6.6: 2^23 packets of at most 2^16 bytes; RFC 8446 §5.5 alike), and it ends the counter before 2^34. Forgeries are not
counted: the 2^52 that would matter (RFC 9001 §6.6) take 140 years at a million a second."""
