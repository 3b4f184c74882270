"""The `peer-relay` command: main.py has the table of its words."""
