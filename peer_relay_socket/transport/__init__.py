"""How opaque bundles reach one neighbour. Nothing here knows what a bundle means."""
