"""SPDY/3.1 as Kubernetes port forwarding speaks it: bytes in, events out. No IO import stands here."""
