"""Finds the process that listens on a local port. It does not fail: not every system tells every user."""

from __future__ import annotations

from msgspec import Struct


class Holder(Struct, frozen=True):
    """A process that listens; pid 0 and no name where the system does not say whose it is (other users', for one)."""

    pid: int = 0
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})" if self.pid else "a process that this user may not see"


def holders() -> dict[int, Holder] | None:
    """Who listens on which port of this machine; None where this user may not look (macOS: root alone may)."""
    import psutil  # noqa: PLC0415 - 20 ms that only a taken port should cost

    found: dict[int, Holder] = {}
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr:
                known = found.get(connection.laddr.port)
                if known is None or not known.pid:
                    found[connection.laddr.port] = _holder(connection.pid)
    except (psutil.Error, OSError):
        return found or None
    return found


def holder_of(port: int) -> str:
    """` by nginx (pid 12)`, or "" where it cannot be known."""
    holder = (holders() or {}).get(port, Holder())
    return f" by {holder}" if holder.pid else ""


def _holder(pid: int | None) -> Holder:
    import psutil  # noqa: PLC0415 - as above

    try:
        return Holder(pid, psutil.Process(pid).name()) if pid else Holder()
    except (psutil.Error, OSError):
        return Holder()
