"""Where blocking callers meet the event loop: one daemon thread, inboxes, the outbox, readiness, the driver."""
