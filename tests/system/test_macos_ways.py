"""What macOS does otherwise, played on any POSIX system: limits below an infinite one, ports only root may look up."""

from __future__ import annotations

import resource
from types import SimpleNamespace

import psutil
import pytest

from forwarders.system import files, processes, tcp


class Limits:
    """setrlimit as macOS has it: refused above kern.maxfilesperproc, though the hard limit is infinite."""

    def __init__(self, most: int) -> None:
        self.soft = 256
        self._most = most

    def get(self, _what: int) -> tuple[int, int]:
        return self.soft, resource.RLIM_INFINITY

    def set(self, _what: int, limits: tuple[int, int]) -> None:
        if limits[0] > self._most:
            raise ValueError("current limit exceeds maximum limit")
        self.soft = limits[0]


@pytest.mark.parametrize(("most", "expected"), [(200_000, 65_536), (24_576, 10_240), (10_000, 4_096), (1_000, 256)])
def test_a_limit_that_the_system_refuses_is_tried_lower(
    monkeypatch: pytest.MonkeyPatch, most: int, expected: int
) -> None:
    """The limit that holds in the end is what is reported, not what was wished for."""
    limits = Limits(most)
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    assert files.raise_descriptor_limit() == limits.soft == expected


def test_a_limit_is_never_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 20,000 already, neither 10,240 nor 4,096 is tried when 65,536 is refused."""
    limits = Limits(10_000)
    limits.soft = 20_000
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    assert files.raise_descriptor_limit() == 20_000


def test_whoever_may_not_look_is_not_told_that_nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil.net_connections needs root on macOS: the answer is "not known", and a taken port has no owner's name."""

    def denied(kind: str) -> list[object]:
        raise psutil.AccessDenied(pid=1)

    monkeypatch.setattr(psutil, "net_connections", denied)
    assert processes.port_owners() is None
    assert processes.owner_suffix(80) == ""


def test_the_idle_time_of_keepalive_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP_KEEPALIVE on macOS; a system without any of the names gets SO_KEEPALIVE alone."""
    names = {"SOL_SOCKET": 1, "SO_KEEPALIVE": 8, "IPPROTO_TCP": 6}
    monkeypatch.setattr(tcp, "socket", SimpleNamespace(**names, TCP_KEEPALIVE=16, TCP_KEEPINTVL=257, TCP_KEEPCNT=258))
    assert tcp.keepalive_options() == [(1, 8, 1), (6, 16, 6), (6, 257, 3), (6, 258, 2)]
    monkeypatch.setattr(tcp, "socket", SimpleNamespace(**names))
    assert tcp.keepalive_options() == [(1, 8, 1)]
