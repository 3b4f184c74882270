"""TFTP transfers (PyPI tftpy): HOST PORT then, for each transfer, get|put:BLOCKSIZE:REMOTE:LOCAL"""

import sys

import tftpy

host, port = sys.argv[1], int(sys.argv[2])
for transfer in sys.argv[3:]:
    verb, block_size, remote, local = transfer.split(":")
    client = tftpy.TftpClient(host, port, options={"blksize": int(block_size)})
    if verb == "get":
        client.download(remote, local)
    else:
        client.upload(remote, local)
    print(f"{verb} {remote} in blocks of {block_size}", flush=True)
print("done", flush=True)
