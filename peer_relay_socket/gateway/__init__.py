"""Programs that hold no Python socket: a namespace with a TUN device, port forwards, SOCKS5."""
