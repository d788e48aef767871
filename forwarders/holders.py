"""Owns one question: which process listens on a local port. Refuses to fail: not every system tells every user."""

from __future__ import annotations


def holder_of(port: int) -> str:
    """` by nginx (pid 12)`, or "" where it cannot be known (other users' processes, for one)."""
    import psutil  # noqa: PLC0415 - 20 ms that only a taken port should cost

    try:
        listening = (c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
        pid = next((c.pid for c in listening if c.laddr and c.laddr.port == port and c.pid), None)
        return "" if pid is None else f" by {psutil.Process(pid).name()} (pid {pid})"
    except (psutil.Error, OSError):
        return ""
