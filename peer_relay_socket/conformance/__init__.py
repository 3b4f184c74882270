"""Holds any UDP socket implementation against the kernel's: python -m peer_relay_socket.conformance MODULE:FACTORY

Lives here: the calls, and what is compared. May not live here: any implementation.
"""
