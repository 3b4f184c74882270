"""UDP sockets over a peer-to-peer relay network: the public names, nothing else."""
