"""What a running host shows to others: the control socket, metrics, the admin server and its page."""
