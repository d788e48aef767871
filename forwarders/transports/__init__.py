"""Connections to API servers: sockets, proxies, TLS, and the upgrade to SPDY."""
