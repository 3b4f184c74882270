#!/bin/sh
# Two plain UDP programs in two processes talk through a relay; neither knows that it is not on an ordinary network.
# Needs `peer-relay` on PATH. Everything it starts ends with it.
set -eu
scripts=$(dirname "$0")/scripts
work=$(mktemp -d)
started=
trap 'for pid in $started; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mkfifo "$work/node" "$work/server"

# The relay: its first line says where it is.
peer-relay node --host 127.0.0.1 --port 0 >"$work/node" & started="$! $started"
read -r line <"$work/node"
echo "relay  | $line"
export PEER_RELAY_BOOTSTRAP="${line##* }"

# The server: its key file fixes its address.
read -r id ipv4 ipv6 <<END
$(peer-relay id "$work/server.key")
END
echo "server | is $ipv4, $ipv6 and $id.peer"
sed -u 's/^/server | /' <"$work/server" & # ends when the server does
PEER_RELAY_IDENTITY="$work/server.key" peer-relay run "$scripts/echo_server.py" 0.0.0.0 9000 >"$work/server" &
started="$! $started"

# The client.
peer-relay run "$scripts/echo_client.py" "$ipv4" 9000 "hello" "over a relay" "good bye" >"$work/client"
sed 's/^/client | /' "$work/client"
