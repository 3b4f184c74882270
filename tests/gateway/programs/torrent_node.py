"""One libtorrent node, without TCP: torrent_node.py FOLDER ROLE ADDRESS... (of DHT nodes). ROLE: seed, node or leech.

A seed makes FOLDER/file.bin and writes its magnet link to FOLDER/magnet; a leech reads that name from its standard
input, and ends when it has the file.
"""

import os
import sys
import time

import libtorrent as lt

folder, role, *others = sys.argv[1:]
session = lt.session(
    {
        "listen_interfaces": "0.0.0.0:6881",
        "enable_dht": True,
        "dht_bootstrap_nodes": ",".join(f"{address}:6881" for address in others),
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_outgoing_tcp": False,
        "enable_incoming_tcp": False,
    }
)
handle = None
if role == "seed":
    with open(f"{folder}/file.bin", "wb") as file:
        file.write(os.urandom(4 << 20))
    files = lt.file_storage()
    lt.add_files(files, f"{folder}/file.bin")
    torrent = lt.create_torrent(files)
    lt.set_piece_hashes(torrent, folder)
    info = lt.torrent_info(torrent.generate())
    handle = session.add_torrent({"ti": info, "save_path": folder})
    with open(f"{folder}/magnet.part", "w") as file:
        file.write(lt.make_magnet_uri(info))
    os.rename(f"{folder}/magnet.part", f"{folder}/magnet")
print("ready", flush=True)
asked = time.monotonic()
magnet = sys.stdin.readline().strip() if role == "leech" else ""
while True:
    nodes = session.status().dht_nodes
    if time.monotonic() - asked > 2 and (nodes < 3 or role == "seed"):
        asked = time.monotonic()
        for address in others:
            session.add_dht_node((address, 6881))
        if handle is not None and nodes:
            handle.force_dht_announce()
    if magnet and nodes and handle is None:
        began = time.monotonic()
        wanted = lt.parse_magnet_uri(magnet)
        wanted.save_path = folder
        handle = session.add_torrent(wanted)
    if role == "leech" and handle is not None and handle.status().is_seeding:
        print(f"complete in {time.monotonic() - began:.1f} s", flush=True)
        break
    time.sleep(0.1)
