"""The HTTP gateway: one listener for many forwards, chosen by the Host of a connection's first request."""
