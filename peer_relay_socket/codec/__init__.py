"""Bytes to meaning and back, for both wires. Pure functions."""
