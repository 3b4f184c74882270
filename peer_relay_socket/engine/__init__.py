"""The overlay as a pure state machine: no I/O, no clock, no ambient randomness."""
