"""SPDY/3.1 for Kubernetes port forwarding, and WebSocket frames: bytes in, events out, no IO."""
