"""Where blocking callers meet the event loop: one daemon thread, mailboxes, readiness, the driver."""
