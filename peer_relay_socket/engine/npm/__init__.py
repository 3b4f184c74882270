"""The legacy network of npm peer-relay: a gateway beside the overlay, its links, its routes and its trust rules."""
