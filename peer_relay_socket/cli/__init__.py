"""The `peer-relay` command: node, id, run."""
