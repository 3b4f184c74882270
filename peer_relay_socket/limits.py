"""Every number that bounds something. Lives here: the value with its unit, why it is that, what an attacker does
without it, its price, and who may override it; `make_room`, which keeps a table within its number. May not live here:
any other code.

Seconds are floats, sizes are bytes. Everything a peer can make grow names its limit from this file where it is made.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final


def make_room(table: MutableMapping[Any, Any], most: int) -> None:
    """Forget the oldest entries of `table` until it has room for one more and holds at most `most` with it."""
    while len(table) >= most:
        del table[next(iter(table))]


# --- datagrams -------------------------------------------------------------------------------------------------
MAX_DATAGRAM: Final = 65_507
"""Largest datagram: 65,535 less the IPv4 and UDP headers (RFC 768); what the kernel refuses with EMSGSIZE beyond."""
MAX_LOOPBACK6: Final = 65_527
"""Largest datagram between this host's own IPv6 sockets: 65,535 less the UDP header; IPv6's own is not counted."""
DATAGRAM_OVERHEAD: Final = 128
"""What a waiting datagram counts for beside its bytes (Python keeps about that: a bytes header, a tuple, a slot).
Without it a flood of empty datagrams waits without bound. The kernel's figure is 768 and more."""
SOCKET_BUFFER: Final = 212_992
"""What SO_RCVBUF and SO_SNDBUF report before they are set (net.core.rmem_default). Also the send budget of a socket:
170 datagrams of 1200 bytes, three full packets, wait before a blocking sendto does."""
RECEIVE_BUFFER: Final = 2 * 1024 * 1024
"""What may wait in a socket whose SO_RCVBUF was not set: a reader that loses the GIL for one switch interval (5 ms) at
200,000 datagrams/s finds 1000 of them, and the first 8,000 of a program that begins with so many (of 100 bytes, 1.8 MB
here) come at once when its peer is found: with 1 MiB a reader that was up lost 915. Price: 2 MiB per socket that is not
read, under flood. SO_RCVBUF overrides."""
SOCKET_BUFFER_MOST: Final = 2 * 4 * 1024 * 1024
"""Largest SO_RCVBUF or SO_SNDBUF: twice a generous net.core.rmem_max (the kernel doubles what is asked for)."""
RECEIVE_BUFFER_LEAST: Final = 2304
"""Smallest SO_RCVBUF, Linux's SOCK_MIN_RCVBUF."""
SEND_BUFFER_LEAST: Final = 4608
"""Smallest SO_SNDBUF, Linux's SOCK_MIN_SNDBUF."""
DESCRIPTORS_COUNTED: Final = 64 * 1024
"""The highest soft limit of descriptors at which a socket's second one is put past it: programs with more have no need,
and the kernel keeps 8 bytes per number up to the highest in use."""
DESCRIPTORS_SPARED: Final = 64
"""Numbers below which a socket's second descriptor stays where it is, and at most a sixteenth of the soft limit: most
programs have no more, and to move one costs 5 of 30 µs and lifts the limit meanwhile. Price: 32 of select()'s 1024."""
EPHEMERAL_PORTS: Final = (32_768, 60_999)
"""First and last port given to sockets that ask for none (net.ipv4.ip_local_port_range)."""
FLOWS_PER_SOCKET: Final = 4096
"""Addresses whose way one socket remembers; idle ones are forgotten beyond. Price: 0.4 kB each. A DHT node talks to
some thousand; forgetting costs 5 µs at the next send."""
SPELLED_SOURCES: Final = 8192
"""Source address tuples one peer keeps ready for received datagrams. Without a bound a peer that sends from every port
fills memory. Price: 0.3 kB each; all are forgotten when full."""
REAL_UDP_READS: Final = 64
"""Datagrams read from one socket of real UDP before the relay thread looks at its links."""
REAL_UDP_NAP: Final = 0.0005
"""Seconds between two tries to send by real UDP where the kernel has no room and the caller has a time limit."""

# --- packets and bundles ---------------------------------------------------------------------------------------
PACKET_TARGET: Final = 60 * 1024
"""Datagrams that wait together are packed into one sealed packet up to this size: 50 datagrams of 1200 bytes
share one header, one AEAD call and one WebSocket frame (0.26 µs each instead of 8.4)."""
MAX_BODY: Final = 80 * 1024
"""Largest packet body: one datagram of MAX_DATAGRAM with its record, seal and slack. Without it a peer makes a
relay buffer what it likes. Price: 80 KiB per packet in flight."""
MAX_BUNDLE: Final = 272 * 1024
"""Largest WebSocket message. websockets' own default is 1 MiB; ours holds three full packets, or a datagram of
MAX_DATAGRAM as npm writes it: "255," for a byte, 262,028 characters, and a path of 20 hops. Price: this much receive
buffer per link being filled, 5,000 links x 272 KiB = 1.3 GiB worst case on a relay under attack."""
BUNDLE_TARGET: Final = 128 * 1024
"""Packets that leave together for one neighbour are joined up to this size; under MAX_BUNDLE with any single packet."""
HOP_LIMIT: Final = 24
"""Links a packet may cross; p99 at 10,000 peers is 6, so this ends loops, not journeys."""

# --- trust -----------------------------------------------------------------------------------------------------
NETWORK_KEY_SCRYPT_N: Final = 2**14
NETWORK_KEY_SCRYPT_R: Final = 8
NETWORK_KEY_SCRYPT_P: Final = 1
"""scrypt's cost (RFC 7914 §2; these are its interactive parameters) for turning the network key into 32 bytes. Without
it an attacker that a member dialled tries a dictionary at 10^7 words a second; with it each word costs 16 MiB and
35 ms (measured). Price: the same, once per process that has a network key. Equal across a network: not a setting."""
STATIC_KEY_HOURS: Final = 30 * 24
"""Hours for which the signature of a static key holds; it is made anew at half of them. Without an end a key that leaks
from memory once stands for its identity for ever. A clock may be wrong by half of it."""
CLOCK_LEAST: Final = 1_735_689_600.0
"""2025 in seconds since 1970: a clock that says less was never set."""
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
LIST_POLL: Final = 0.5
"""Seconds between looks whether an allow or deny list changed; it counts when it looks the same twice. Price: a stat
each; a function in place of a file is asked about every link or session."""
MAX_LIST_FILE: Final = 4 * 1024 * 1024
"""Bytes of a list's file: 100,000 ids. Ours alone to write; the bound is for the file that is something else."""
MAX_URL: Final = 255
"""Characters of a URL on the wire (its length is one byte)."""
LEARNED_PATH: Final = 64
"""Characters of the path of a URL that others tell us to dial, of [A-Za-z0-9/_-]: enough for a relay behind a reverse
proxy. Without it a stranger has us send requests of his choice ("/cgi-bin/reset?confirm=yes") to third parties."""
OWN_NETWORKS_AGE: Final = 10.0
OWN_NETWORKS_BYTES: Final = 1024 * 1024
"""Seconds for which this machine's own networks are remembered, and bytes of each of the kernel's tables that are read:
a router's routes have no end. Price: 0.3 ms each time that a link to a public address comes up, or one is dialled."""
MAX_URLS: Final = 4
"""URLs a peer may advertise: a public one, IPv4, IPv6, loopback."""
NOTE_CHARACTERS: Final = 500
"""Characters of one line that the engine has logged. Without a bound a relay that answered one question with thousands
of ids wrote a line of 160,000."""
UNHEARD_ERRORS: Final = 8
"""Errors that a peer keeps for the first listener of "error"; the oldest goes. Without a bound a bootstrap that fails
for days, each time for another reason, fills memory."""
LISTENER_BACKLOG: Final = 4 * 1024 * 1024
"""Bytes of messages, and of events that peers cause, that wait for a program's listeners, with DATAGRAM_OVERHEAD each;
what comes beyond is dropped and counted. Without it a stranger's messages filled 720 MB in 8 s behind a listener that
takes 0.1 s for each. 64 of the largest messages, 30,000 small ones."""
MAX_MESSAGE: Final = 64 * 1024
"""Bytes of JSON that Peer.send carries: one packet, as a datagram."""

# --- links -----------------------------------------------------------------------------------------------------
LINK_HANDSHAKE_TIME: Final = 10.0
"""Seconds a link may take to prove its key. Without it half-open links pile up; a round trip by satellite is 0.6 s."""
LINK_PING_IDLE: Final = 25.0
"""Seconds without a byte after which a neighbour is pinged: under the 30 s at which the worst home NATs forget a TCP
flow; 131 bytes for a ping or its answer, so six links cost an idle peer 31 bytes/s each way."""
LINK_PING_TURN: Final = 4.0
"""Seconds more that the end that was dialled waits: the dialler's ping comes first, or is missing for good."""
LINK_DEAD: Final = 40.0
"""Seconds without a byte after which an idle link is given up. Sessions notice a silent path long before that."""
LINK_ANSWER: Final = 4.0
"""Seconds after something was sent by which something must have come back, else the neighbour is pinged, and given up
after as much again. Without it what falls silent under traffic (a machine without power, a cut cable) is sent to for up
to LINK_DEAD: in the simulator 8 % of all datagrams were lost for 40 s when a tenth of the relays vanished. Price: one
ping per LINK_ANSWER on links whose traffic goes one way only."""
UPLINK_LOOK: Final = 1.0
"""Seconds between looks whether the addresses that links left from are still this machine's, and, where no link is up
any more, whether packets leave from another. Without it a machine that changes networks is cut off until LINK_ANSWER
has passed twice, and one that had none until REDIAL_MAX has. Price: a socket made and bound, some 10 µs, while a link
leaves this machine; nothing is sent."""
LINK_PART_TIME: Final = 5.0
"""Seconds that a link to which we said goodbye stays open for what is on its way; its other end closes it sooner."""
MAX_LINKS: Final = 8_192
"""Links a relay holds; at 25 kB each 200 MB. Past it the most crowded prefix gives way to a less crowded one's
newcomer."""
MAX_LINKS_PER_HOST: Final = 256
"""Accepted links per IPv4 address or IPv6 /64 (an office behind one NAT). Without it one machine takes every place.
Our own machine is not counted: its programs can do worse."""
PREFIX_FACTORS: Final = (1, 2, 4)
"""How many times a limit per host holds for the host itself, for the prefix of one site (IPv6 /56, IPv4 /24) and for
that of one provider's customer (IPv6 /48). Without it a /48, which costs a few euros a month, is 65,536 hosts and takes
every place. In a full table the most crowded prefix gives way to a newcomer from a less crowded one."""
MAX_HALF_OPEN_LINKS: Final = 1_024
MAX_HALF_OPEN_PER_HOST: Final = 32
"""Accepted connections that have not proved a key yet, together and per host: 3 kB each for LINK_HANDSHAKE_TIME."""
LINK_PACKETS_RATE: Final = 10_000.0
LINK_BYTES_RATE: Final = 31.25e6
"""What is read from one link per second, a second's worth at once; a message counts as a packet more, and bytes for us
count a quarter. 250 Mbit/s through a relay, 1 Gbit/s to the peer itself. Without them one neighbour takes the relay
from all others: ten that flood it at these rates take a quarter of a core (benchmarks/flood.py). Beyond, the link is
not read for a while (Throttle) and its owner is told (LIMITS). EngineConfig overrides."""
LOOPBACK_FACTOR: Final = 40.0
"""How many times more our own machine may send."""
CONTROL_PER_LEAF: Final = 500.0
CONTROL_PER_CALLER: Final = 1_500.0
CONTROL_PER_RELAY: Final = 5_000.0
"""What control packets may cost per second (engine/work.py), a second's worth at once, of a neighbour that does not
relay, of one that dialled us and says that it does, and of a relay that we dialled; what is beyond is dropped. 200
handshakes, or 10 floods, per second of one leaf; a relay passes on those of many."""
CONTROL_TOTAL: Final = 15_000.0
CONTROL_SHARE: Final = 2.5
"""The same for all links together, and what each link has beyond when that is used up, four seconds' worth at once (one
lookup): 0.3 s of a core in a second, and 0.2 more if all 5,000 ask. Without it a hundred hostile links take two cores,
each within its allowance (benchmarks/cost.py)."""
TRAFFIC_TOTAL: Final = 100_000.0
TRAFFIC_SHARE: Final = 20.0
"""Packets that are read per second from all links together, a second's worth at once, and what each link may still say
when that is used up, four seconds' worth at once; beyond, it is not read for a moment. A packet that is passed on takes
some 4 µs without its share of a read and a write, so 0.4 s of a core in a second. Honest bulk comes in bundles, each
packet up to PACKET_TARGET: 300,000 datagrams/s are 6,000 packets. Without it a hundred hostile links, each within
LINK_PACKETS_RATE, leave a relay no time for the others, nor for its timers. Our own machine is not counted."""
RELAY_TRAFFIC_FACTOR: Final = 4.0
"""How many times LINK_PACKETS_RATE and LINK_BYTES_RATE are read from a relay that we dialled, or that was reached where
it says: it passes on what many say. Without it three leaves at one relay fill its links to all others."""
NO_ROUTE_PRICE: Final = 3
"""Packets more that one counts for whose next hop is not known yet: to work it out takes three times as long as all
else. 2,500 new destinations per second of one link, beside 200 handshakes."""
LINK_PACKET_PRICE: Final = 4
"""Packets that a LINK packet counts for: it is opened, some 8 µs, before it is known whether it is one too many."""
BROADCAST_PRICE: Final = 1
REFUSED_BROADCAST_PRICE: Final = 18
"""Packets more that a broadcast counts for, since to see that it was heard before takes twice as long as to pass a
packet on; and one that is refused, beside that."""
MAX_LINK_QUEUE: Final = 8 * 1024 * 1024
"""Bytes a relay holds for one slow neighbour before it drops: four SESSION_WINDOWs. Of these each of the neighbours
that they are from may fill as much as is free. Without that one leaf that floods a relay's link to another, within its
own rates, has all others lose what the flood loses. Price: a leaf alone has two SESSION_WINDOWs on a slow link."""
QUEUE_SHARE_LEAST: Final = 1024
"""Bytes of a queue that are not remembered once newer ones have come: so much is free for anyone."""

# --- membership ------------------------------------------------------------------------------------------------
CLOSEST_LINKS: Final = 4
"""Links each peer keeps to the dialable peers nearest its own id: they are how it is found. Four survive three dead,
and at 10,000 peers save a tenth of a hop against three."""
ORDINARY_LINKS: Final = 6
"""Links to relays that a peer which does not relay holds at most, but for a moment while it joins."""
ANCHOR_FAILURES: Final = 3
"""Failed dials after which the relay that was chosen by chance is given up for another."""
CROWDED_TIMES: Final = 2
NEVER_CROWDED: Final = 32
"""A relay is crowded that has more ordinary peers than NEVER_CROWDED, and than CROWDED_TIMES as many as the median of
our relays: home is another then. Without it 4,000 peers that join within a minute leave 93 with one relay, which
carries 5.8 times the mean (59 and 3.3 with it). A relay that says too little may be home to peers that are linked to it
anyway; the relay drawn by chance stays. Price: 3 bytes of a hello, 1 of a PONG. That byte ends at 255, so none is
crowded where the median is 128 or more."""
CLOSE_PER_PREFIX: Final = 2
"""Of the CLOSEST_LINKS nearest relays so many are of one host or prefix (/24, /48), where there are others: who rents
one network and grinds ids does not surround a peer. Addresses of this machine and of private networks do not count."""
COMPARED_HOPS: Final = 8
"""Linked relays nearest to a target among which the one that promises the shortest way is chosen: 5 µs, once for each
target in MAX_ROUTE_CACHE."""
SLOT_BITS: Final = 2
"""A relay keeps one link in each quarter of each k-bucket (Maymounkov & Mazières 2002, §2.4 and 4.2): every hop fixes 3
bits and more. With 3 it would be 77 links each to save a quarter of a hop."""
SLOT_PATIENCE: Final = 10.0
SLOT_PATIENCE_MAX: Final = 80.0
"""Seconds before an empty slot is asked for again, twice as long each time: of 40 slots some 10 fit no peer anywhere in
the network, and while thousands join a relay looks around each second."""
RELAY_LINKS: Final = 64
"""Links to other relays past which a relay lets go of some: 51 on average at 10,000 peers, 4 log2(relays) + 7; without
a bound those in sparse corners of the id space are chosen by 86."""
MAX_CANDIDATES: Final = 256
"""Dialable peers remembered, linked or not; 256 x ~400 bytes."""
CONTACTS_PER_ANSWER: Final = 8
"""Contacts in one FOUND or NEIGHBOURS, of some 60 bytes each."""
MAX_REFLECTION: Final = 5
FIND_PADDING: Final = 32
RESOLVE_PADDING: Final = 11
MAX_PASSING_ANSWERS: Final = 2
MAX_PASSING_MATCHES: Final = 2
"""How many times longer than a question its answers may be. The sender of a question may be made up: without this one
relay had another send 142 times as much to a third peer as it sent itself. So a FIND carries some bytes for nothing, as
does a RESOLVE, which besides is answered by so many relays that pass it on, at most, with so many ids each; their
answers have 94 bytes, the last one 134, and the question 65."""
MAX_INTRODUCTION: Final = 640
"""Bytes of contacts that a newcomer is told of at once, unasked: its handshake had 460."""
MAX_JOINING: Final = 16
JOINING_TIME: Final = 30.0
"""Peers that we dial because they asked for it (JOIN), and seconds until one of them may be forgotten again. Without it
an attacker that makes up identities fills the candidates with them and has us dial for ever."""
REDIAL_FIRST: Final = 0.2
REDIAL_MAX: Final = 10.0
"""Seconds between attempts at a peer that does not answer: grows 1.7-fold, each wait drawn from its upper half."""
REDIAL_LOCAL_MAX: Final = 0.5
"""The same for the embedded node on loopback, which another process must take over within 2 s."""
REFRESH_FIRST: Final = 2.0
REFRESH_MAX: Final = 300.0
"""Seconds between looks for nearer neighbours: doubles while nothing changes; about 600 bytes each."""
LOOK_SPACING: Final = 1.0
"""Seconds between two looks around, however much changes."""
LOST_TIME: Final = 600.0
"""Seconds during which a lost neighbour that would be nearer than those we have is dialled again and again: a partition
of that length heals as it ends. Price: a SYN every 7.5 s on average for each such neighbour that is gone for good."""
REMEMBERED: Final = 64
"""Relays that worked and are remembered across restarts; the one that worked longest ago goes. Half of 64 may be gone
for good and the rest still leads back. Price: 64 x ~300 bytes, and a file of ~10 kB per network."""
RECALL_AT_ONCE: Final = 16
RECALL_EVERY: Final = 1.0
RECALL_AGAIN: Final = 60.0
"""Remembered relays that are dialled at once while no link is up, seconds until more of them are, and until all of them
are dialled again: were one of 64 left, it would be found after 3 s. Price: 64 SYNs a minute of one cut off."""
BOOTSTRAP_GRACE: Final = 10.0
"""Seconds after which an ordinary peer with enough nearer links leaves a bootstrap node to newcomers."""

# --- reachability ----------------------------------------------------------------------------------------------
DIAL_BACK_ASKED: Final = 3
DIAL_BACK_AGREE: Final = 2
"""Neighbours asked at once to dial us back, and how many of them must have reached us: one that lies, or that cannot
dial, is outvoted. Where there is one neighbour only, its word counts: it is all the network we have."""
DIAL_BACK_TIME: Final = 8.0
"""Seconds until a neighbour that has not reached us counts as unable to: DIAL_BACK_DIAL_TIME and a slow round trip."""
DIAL_BACK_DIAL_TIME: Final = 5.0
"""Seconds that dialling back may take: a SYN, its repetitions after 1 and 3 s, TLS, HTTP."""
DIAL_BACK_SPACING: Final = 5.0
"""Seconds between two rounds of asking."""
DIAL_BACK_RATE: Final = 4.0
"""Times per second that we dial back, for all askers. One costs a SYN (or four) and 300 bytes, to the address that the
asker is linked from. Without it a thousand askers behind one NAT make us try its ports."""
DIAL_BACK_PATIENCE: Final = 1.0
DIAL_BACK_HOSTS: Final = 1024
"""Seconds between two for one address, and addresses of which that is known; the longest known is forgotten."""
CLAIM_URLS: Final = 2
CLAIM_TRIES: Final = 2
CLAIM_AGAIN: Final = 60.0
CLAIM_HOSTS: Final = 1024
"""URLs of one neighbour that nothing speaks for and that are tried; how often a host is dialled in vain, for such a URL
or for peers that were only heard of, before that many seconds must pass; and hosts of which that is known. Without it
twelve links of a stranger had 72 hosts send requests to a third party, and one that makes peers up has a neighbour dial
as it likes. Price: a node behind a name is told of a few round trips later; one that restarts is found a minute later
by peers that never knew it."""
REACH_AGAIN: Final = 600.0
"""Seconds, about, until a peer that others reached asks again: port mappings of home routers live an hour and more."""
REACH_RETRY_FIRST: Final = 30.0
REACH_RETRY_MAX: Final = 1800.0
"""Seconds, about, until a peer that no other reached asks again: it doubles."""
HELLO_RATE: Final = 4.0
"""HELLOs per second that are taken from one neighbour: each may mean that routes are sorted anew, and that all links
are looked at for whom to tell (10 ms at 8,000). A peer that finds out whether it can be dialled says 3."""

# --- routing ---------------------------------------------------------------------------------------------------
MAX_ROUTE_CACHE: Final = 16_384
"""Next hops remembered per alternate: 16,384 x ~100 bytes; emptied when links change."""
MAX_LEARNED_ROUTES: Final = 4_096
"""Routes learned from control traffic; the oldest goes. Without it a flood of made-up senders fills memory."""
ANSWER_TIME: Final = 4.0
"""Seconds during which the answer to a control packet goes back over the link that the packet came over: a round trip
and its retries. A sender may be made up, so nothing else goes there."""
MAX_FLOODS: Final = 1_024
"""DISCOVER floods remembered to stop their echoes and to send the answer back."""
FLOOD_FANOUT: Final = 8
"""Relays one relay passes a DISCOVER on to."""
FLOOD_HOPS: Final = 8
FLOOD_PER_LEAF: Final = 1.0
FLOOD_PER_CALLER: Final = 4.0
FLOOD_PER_RELAY: Final = 10.0
FLOOD_RATE: Final = 40.0
"""DISCOVER packets that a relay takes per second from a peer that does not relay, from one that dialled us and says
that it does, from a relay that we dialled, and passes on in all; of a link's, four seconds' worth at once. Each costs
0.3 ms (a signature, eight copies) and 8 x 160 bytes, so all together 1 % of a core. Without a rate for each link one
leaf uses up the searches of a whole network: an origin costs nothing to make up. A peer floods no more of its own: each
that is one too many still costs it 50 units of CONTROL_PER_LEAF."""
MAX_FLOOD_ANSWERS: Final = 16
"""Peers that may answer one search, each once. Without it a relay on the way draws a route to itself over and over."""
SEARCH_AGE: Final = 120.0
"""Seconds by which the clocks of a peer that searches and of a relay may differ. Beyond, the search is passed on, but
moves no route towards its origin: it may be a replay."""
CONTROL_RATE: Final = 200.0
"""NO_ROUTE and NO_SESSION notices a peer sends per second."""

# --- broadcast and multicast -----------------------------------------------------------------------------------
BROADCAST_HOPS: Final = 1
"""Relays that a broadcast passes, and that a relay lets other peers' broadcasts pass, unless the setting broadcast_hops
says otherwise: every peer linked to us or to a relay of ours hears it, as stations at one switch do."""
BROADCAST_HOPS_MOST: Final = 8
BROADCAST_RATE: Final = 200.0
BROADCAST_BYTES: Final = 128.0 * 1024
"""Broadcasts and bytes of them per second that a peer sends, and takes from one leaf; a second's worth at once: four
universes of sACN at 44 frames/s fit. Each costs a hearer 0.13 ms of CPU (Ed25519), so a hostile leaf 2.6 % of a core;
what is beyond is dropped."""
BROADCAST_CHECKS: Final = 600.0
"""Signatures of broadcasts per second that a peer verifies in all, from however many links: 8 % of a core. Half of them
are for neighbours that bring fewer than one in BROADCAST_SHARES."""
BROADCAST_RELAY_FACTOR: Final = 4.0
"""How many times more is taken from one relay, which passes on those of many."""
BROADCAST_COPIES: Final = 4.0 * 1024 * 1024
BROADCAST_COPY: Final = 1024
BROADCAST_COPIES_SHARE: Final = 2
"""Bytes per second of others' broadcasts that a relay sends out, all copies together, what one copy counts for at least
(it takes 6 µs however short it is), and that one leaf has one in so many of them. Without the first a leaf that sends
BROADCAST_BYTES makes a relay with 1,000 leaves send 128 MB/s; without the last it takes 0.06 s of a core each second,
and nobody else's broadcasts pass that relay. Price: a leaf that broadcasts 176 times a second (four universes of sACN)
is heard by 11 others at one relay each time; beyond, each hears some."""
BROADCAST_AGE: Final = 120.0
"""Seconds by which two peers' clocks may differ, transit included. What is older, or younger, is dropped: it may be a
replay from before we began to remember."""
BROADCAST_WINDOW: Final = 64
"""Broadcasts of one origin that may overtake one another (copies come by several relays)."""
MAX_BROADCASTERS: Final = 4_096
"""Origins whose last broadcasts are remembered, at most 2.5 kB each. While all of them broadcast within BROADCAST_AGE,
others are refused: to forget one would be to take its broadcasts again."""
BROADCAST_AHEAD: Final = 10.0
BROADCAST_SHARES: Final = 16
"""One in so many places of MAX_BROADCASTERS are for the origins that one neighbour brings which dialled us, or whose
stamps are more than so many seconds ahead of our clock, which holds their places longer. Where all places are taken,
the link that brought most gives way to one that brought less. Without it one leaf with throwaway keys shuts every
newcomer out for twice BROADCAST_AGE; with it, that takes 16. Price: what gave way may be heard a second time."""
BROADCAST_PATIENCE: Final = 5.0
BROADCAST_PENDING: Final = 64
"""Seconds that broadcasts wait for the first link of a peer that has just started, and how many."""

# --- resolving -------------------------------------------------------------------------------------------------
RESOLVE_RETRY: Final = 0.1
RESOLVE_TRIES: Final = 5
"""Attempts at an unanswered address, the waits between them doubling (two programs that start together find each other
at the first or second); then EHOSTUNREACH, after 3.1 s (ARP gives up after 3)."""
RESOLVE_RATE: Final = 150.0
"""RESOLVE packets per second for each relay that they may go by, a second's worth at once. At 2.5 units each they are
three quarters of CONTROL_PER_LEAF: handshakes and pings have the rest. Without it a program that sends to thousands of
addresses of nobody uses up what a relay takes of us, and its next word to a peer, and the answers to others'
handshakes, are dropped there.
Price: of more new addresses in a second, some are asked for later or given up."""
FLOOD_TRY: Final = 3
"""Attempts after which a search floods: at 0.7 s, when an answer over five links of 50 ms would be there. At 0.1 s, as
it once was, every join across a continent flooded: a sixth of all bundles while 1,000 simulated peers joined."""
OWN_ADDRESS_AGAIN: Final = 5.0
"""Seconds after which a newcomer asks a second time whether another peer has its short address: of 11 pairs among
10,000 peers that joined within a minute the first question missed 2, which joined within seconds of each other."""
GROUND_BITS: Final = 64
"""Leading bits up to which keys may be made until an id begins as another's: 2**22 take minutes, 2**64 more than
anyone has. Addresses of no more bits are asked for by all alternates at once: two packets of 53 bytes more."""
RESOLVE_PROOF: Final = 1.0
"""Seconds in which a peer that was named for an address shows its key, before others are asked, or the one that did is
believed: HANDSHAKE_RETRY at its longest and a round trip, for a relay on the way may swallow the first message. A lie
costs this much, once for each alternate."""
RESOLVE_LAST: Final = 5.0
"""Seconds after which a question is given up whose peers were named and show no key: one named at the last of
RESOLVE_TRIES, after 3.1 s, still has RESOLVE_PROOF."""
MAX_NAMED: Final = 16
MAX_NAMED_PER_LINK: Final = 4
"""Peers that are tried for one address, in all and as named over one link. Without it a relay names thousands that do
not exist: each costs a handshake of ours, and a place in a line of the log."""
SENIORITY: Final = 60.0
"""Seconds by which a claim must be older than another, as a relay saw it, to count as first: relays learn of a peer
seconds apart while it joins, and a thief has to be there before its victim by this much."""
SENIORITY_KEPT: Final = 24 * 3600.0
MAX_SENIORS_GONE: Final = 8_192
"""Seconds for which a relay remembers since when it knew a peer that has left, and of how many: one that comes back
from a night's rest has its address still. Without a bound peers that come and go fill memory; they count only if they
stayed for SENIORITY, or a flood of them would make relays forget. Price: 250 bytes each."""
MAX_WITNESSES: Final = 5
"""Relays asked, each over a link of its own, which of several claimants they knew first. A thief that is a relay takes
no address alone, nor with another relay beside it; with two that lie on the nearest ids to the address, it does
(measured: 0, 0 and 73 of 100 fresh clients). Price: 5 x 100 bytes, and as much for the answers, at each first lookup of
an address that several peers share."""
WITNESS_RETRY: Final = 0.15
WITNESS_TRIES: Final = 3
"""Seconds after which those that have not answered are asked again, twice as long each time, and how often: 1.05 s in
all, and one answer that is lost costs a tenth of that."""
ADDRESS_MOVES: Final = (0.0, 0.5, 2.0)
"""Seconds before a newcomer without a key file takes its first, second and third new identity because another peer
proved that the IPv4 address is its own. Then it stays, and says so: relays that grind keys for each address of a
newcomer's could keep it from ever joining."""
MAX_CLAIMS: Final = 32_768
"""Peers that proved their keys and whose IPv4 addresses are therefore known: twice MAX_SESSIONS, so that strangers who
push a friend's session out do not take its address. Price: 300 bytes each. Those that the program sent nothing go
first."""
MAX_PINNED: Final = 8_192
"""Addresses remembered with the id they stand for."""
MIN_PREFIX_BITS: Final = 8
"""Fewest leading bits of an id that a search may ask for: those of an address in a /24, the smallest network there may
be. Without it one search makes half the network answer, and believe that the asker is where the search came from."""
MAX_RESOLVING: Final = 256
"""Addresses being resolved at once, two seconds of RESOLVE_RATE; beyond, any that waits for its turn is given up. If
the newest were refused, a program that looked for thousands in vain could send nothing to a new peer for seconds."""
UNKNOWN_ADDRESS_TIME: Final = 1.0
"""Seconds during which an address that found no answer is not asked for again."""

# --- sessions --------------------------------------------------------------------------------------------------
SESSION_WINDOW: Final = 2 * 1024 * 1024
"""Bytes in flight to one peer before its acknowledgement: 700 MB/s at 3 ms. Bounds what relays on the way hold."""
ACK_EVERY: Final = SESSION_WINDOW // 8
ACK_DELAY: Final = 0.25
"""A receiver tells the sender how far it has come every ACK_EVERY bytes and ACK_DELAY seconds: 4 small packets/s."""
SESSION_SILENCE: Final = 1.5
"""Seconds of sending with nothing heard (acknowledgements are due every 0.25) before another path is tried."""
SESSION_PROBE: Final = 0.5
SESSION_MISSED_PROBES: Final = 4
"""Silent probes, SESSION_PROBE apart, before the session is taken for dead and a new handshake is tried."""
SESSION_IDLE: Final = 600.0
"""Seconds without traffic after which a session's keys are forgotten."""
SESSION_GRACE: Final = 60.0
"""Seconds longer that the receiving side keeps them, so that nothing is sealed under keys that are no more."""
SESSION_REKEY: Final = 3_600.0
"""Seconds after which the initiator makes new keys (WireGuard: 120 s; ours also counts packets and bytes)."""
HANDSHAKE_RETRY: Final = 0.5
HANDSHAKE_TRIES: Final = 5
"""Attempts at a session handshake: 0, 0.5, 1.5, 3.5, 5.5 s, then EHOSTUNREACH."""
HANDSHAKE_RATE: Final = 1_000.0
"""First handshake messages answered per second: each costs about 0.2 ms of CPU, so 20 % of a core. One leaf cannot use
it up: its relay passes on CONTROL_PER_LEAF."""
NO_SESSION_PATIENCE: Final = 1.0
"""Seconds between handshakes that a mere claim ("I do not know this session") may cause. Without it a relay that sees a
session's index makes both ends compute 0.4 ms per lie. A peer that restarts twice within a second waits that long."""
MAX_HALF_OPEN: Final = 1_024
"""Session handshakes begun by others and not finished; each ~2 kB, 10 s."""
EARLY_PACKETS: Final = 16
EARLY_BYTES: Final = 1024 * 1024
"""Sealed packets held for a session whose third handshake message is still on its way, since a shorter way came up
behind it, and bytes of them for all sessions together. Without it 100 ms of datagrams are lost when a relay's link
comes up in that moment (tests/lab/test_changes.py); beyond, as then."""
MAX_SESSIONS: Final = 16_384
"""Sessions kept; the longest idle goes. About 3 kB each."""
PENDING_BYTES: Final = 512 * 1024
"""Datagrams that wait for a peer to be found, per peer (Linux queues 212,992 bytes per unresolved neighbour)."""
SEND_PATIENCE: Final = 0.05
"""Seconds that a caller whose send budget is used up waits for a peer that is not found, once for each; then the oldest
that wait for it go, as ARP does. Without it a peer that is not there holds up what the same socket sends elsewhere."""
PENDING_TOTAL: Final = 16 * 1024 * 1024
"""The same for all peers together: a program that sends to thousands that are not there does not fill memory."""
FAILURE_AGAIN: Final = 60.0
MAX_FAILURES: Final = 256
"""Seconds for which one place's failures are told once, and places of which that is known, 200 bytes each: a flood of
refused links is not a flood of lines."""
FIRST_WORD: Final = 3.0
"""Seconds after which a dial that nothing answers, as behind a firewall, is spoken of, long before DIAL_TIME."""
MAX_SECRET: Final = 64 * 1024
"""Bytes that are read of a file that holds a secret: /dev/zero is one, too."""
MAX_REASON: Final = 300
"""Characters of a reason that is remembered: a line."""
MAX_ENDINGS: Final = 64
"""Destinations of which `Peer.status` still says why they were given up; the oldest goes. 64 x ~200 bytes."""
PENDING_TIME: Final = 30.0
"""Seconds datagrams wait for the network to be there at all, before they are dropped and counted."""

# --- probes ----------------------------------------------------------------------------------------------------
ECHO_RATE: Final = 100.0
"""Pings that a peer answers per second, from all askers: each costs an answer of the same size, some 20 µs. Without it
a flood of them is answered packet for packet."""
TRACE_RATE: Final = 100.0
"""Traces that a peer answers per second. A question has 52 bytes, and so has its answer."""
MAX_PROBES: Final = 64
"""Pings and traces of one process that wait for an answer at once, 1 kB each."""
PROBE_TIME: Final = 4.2
"""Seconds within which a ping or trace that nothing answers has said why: under the 5 s that people wait, the start of
the command included."""
PROBE_REFUSAL: Final = 2.0
"""Seconds after which a peer that is said to refuse us is believed to; a relay on the way could say so, too."""
PROBE_JOIN_TIME: Final = 3.5
PROBE_GIVE_UP: Final = 1.0
"""Seconds that one waits for a first link, and for one where every bootstrap URL has failed already."""
PING_INTERVAL: Final = 1.0
PING_ANSWER: Final = 1.0
"""Seconds between pings, and how long each waits, as ping(8); the first has the rest of PROBE_TIME if that is more."""
TRACE_ANSWER: Final = 1.0
TRACE_SILENT: Final = 2
"""Seconds that a trace waits for each hop, and how many in a row may be silent."""

# --- observe ---------------------------------------------------------------------------------------------------
CONTROL_CLIENTS: Final = 8
"""Programs that ask one process at once, by its control socket; more are let go."""
CONTROL_LINE: Final = 4096
"""Bytes of a request."""
CONTROL_IDLE: Final = 60.0
CONTROL_WRITE_TIME: Final = 5.0
"""Seconds that a client may take for its next request, and for taking an answer."""
CONTROL_ASK_TIME: Final = 2.0
"""Seconds that a process may take to answer; one that is stopped never does."""
CONTROL_LINES: Final = 64 * 1024 * 1024
"""Bytes of one answer: the record of a relay with MAX_LINKS links has 4 MB."""
STATUS_AGE: Final = 0.2
"""Seconds for which a record serves all that ask: one of MAX_LINKS links takes 60 ms to make."""
PING_MOST: Final = 100_000
"""Pings that may be asked for at once."""

CHECK_TIME: Final = 2.5
LINK_CHECK_TIME: Final = 4.0
"""Seconds that one check of `peer-relay doctor` may take, and the one of the link."""
CERTIFICATE_DAYS: Final = 14
"""Days before a certificate's end from which that is a warning: what renews itself has renewed it by then."""
CLOCK_SKEW: Final = 5.0
"""Seconds of difference to a relay's clock that are a warning."""
DRAIN_NOTICE: Final = 2.0
DRAIN_TIME: Final = 5.0
"""Seconds that a node which is told to end goes on serving until those who ask for /readyz have heard so, and within
which all of its end is over: orchestrators kill after 10 s or more."""
STREAM_CLIENTS: Final = 8
"""Pages that follow a node at once, of ADMIN_CLIENTS: metrics and probes always find room."""
STREAM_INTERVAL: Final = 1.0
"""Seconds between two events of a page. They cost a record, and its bytes to each page: 4 MB with MAX_LINKS links."""
DROPS_STEP: Final = 10.0
DROPS_STEPS: Final = 60
"""Seconds of a step of what a node remembers of its losses, and how many steps: ten minutes, some 100 kB."""
ADMIN_CLIENTS: Final = 32
ADMIN_PATIENCE: Final = 0.1
"""Connections to the admin port at once, and seconds after which one that has not sent its request gives way to the
next: else 32 silent ones make a node fail its health checks, after which orchestrators end it. More get 503."""
ADMIN_HEAD: Final = 8 * 1024
ADMIN_TIME: Final = 5.0
"""Bytes and seconds that a request to the admin port may take, and seconds for its answer to be taken."""

# --- bridge ----------------------------------------------------------------------------------------------------
START_TIME: Final = 5.0
"""Seconds that a peer which is told to serve may take to listen."""
EXIT_TIME: Final = 5.0
"""Seconds that the end of a program may be held up, by all its peers together, to get out what sendto accepted
(SO_LINGER's spirit)."""
HANDLER_TIME: Final = 0.5
"""Seconds that the main thread has to run a Python signal handler before it is taken to be inside C."""
LATE_TIME: Final = 1.0
"""Seconds of these that are left to datagrams sent after a program's end (by a log handler that is flushed, a
finaliser) and to goodbyes, and that one of them may hold it up."""
SIGNAL_POLL: Final = 0.2
"""Seconds until a command that serves sees a signal, where the system has no sigwait (Windows): Python runs no handler
while it waits for a lock."""
TASKS_TIME: Final = 0.5
"""Seconds that the relay thread gives what it cancels at its end."""
PARK_TIME: Final = 2.0
"""Seconds that a fork waits for the relay thread to come to rest: microseconds, unless it is importing something
(aiortc: 0.5 s). Past it the child may find a lock of OpenSSL taken for ever."""
JOIN_TIME: Final = 2.0
"""Seconds that `peer-relay node` waits for its first link before it tells its id; its bootstrap may be down."""
HOPELESS_TIME: Final = 1.0
"""The same while no link is up and every bootstrap URL has already failed."""
LAN_FIRST: Final = (0.1, 0.4, 0.8, 1.5)
LAN_EVERY: Final = (5.0, 60.0)
"""Seconds before each of the first questions who else is on the link, and between later ones while no link is up and
while some are: one may be lost, and a peer is to be found within 3 s. Price: 96 bytes each."""
LAN_HEARD: Final = 200.0
LAN_ANSWERS: Final = 20.0
"""Questions and answers that are read per second, and answers given: a flood of them costs 200 x 10 µs a second, and
gets 20 answers as long as the questions."""
LAN_QUESTIONS: Final = 256
"""Tokens of questions, ours and others', that are remembered, lest one be answered twice; the oldest goes."""
STUN_RATE: Final = 10.0
"""STUN requests per second of one host with a link that are answered: a peer asks once for each of its addresses when
it looks for a direct path. Without it a forged source has us send twice the bytes to that host."""
LOOKUP_TIME: Final = 5.0
"""Seconds that a domain's name servers have to name its relays."""
LOOKUP_URLS: Final = 16
"""Relays that one domain may name; more are left out."""
LOOKUP_AGAIN: Final = 60.0
"""Seconds until a domain whose relays were found is asked again, while no link is up: they may have moved."""
STATE_FIRST: Final = 10.0
STATE_EVERY: Final = 300.0
"""Seconds until a peer first writes down which relays worked, and between later times: what a killed one forgets."""
STATE_TIME: Final = 1.0
"""Seconds that the end of a peer may be held up by that file: its folder may be on a file server that is gone."""
STATE_AGE: Final = 30 * 24 * 3600
"""Seconds after which a relay that did not work again is forgotten, and a network's file is removed."""
STATE_FILES: Final = 64
"""Networks of which relays are remembered; the file written longest ago goes. Without it a user whose programs name
another bootstrap URL each time fills a folder."""
STATE_FILE_MAX: Final = 64 * 1024
"""Bytes of such a file that are read: 64 relays have 30 kB at most."""
DIAL_TIME: Final = 10.0
"""Seconds for name resolution, TCP, TLS and the WebSocket handshake together."""
LOG_LINES: Final = 1000
"""Log lines that wait for the program's handlers; the oldest go. Without a bound a handler that blocks keeps what
strangers make us say. Price: 0.5 MB."""
LOOP_LOCK_PATIENCE: Final = 0.5
"""Seconds that the loop waits for a caller's thread that sends a lone datagram in its stead, or forks: 30 µs but for a
signal handler amid it. Without it one that waits for the loop there would wait for ever, and all other sockets with it.
Long beside the milliseconds that other threads may keep the interpreter."""
FAST_PATH_CROWD: Final = 4
"""Messages in one read up to which each is taken by itself in the next: where a reader waits for the interpreter,
several come together; where there are more, taking them together costs less."""
LEADER_AFTER: Final = 3
"""Reads in a row that found a few small messages each, before a thread that waits for a datagram reads links itself:
many at once are better read by the loop, while the thread works."""
LEADER_FAST: Final = 0.016
LEADER_KEPT: Final = 0.005
"""Seconds for 16 of its reads below which such a thread keeps the links from one wait to the next, and for how long it
may stay away then before the loop reads again: no longer than a thread that computes keeps the interpreter anyway."""
LEADER_PATIENCE: Final = 1e-3
"""Seconds that such a thread waits for the loop, when that is awake, before it leaves what came to it: the loop is
awake for microseconds, as a rule, and to change threads costs more than to wait."""
LEADER_EVENTS: Final = 16
"""Links that one poll of such a thread finds at most, the others at the next: Python sets aside room for 1,023 else, on
each poll, which takes a tenth of its time."""
FAST_PATH_ARMED: Final = 1.0
"""Seconds that what was found out about a peer holds for datagrams to it, if nothing else happens meanwhile."""
FAST_PATH_EXPECTED: Final = 1024
"""Pairs of which it is known that their packets need no more than to be taken, or passed on: without a bound a relay's
neighbours fill its memory with ids of their choice. Price: 300 kB. The oldest goes; it is found out again."""
FAST_PATH_GAP: Final = 50e-6
"""Seconds after a datagram that was sent from the caller's own thread before the next is, unless something was heard
meanwhile. Sending so takes some 30 µs, beside 2 µs where the loop packs many: without a gap a caller that sends as fast
as it can would never let any wait."""
DRAIN_BURST: Final = 1024 * 1024
"""Bytes taken from one socket before the loop looks at its links again."""
READER_PATIENCE: Final = 0.02
"""Seconds that a link is not read, at most, while the inbox it fills is more than half full and its reader reads: four
of the interpreter's switch intervals. TCP then holds back the sender, so that a fast one loses nothing. Price: a reader
that stops holds up the others on its link once."""
READER_POLL: Final = 0.001
"""Seconds between looks whether it has caught up."""

HAND_BACK_TIME: Final = 5.0
"""Seconds that a blocking send on an inherited socket waits for the process it came from, before ENOBUFS: a parent that
was stopped must not hang its child."""
HAND_BACK_MESSAGE: Final = 128 * 1024
"""Largest message between a forked child and its parent: 65,535 bytes of datagrams, 128 of them at most."""
HAND_BACK_BURST: Final = 64
"""Such messages taken before the loop looks at its links again."""
HAND_BACK_POLL: Final = 0.005
"""Seconds between looks whether a socket's send budget takes more of what children send through it."""

MEETING_PORTS: Final = 8
MEETING_TIME: Final = 2.0
"""Loopback ports at which the programs of one user look for each other, and seconds that one which takes a connection
has to show that it is the user's: a relay thread is held up for milliseconds. Another user who holds a port cannot know
the next; where it holds all that were ever used, programs meet no more until it goes."""
KEY_CONFLICT_COUNT: Final = 3
"""Times in a row that a relay gives up our link for a newer one with our key, before that is another process's. Fewer
happen by themselves: two dials that cross, a relay that had not noticed that the old link was dead."""
KEY_CONFLICT_WAIT: Final = 60.0
KEY_CONFLICT_MEMORY: Final = 180.0
"""Seconds that we stay away from such a relay at most, and after which without another time it is forgotten. Without it
two processes with one key throw each other off five times a second."""
KEY_CONFLICT_URLS: Final = 64
"""Relays of which this is remembered; the first of them is forgotten."""

# --- links -----------------------------------------------------------------------------------------------------
LINK_HIGH_WATER: Final = 1024 * 1024
"""Bytes waiting for one neighbour at which its link says `full`: 17 packets of PACKET_TARGET. Without it a slow
neighbour makes its relay hold what others send it. Price: 1 MiB per slow neighbour."""
LINK_LOW_WATER: Final = 256 * 1024
"""Where a full link says that it is writable again: four packets are left, so the kernel does not run dry."""
LINK_BACKLOGS: Final = 128 * 1024 * 1024
LINK_BACKLOGS_LOOK: Final = 4 * 1024 * 1024
"""Bytes that wait on all links of a process together, and how far past them what is sent between two looks may lead.
16 neighbours hold MAX_LINK_QUEUE each; beyond, a link gets no more than an equal share. Without it 40 links that never
read made a relay hold 362 MB, and 256 of one host 2 GB. Buffers cost up to half as much again: 256 MiB in all."""
LINK_STALLED: Final = 10.0
"""Seconds after which a link whose neighbour took nothing of what waits for it is dropped."""
LINK_BACKLOG_MAX: Final = MAX_LINK_QUEUE
"""Bytes waiting at which `send` drops, whatever the driver does with `full`: only a sender heeds that, a relay forwards
on, and one well-behaved sender alone may have a SESSION_WINDOW on its way. Answers to a neighbour's pings count, so one
that pings and never reads gains nothing. Price: 100 neighbours that read nothing of what others send hold 800 MiB."""
LINK_READ_SIZE: Final = 256 * 1024
"""Largest single read from a connection; asyncio's own choice. One buffer per thread serves every link."""
LINK_READ_CROWD: Final = 256
LINK_READ_SMALL: Final = 16 * 1024
"""Messages in one read above which the next one is smaller, and how small. Without it a read full of empty messages
holds the loop for 130 ms, and with it the traffic of all others; so it is 8. Datagrams of 1200 bytes, each in a message
of its own, stay below."""
LINK_OPEN_TIMEOUT: Final = 10.0
"""Seconds for the opening handshake, TLS included; websockets' default `open_timeout`. Without it a stranger holds
connections for nothing."""
LINK_CLOSE_TIMEOUT: Final = 5.0
"""Seconds in which a closed link may still flush and say goodbye; then it is aborted."""
LINK_CLOSING_MOST: Final = MAX_LINK_QUEUE
LINK_CLOSING_MESSAGE: Final = 2 * 1024
"""Bytes that a neighbour may send after its link was closed here, for which it may wait to say goodbye, and how many a
message counts for beside its own. Without it twenty links that were closed, and go on to send texts, take two fifths of
a core for LINK_CLOSE_TIMEOUT. Price: what is still to be flushed to a neighbour that sends more is lost."""
LINK_HANDSHAKE_MAX: Final = 16 * 1024
"""Largest HTTP request or answer of an opening handshake. websockets alone allows 128 lines of 8 KiB; node's whole
header limit is 16 KiB. Price: 16 KiB x HALF_OPEN_MAX = 16 MiB."""
ACCEPT_RATE: Final = 300.0
"""Connections accepted per second, a second's worth at once; more wait in the kernel's queue, and the dialler's TCP
tries again. Without it strangers that connect and let go take the whole processor: each costs up to 0.7 ms, with its
handshakes. Price: after a relay with 5,000 links restarts the last is back 17 s later."""
ACCEPT_PER_HOST: Final = 8.0
ACCEPT_PER_HOST_AT_ONCE: Final = 64.0
"""The same from one IPv4 address or IPv6 /64, and so many at once; more are closed at once, at 20 µs each. An office
behind one NAT has its 64 peers back at once after a cut. Our own machine is not counted."""
ACCEPT_REFUSED_COST: Final = 0.1
"""What a connection that is closed at once counts for against ACCEPT_RATE."""
ACCEPT_HOSTS: Final = 4096
"""Hosts of which this is remembered; the first is forgotten."""
LINK_READ_MOST: Final = 4_500
TEXTS_AT_ONCE: Final = 1_700
ODD_FRAMES_AT_ONCE: Final = 500
"""Messages in one read, texts among them, and frames that are no whole messages, for which a link is closed: the
smallest datagram makes a message of 104 bytes, of which LINK_READ_SIZE holds 2,520, an npm peer's a text of 160: 1,640.
Without it ten new links that each bring one read of pings hold the loop for 2.9 s, and of empty messages for 0.4 s over
and over while they say goodbye (each text or other frame takes 40 µs, each message 3)."""
ODD_FRAMES_RATE: Final = 250.0
"""WebSocket frames other than whole messages (pings, fragments) taken from one link per second, a second's worth at
once; then the link is not read for a while. They take the slow way, 40 µs each, so this is 1 % of a core. Without it
ten links that ping take it all."""
TEXT_SHARE: Final = 1 / 8
"""What a text counts for among them: npm's wire has nothing else, and its node makes 2,000 a second. Others refuse the
first. Price: 8 % of a core for a link of npm's that sends the shortest."""
HALF_OPEN_MAX: Final = 1024
"""Connections of one listener that have not finished the opening handshake; more are dropped unanswered."""
HALF_OPEN_PER_HOST: Final = 128
"""The same from one IP address, so one stranger cannot take them all; behind a reverse proxy all share one."""
ANY_PORT_TRIES: Final = 8
"""Free ports that a peer which serves on any looks at, for one whose number is free for UDP, too. One of a hundred is
not where some hundred UDP sockets are open; without a second look such a node has no datagram lanes. Price: 8 sockets
for a moment."""
URL_MAX: Final = 2048
"""Longest URL that is dialled, in characters; what every browser and proxy carries."""

# --- npm peers -------------------------------------------------------------------------------------------------
NPM_DEPTH: Final = 32
"""Levels of brackets in their JSON; a datagram has 4. Without it some kilobytes of brackets make the parser recurse."""
NPM_PATH: Final = 64
"""Hops listed in an envelope that is taken; npm's routers send none on after 20."""
NPM_HOPS: Final = 20
"""Hops after which an envelope is sent on no more: npm's own `maxHops`."""
NPM_NONCE: Final = 32
"""Characters of a nonce; npm's have 15."""
NPM_FOUND: Final = 256
"""Ids in one foundPeers that is taken; npm sends 20 at most."""
NPM_ANSWER: Final = 20
"""Ids in a foundPeers of ours, as npm's."""
NPM_ASK_RATE: Final = 5.0
"""Times per second that a relay asks its npm neighbours for a peer that one of ours looks for: two messages each."""
NPM_NONCES: Final = 32_768
"""Envelopes remembered so that none is handled twice: npm's flood makes several copies of each, which arrive within
seconds. The oldest is forgotten; npm remembers all for ever. Price: 32,768 x ~200 bytes."""
NPM_LINKS: Final = 15
"""Links to npm peers that a peer looks for by itself: npm's own number. Theirs to us count, and may be more."""
NPM_CANDIDATES: Final = 1_024
"""Npm peers heard of and not linked to. Without it a foundPeers of made-up ids fills memory. Price: ~150 bytes each."""
NPM_WAYS: Final = 8_192
"""Npm peers whose way is remembered. Without it made-up senders fill memory. Price: ~200 bytes each."""
NPM_KEYED: Final = 65_536
"""Ids remembered to have proved a key, so that they never fall back to npm's wire. When it is full, a peer that
has not fallen back yet no longer can: an attacker who makes this many keys stops npm traffic, but talks no peer down to
npm's wire. Price: 130 bytes each, where npm_peers is on."""
NPM_OFFER_TIME: Final = 10.0
"""Seconds an offer may stay unanswered before its place is given to another (npm: for ever)."""
NPM_OFFER_AGAIN: Final = 60.0
"""Seconds before the same peer is offered a link again, and before one that the program disconnected is."""
NPM_RTC_TEXT: Final = 262_144
"""Largest message on a data channel: what Chromium, aiortc and libwebrtc say they take (a=max-message-size)."""
NPM_TEXT_UNIT: Final = 200
"""Characters of a text for which it counts as a packet more (LINK_PACKETS_RATE, TRAFFIC_TOTAL): they take 5 µs to read.
Without it one npm peer that sends 31 MB/s of JSON takes four fifths of a core. 400 datagrams/s of 1200 bytes from one
npm peer, four times as many from a node that we dialled; npm's own node makes 2,000 a second."""
NPM_TEXT_PRICE: Final = 2
"""Packets more that a text counts for in TRAFFIC_TOTAL: the shortest takes 7 to 10 µs, of which 4 are to read its JSON
and 2 to 5 its frame. Without it npm peers that send nothing else take all of a core before they reach TRAFFIC_TOTAL."""
NPM_CROSSED: Final = 0.5
"""Seconds after which we offer a WebRTC link anew when two offers have crossed."""
NPM_SIGNAL_TIME: Final = 2.0
"""Seconds in which a peer that may connect to us by WebRTC alone must have begun to; then we offer to dial it."""
NPM_SILENT: Final = 2.0
"""Seconds after which a node that told its id and nothing else counts as full (npm's k-bucket has no room for us): with
room it asks us at once. 60 clients with random ids on one node: 49 to 53 are heard."""
RENEWAL_BITS: Final = (8, 10, 12)
"""Leading bits that the id shares with a full node's own, which a peer without a key file takes then, one after the
other: a node keeps 20 peers for each number of shared bits. 8 bits take 15 ms to find, 12 a quarter of a second."""
NPM_GRACE: Final = 0.4
"""Seconds that a peer gets to show a key before it is believed to be npm's, when relays say that it is: a handshake
across the overlay takes two round trips."""
NPM_WAY_TIME: Final = 30.0
"""Seconds after which the way to an npm peer across the overlay is looked for anew, while the old one serves on."""
NPM_SEEK_BYTES: Final = 1024 * 1024
"""Envelopes that wait while the way to their peer is looked for, all together, counted as they are packed."""
NPM_SEEK_TIME: Final = 2.0
"""Seconds they wait."""

# --- WebRTC links ----------------------------------------------------------------------------------------------
RTC_UNIT: Final = 1320
"""Largest frame beside SCTP: with DTLS (37), UDP and IPv6 (48) a packet of 1405 bytes, which Ethernet, PPPoE, LTE and
WireGuard (1420) carry; a datagram of 1200 bytes with headers and seal (1290) is one frame, so loss stays the path's."""
RTC_UNIT_SMALL: Final = 1150
"""Where that does not pass: 1235 bytes with all headers, within IPv6's least MTU; also what one SCTP chunk carries."""
RTC_ICE_TIME: Final = 10.0
"""Seconds from both descriptions to an open link; aiortc alone says "failed" after 64 s, or never."""
RTC_GATHER_TIME: Final = 8.0
"""Seconds for making a description; aioice waits 5 s for a TURN server that does not answer."""
RTC_STUN_TIME: Final = 2.0
"""Seconds that a STUN server has to answer: three requests, at 0, 0.5 and 1.5 s. aioice alone waits 5 s, and where UDP
is blocked both ends would do so, one after the other."""
RTC_PROBE: Final = 0.15
"""Seconds between probes of a new link: frames of either size, until one is answered."""
RTC_PROBES_LARGE: Final = 6
"""Probes after which a link whose large frames are not answered makes do with small ones."""
RTC_TICK: Final = 0.4
RTC_MISSED_PROBES: Final = 5
"""Ticks without a byte heard, each with a ping, after which a path is dead: 2.0 to 2.4 s, so that traffic is on a relay
again within 3 s. Ticks are counted, not seconds: a loop that was held up itself does not blame the path."""
RTC_RTT_TICKS: Final = 12
"""Ticks with traffic after which the round trip time is measured anew: every 5 s, 60 bytes."""
RTC_HIGH_WATER: Final = 256 * 1024
RTC_LOW_WATER: Final = 64 * 1024
"""Bytes waiting in a WebRTC link at which it is full and no longer full. aiortc passes on some 100 Mbit/s, so this is
20 ms; nothing but our own CPU makes it wait (there is no congestion control: the path drops, as under UDP)."""
RTC_CHANNEL_BUFFER: Final = 64 * 1024
"""bufferedAmount of the unreliable channel at which frames are dropped: 0.5 s at the 1 Mbit/s it may collapse to."""
RTC_REJOIN_BYTES: Final = 1024 * 1024
RTC_REJOIN_TIME: Final = 1.0
"""Parts of bundles held until the rest arrives, per link: 16 datagrams of the largest size, for one second. The oldest
go first. Without a bound a neighbour that sends first parts only fills memory."""
RTC_DESCRIPTION: Final = 8 * 1024
"""Largest session description that is read; one with 20 candidates has 3 kB."""
RTC_CANDIDATES: Final = 16
"""Candidates of one description that are tried. Without it one offer makes us send STUN checks to as many strangers as
its author likes (16 x 7 packets of 100 bytes, once per offer)."""
RTC_ADDRESSES: Final = 3
"""Addresses of ours, of each family, from which a path is looked for: a socket each, and checks to every candidate. A
machine with a dozen bridges for containers would send a dozen times as many."""
RTC_CHECK_SHARE: Final = 160
RTC_CHECKS_LEAST: Final = 3
"""Bytes that a description has at least for each pair of a candidate and an address of ours that is tried, past the
first few; honest ones have as many for a candidate, with their keys.
Each pair is sent five STUN checks of 116 bytes (IPv6: 136) in RTC_ICE_TIME: without this an offer makes us send 14
times its size to a third party from four addresses, with it less than 5 times (tests/lab/test_reflection.py)."""
RTC_CANDIDATE: Final = 512
"""Characters of a candidate that comes by itself; they have some 150."""
RTC_CLOSE_TIME: Final = 0.5
"""Seconds in which a closed WebRTC link may still say what was sent; then it is ended."""

# --- direct paths ----------------------------------------------------------------------------------------------
DIRECT_PACKETS: Final = 20
DIRECT_BYTES: Final = 64 * 1024
DIRECT_WINDOW: Final = 2.0
"""Packets or bytes to one peer within so many seconds for which a direct link is tried: a DHT's lookups stay below, a
call or a transfer passes it at once. An attempt costs some 4 kB through the relay and 20 ms of CPU."""
DIRECT_FIND_TIME: Final = 0.7
"""Seconds in which the network may tell where a peer can be dialled, before WebRTC is tried."""
DIRECT_DIAL_TIME: Final = 3.0
"""Seconds in which a WebSocket must be up where one side can be dialled."""
DIRECT_REPEAT: Final = 1.5
"""Seconds after which an offer that is not answered is sent again; then twice that."""
DIRECT_ATTEMPT_TIME: Final = 30.0
"""Seconds for a whole attempt: two descriptions (8 each at worst), signalling, RTC_ICE_TIME."""
DIRECT_RETRY_FIRST: Final = 10.0
DIRECT_RETRY_MAX: Final = 600.0
"""Seconds until a pair that failed is tried again: threefold each time, drawn from the upper half. NATs that do not let
two peers meet seldom change."""
DIRECT_WANTED_MAX: Final = 60.0
"""The most that DIRECT_RETRY_MAX may be where the program asked for the link."""
DIRECT_STEADY: Final = 30.0
"""Seconds after which a direct link that is lost was a good one: it is tried anew at once."""
DIRECT_IDLE: Final = 60.0
"""Seconds without traffic after which a direct link is let go: its pings cost 150 bytes/s each way."""
NEAR_TIME: Final = 1.0
"""Seconds for a relay to say whether two of its neighbours are in one place; then their private addresses stay
private."""
DIRECT_OFFER_RATE: Final = 4.0
"""Offers answered per second; each opens sockets and takes 10 ms of CPU. Without it a stranger keeps us busy."""
MAX_DIRECT_ATTEMPTS: Final = 16
"""WebRTC connections being made at once, both ways: about 0.5 MB and some sockets each."""
MAX_DIRECT_PAIRS: Final = 4096
"""Peers whose traffic is counted and whose failures are remembered: 0.4 kB each; the longest known goes."""

# --- paths through relays --------------------------------------------------------------------------------------
PATH_PACKETS: Final = 4
PATH_GAP: Final = 5.0
"""Packets to one peer, none of them so many seconds after the one before, for which a better relay is looked for: a
DHT's questions stay below. The look costs 32 dials of 4 kB, once in ROUND_TRIP_AGE for all peers together."""
PATH_BEGIN: Final = 0.5
"""Seconds from the first of them to the look at how many they are; then each time that the session's silence is looked
at, SESSION_SILENCE apart."""
PATH_WORTH: Final = 0.010
"""Seconds of round trip below which no better way is looked for: it could not gain PATH_GAIN. A relay on this machine
or in this house costs nothing."""
PATH_GAIN: Final = 0.005
PATH_RATIO: Final = 0.85
PATH_WINS: Final = 3
"""Another relay takes over a path that was measured before if it is this much nearer, in seconds and as a share, in so
many measurements one after the other. Tailscale moves for 10 ms and a third; iroh for 5 ms. With 10 % jitter nothing
changes (tests/sim)."""
PATH_AGAIN: Final = 10.0
"""Seconds between two measurements of a pair that has traffic: some 300 bytes each."""
PATH_TRY_TIME: Final = 2.0
"""Seconds in which a path that is tried must answer, the dial of the other end included; it is tried three times in
them. The traffic stays where it was until then."""
PATH_TRIED: Final = 4
"""Relays that are tried for one pair at a time, those with the least sum of both ends' round trips: one of them that
lies, or drops, costs the others no time."""
PATH_OFFERED: Final = 3
"""Nearest relays of ours that the other end is asked to measure, too (on paper, three of 24 each: 1.02 times the best
of all relays in the median, 1.19 at the 95th percentile)."""
PATH_ALIKE: Final = 1.05
"""Times the fastest that a path may take and still be as good at first: among such, each pair has its own choice.
Otherwise the few relays in the middle of everybody carry most (tests/sim, 300 peers, 700 pairs: the busiest 4.8 times
the mean; 3.4 with it). The relay of the way that routing finds is chosen as well: otherwise that way changes as links
to near relays come and go."""
LOAD_TIME: Final = 5.0
CROWDED_LINKS: Final = MAX_LINKS * 3 // 4
"""Seconds over which a relay measures what it passes on, and links from which on it says that it is near its limits: a
pair that has two relays about as near takes the one with less to do. Without it 400 pairs had the busiest of 200 relays
carry 4.9 times the mean (3.8 with it, 3.3 if each took any relay; other draws: up to 7.2). Price: 3 bytes of a
hello, 1 of a PONG. A relay that claims to be idle gains at most what those as near as itself would carry."""
PATH_LINKS: Final = 16
"""Links to relays that are held for paths, those being measured included. Without it a peer that names relays has us
dial them all. More pairs than that share what is there."""
PATH_IDLE: Final = 30.0
"""Seconds without traffic, or without a TRY of the other end, after which a link is no longer held for a path."""
PATH_BLAMED: Final = 300.0
MAX_BLAMED: Final = 64
"""Seconds for which a relay is not chosen again that was chosen and then was silent, and relays of which that is known:
one that accepts and drops costs SESSION_SILENCE once, not each time."""
MAX_PATHS: Final = 256
"""Pairs for which a path is looked after: 1 kB each; the longest known goes."""
MAX_ROUND_TRIPS: Final = 16
"""Relays in one list of round trips that are read."""
ROUND_TRIPS_MEASURED: Final = 32
ROUND_TRIPS_AT_ONCE: Final = 12
ROUND_TRIP_BATCHES: Final = 4
ROUND_TRIP_TIME: Final = 1.0
"""Relays that a peer with traffic measures, how many at a time, in how many batches, and how long it waits for each. Of
16 the three nearest leave the 95th percentile at 1.39 times the best relay; of 24 at 1.25 to 1.47 as pairs are drawn
(tests/sim, 1,000 peers), of 32 at 1.27 where 24 left 1.47."""
ROUND_TRIP_AGE: Final = 600.0
MAX_ROUND_TRIPS_KNOWN: Final = 128
"""Seconds for which a measured round trip is believed without a link, and relays of which it is known."""

# --- datagram lanes --------------------------------------------------------------------------------------------
LANE_PACKETS: Final = 16
LANE_WITHIN: Final = 2.0
"""Packets over a link to a relay, and the seconds in which they come, for which a lane beside it is opened: a DHT's
questions and a link's own pings stay below, so that an idle peer has no UDP socket and no timer for it."""
LANE_PACKET: Final = 1200 + 90
"""Bytes of the largest packet that takes a lane: a datagram of 1200 bytes and what seals it. With what is around it,
1347 bytes of IPv4 and 1367 of IPv6, which pass tunnels (1420, 1400) and PPPoE (1492) whole. What is larger is bulk, and
takes the WebSocket."""
LANE_FEW: Final = 32
"""Datagrams that wait in one socket for one peer up to which each packet is made to fit a lane; where more wait, the
program sends as fast as it can, and they are packed for the WebSocket, whose TCP shares the path with others."""
LANE_RECORD: Final = 1200 + 14
LANE_RUN: Final = 1200 - 2 * LANE_FEW
"""Bytes of records that a sender puts into one packet where it is to take a lane, and of datagrams, but for a lone one,
that it puts into one record: at most LANE_FEW, 2 bytes for each."""
LANE_FRAME_MOST: Final = 2048
"""Bytes of a UDP datagram that are read: more than any frame has."""
LANE_ANSWER: Final = 3.0
"""Seconds in which the relay grants a lane that was asked for over the link."""
LANE_PROBE: Final = 0.2
LANE_PROBES: Final = 8
"""Seconds between probes that are not answered, and how many may not be until a lane is given up that never worked. So
a relay that names another's address has each peer that it serves send eight frames there, 11 kB, once a LANE_REST."""
LANE_PING: Final = 0.3
"""Seconds after an answer until the next probe of a lane that is in use: 100 bytes each way. They keep the mapping of a
NAT, find that it changed, and carry the counts by which the other end paces itself."""
LANE_MISSED: Final = 4
LANE_SILENCE: Final = LANE_PING + LANE_MISSED * LANE_PROBE
"""Probes in a row that are not answered for which a lane is left for the WebSocket, and seconds that takes, after which
a relay, too, sends nothing to an address from which nothing came: under SESSION_SILENCE, so that no session takes the
relay for dead. At 3 % lost each way four are in some hours, at 10 % in some minutes. Probes are counted, not seconds:
a machine that stood still for some is no reason."""
LANE_PROOF: Final = 2.0
"""Seconds for which an address that proved itself to a relay need not do so again: challenges without an echo cost it a
third less."""
LANE_IDLE: Final = 15.0
"""Seconds without a packet of a session after which a lane is closed."""
LANE_REST: Final = 4.0
LANE_REST_MOST: Final = 600.0
"""Seconds until a lane that failed is tried again: doubled each time, up to the second."""
LANE_WORKED: Final = 60.0
"""Seconds that a lane must have worked for its failures to be forgotten."""
LANE_CHALLENGES: Final = 10.0
"""Challenges a second that one lane sends: whoever repeats a frame from a forged address gets one frame there, no
longer than that, and no more than so many."""
LANE_CHALLENGE_TIME: Final = 4.0
"""Seconds for which a challenge can be answered, or as much again. Without an end a peer could answer for an address
that it once had, and have data sent there."""
MAX_LANES: Final = 2048
"""Lanes of one peer: 2 kB each (tracemalloc). A relay with more neighbours that talk serves the rest by WebSocket."""
LANE_RATE: Final = 1_250_000.0
LANE_RATE_LEAST: Final = 32_000.0
"""Bytes a second that one lane sends in one direction, and to which a path that is crowded brings it down; what is more
takes the WebSocket. 10 Mbit/s are what games, calls and telemetry need; the least is a call's."""
LANE_BURST: Final = 0.05
LANE_BURST_LEAST: Final = 16 * 1024
"""Seconds of its rate that a lane may send at once, and bytes at least: 50 frames of 1319 bytes, where the kernel's
default buffer (208 KiB, its overhead counted) holds 90 until their reader comes to it."""
LANE_BEHIND: Final = 1.0
"""Seconds of its rate by which a lane may be behind: as long all of a flow takes the WebSocket that sends more than the
rate, lest it changes to and fro."""
LANE_QUEUE: Final = 0.05
LANE_LOSS: Final = 0.06
LANE_COUNTED: Final = 200
"""Seconds by which the round trip, smoothed, exceeds the least one, and share lost of so many frames or more, at which
a path is taken for crowded: jitter of 10 ms stays below the one, a path's own 3 % below the other (2.5 sigma)."""
LANE_SLOWER: Final = 0.7
LANE_FASTER: Final = 1.05
"""What the rate is multiplied with at each report of a crowded path, and of another."""
LANE_RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Bytes that a relay asks the kernel to hold for its UDP port: 500 lanes end there. Linux gives net.core.rmem_max at
most."""

# --- gateways: programs without a Python socket ----------------------------------------------------------------
GATEWAY_SEND_BUDGET: Final = 8 * 1024 * 1024
GATEWAY_FLOW_DATAGRAMS: Final = 8192
GATEWAY_ROOM: Final = 256 * 1024
"""What waits to be sent, from all programs behind one gateway together, and datagrams of it to one port of one peer:
a peer that cannot be reached, or reads slowly, keeps nothing from the others. What is beyond is dropped and counted.
Beyond the last, a gateway that can make its senders wait does so: with one TUN_CREDIT it is less than the others."""
FRAGMENTED_PACKETS: Final = 64
FRAGMENT_BYTES: Final = 4 * 1024 * 1024
FRAGMENT_TIME: Final = 5.0
"""IP packets of which some fragments came from a program in its namespace, their bytes, and the seconds that the rest
may take: the namespace's own kernel makes them, in one go. The oldest packet goes first. Without a bound a program
fills our memory by first fragments alone."""
GSO_SEGMENTS: Final = 128
"""Datagrams that one read from a TUN device gives (a program's UDP_SEGMENT): Linux's UDP_MAX_SEGMENTS since 6.9."""
SEGMENT_MAX: Final = 65_480
"""Bytes of a TCP segment that fit in any IP packet."""
TCP_SEGMENT: Final = 1440
"""Bytes that TCP in a namespace puts into one segment (advmss): what a lossy path loses with one packet is little, and
the first flight of ten segments is what it is elsewhere."""
IPV6_EXTENSIONS: Final = 8
"""Extension headers of one packet that are passed over to find its payload."""
GATEWAY_IDLE: Final = 120.0
GATEWAY_SOURCES: Final = 512
"""Seconds without a datagram after which `forward`, `expose` and `socks` forget a source (what home routers give a UDP
mapping that is in use, RFC 4787 §4.3), and sources that one of them has at once; the stalest goes. Each costs a kernel
socket. Without a bound a peer that sends from every port takes all descriptors."""
GATEWAY_BATCH: Final = 64
"""Datagrams read from one kernel socket before the relay thread looks at the others."""
GATEWAY_SOCKET_BUFFER: Final = 2 * 1024 * 1024
"""What is asked for as receive buffer of a local port, of which the kernel grants twice net.core.rmem_max: its default
holds 277 small datagrams, and 800 clients that asked at once lost 543. Only local programs fill it."""
SOCKS_HANDSHAKE_TIME: Final = 10.0
"""Seconds that a SOCKS client may take to say what it wants; at most GATEWAY_SOURCES clients at once."""
FLOWS_PER_DEVICE: Final = 16_384
"""Pairs of addresses and ports, used by programs in a namespace, whose way is remembered; idle ones are forgotten
beyond. Price: 0.5 kB each."""
TUN_READS: Final = 256
"""Packets read from a TUN device before the relay thread looks at its links: 0.5 ms."""
TUN_BACKLOG: Final = 8 * 1024 * 1024
TUN_PORT_BACKLOG: Final = RECEIVE_BUFFER
TUN_WAITING_PORTS: Final = 64
TUN_PATIENCE: Final = 0.1
"""What came from peers and waits until programs in a namespace have read what came before, for all ports together and
for one, beyond which what comes is dropped; ports for which something waits: of more, or of more than all may have, the
one that was read least recently loses what it has. Each costs 5 µs every TUN_RETRY_MOST. And seconds without a read
after which the links by which it comes are no longer held up for a port. A busy machine runs a program that reads not
sooner: 0.1 s were seen."""
TUN_BURST: Final = 64 * 1024
TUN_RUN: Final = 32
TUN_RETRY: Final = 0.0001
TUN_RETRY_MOST: Final = 0.01
KERNEL_OVERHEAD: Final = 896
"""Bytes written to a TUN device before the socket that they go to is looked at; datagrams written at once; seconds
between two looks at a socket without room, at first and where nothing is read; what the kernel counts for a datagram
beside its bytes (832 measured). Its default receive buffer (208 KiB) holds 90 datagrams of 1200 bytes, which a program
reads in 0.1 ms: a packet of 50 and a half. Without this two packets in a row lose a third."""
KILL_TIME: Final = 1.0
"""Seconds in which the supervisor of a native program kills what that started, once we were killed; their network is
gone before."""
MISSING_FILE_TIME: Final = 1.0
"""Seconds between two looks for a file of the machine that programs in a namespace see another text of, and that is
gone: 10 µs each, until it is there again."""
TUN_QUEUE_LENGTH: Final = 8192
"""Packets that wait in a TUN device until the relay thread reads them; beyond, the kernel drops."""
TUN_CREDIT: Final = 512 * 1024
TUN_CREDIT_RATE: Final = 2500
TUN_RATE_BURST: Final = 128 * 1024
TUN_RATE_QUEUE: Final = 64 * 1024 * 1024
"""Bytes that programs in a namespace may send before the relay thread has read half of them, each packet counted as
DATAGRAM_OVERHEAD more, and bytes per second that they may send beyond, since the kernel takes no rate of 0; bytes that
they may send at once under a fixed rate, and that may wait for it. A TUN device drops what it has no room for:
TUN_QUEUE_LENGTH packets are more than two TUN_CREDITs ever are, so that nothing is lost there, and `sendto` waits, as
on any network card. With 250,000 bytes per second 2,464 of 60,000 small datagrams were lost while our process stood
still for 5 s; the credit divided by the rate must stay below 274 s, which is all that tc-tbf(8) counts to."""
PACKET_SOCKET_BUFFER: Final = 4 * 1024 * 1024
PAIR_CREDIT: Final = 140 * 1024
"""What is asked for as receive buffer where a packet socket stands for a TUN device, of which the kernel grants 416 KiB
(net.core.rmem_max, doubled), and what programs may send then before half of it was read, each packet counted as
KERNEL_OVERHEAD more. What they may send and what was sent before fits; half holds the largest packet, without which a
program would wait for it."""
PASTA_TIME: Final = 5.0
"""Seconds in which pasta(1) has its device configured: 0.05 at most where it does at all."""
TUN_DRAIN: Final = 5.0
"""Seconds that what a program sent last may take to leave its device, where a fixed rate or a busy machine holds it up:
else milliseconds. What is left then is lost."""
NAME_QUERIES: Final = 64
NAME_TIME: Final = 2.0
"""Queries to this machine's name servers at once (`run --dns host`), and seconds that each server has."""
