"""Owns the root of everything `forwarders` raises to its callers. Refuses details: each room derives its own."""


class ForwarderError(Exception):
    """Something on the way from a local socket to a pod failed; the message says what was tried and what came back."""
