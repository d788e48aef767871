"""Binding on the real system: the next port where one is taken, both loopbacks, and messages that say why."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from forwarders import listeners
from forwarders.errors import BindError
from forwarders.listeners import Bound, bind
from forwarders.spec import ForwardSpec, PortBook, PortPolicy, PortRequest
from forwarders.system.tcp import local_options

HAS_V6 = Path("/proc/net/if_inet6").exists() and "00000000000000000000000000000001" in Path(
    "/proc/net/if_inet6"
).read_text(encoding="ascii")
needs_v6 = pytest.mark.skipif(not HAS_V6, reason="this host has no ::1")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds a port is found, however busy the machine is."""
    monkeypatch.setattr(listeners, "OWNER_TIMEOUT", 60.0)


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Whatever a test opens is closed behind it."""
    with ExitStack() as stack:
        yield stack


class Binding:
    """Binds in one book, and closes what was bound behind the test."""

    def __init__(self, closing: ExitStack) -> None:
        self._closing = closing
        self.book = PortBook()

    async def __call__(self, port_request: PortRequest, address: str = "127.0.0.1", group: str = "g") -> Bound:
        bound = await bind(ForwardSpec(id=address, address=address, port=port_request, group=group), self.book)
        for sock in bound.sockets:
            self._closing.callback(sock.close)
        return bound


@pytest.fixture
def binding(closing: ExitStack) -> Binding:
    return Binding(closing)


def hold(closing: ExitStack, address: str = "127.0.0.1", port: int = 0) -> int:
    """A listener of somebody else's; its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = closing.enter_context(socket.socket(family))
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, port))
    sock.listen()
    return int(sock.getsockname()[1])


def free_run(closing: ExitStack, length: int) -> int:
    """The first of `length` ports that nobody holds on either loopback, well below the system's own range."""
    for start in range(20_000, 30_000, length):
        with ExitStack() as trying:
            try:
                for port in range(start, start + length):
                    hold(trying, port=port)
                    if HAS_V6:
                        hold(trying, "::1", port)
            except OSError:
                continue
        return start
    raise AssertionError("no free ports")


async def test_the_asked_port_and_both_loopbacks(closing: ExitStack, binding: Binding) -> None:
    """127.0.0.1 also means ::1 where the host has it; nothing is remarked where all is as asked."""
    port = free_run(closing, 1)
    bound = await binding(PortRequest(PortPolicy.DEMANDED, port))
    assert (bound.port, bound.remark) == (port, "")
    families = [socket.AF_INET, socket.AF_INET6] if HAS_V6 else [socket.AF_INET]
    assert [sock.family for sock in bound.sockets] == families
    assert {sock.getsockname()[1] for sock in bound.sockets} == {port}
    socket.create_connection(("127.0.0.1", port)).close()


async def test_a_taken_port_means_the_next(closing: ExitStack, binding: Binding) -> None:
    """The next port is taken, and the remark says why, who holds the asked one, and what is used."""
    port = free_run(closing, 2)
    hold(closing, port=port)
    bound = await binding(PortRequest(PortPolicy.PREFERRED, port))
    assert bound.port == port + 1
    assert bound.remark.startswith(f"port {port} on 127.0.0.1 is taken by ")
    assert f"(pid {os.getpid()}); using {port + 1}" in bound.remark


@needs_v6
async def test_one_taken_loopback_is_enough(closing: ExitStack, binding: Binding) -> None:
    """A port whose ::1 belongs to another would lead half the clients astray: the next one."""
    port = free_run(closing, 2)
    hold(closing, "::1", port)
    bound = await binding(PortRequest(PortPolicy.PREFERRED, port))
    assert bound.port == port + 1
    socket.create_server(("127.0.0.1", port)).close()


async def test_a_demand_that_cannot_be_met(closing: ExitStack, binding: Binding) -> None:
    """LOCAL:PORT that is taken fails, names the holder and what to do, and leaves nothing bound."""
    port = hold(closing)
    with pytest.raises(BindError) as caught:
        await binding(PortRequest(PortPolicy.DEMANDED, port))
    assert str(caught.value).startswith(f"port {port} on 127.0.0.1 is taken by ")
    assert str(caught.value).endswith("free it or ask for another")
    if HAS_V6:
        hold(closing, "::1", port)


async def test_a_port_kept_for_another_entry_is_said(closing: ExitStack, binding: Binding) -> None:
    """A preference that gives way to somebody's explicit port request is told so."""
    port = free_run(closing, 2)
    mine = ForwardSpec(id="a", address="127.0.0.1", port=PortRequest(PortPolicy.EXPLICIT, port), group="other")
    binding.book.reserve([mine])
    bound = await binding(PortRequest(PortPolicy.PREFERRED, port))
    assert bound.port == port + 1
    assert f"port {port} is asked for by another entry" in bound.remark
    assert bound.remark.endswith(f"using {port + 1}")


async def test_the_reason_is_about_the_requested_port(closing: ExitStack, binding: Binding) -> None:
    """If another entry reserves it and the next port is taken, the remark names the reserved one only."""
    port = free_run(closing, 3)
    mine = ForwardSpec(id="a", address="127.0.0.1", port=PortRequest(PortPolicy.EXPLICIT, port), group="other")
    binding.book.reserve([mine])
    hold(closing, port=port + 1)
    bound = await binding(PortRequest(PortPolicy.PREFERRED, port))
    assert bound.remark == f"port {port} is asked for by another entry; using {port + 2}"


async def test_the_systems_choice(binding: Binding) -> None:
    """`:PORT` gets a port of the system's on both loopbacks, and no remark: nothing else was asked."""
    bound = await binding(PortRequest(PortPolicy.SYSTEM))
    assert bound.port > 0
    assert bound.remark == ""
    assert {sock.getsockname()[1] for sock in bound.sockets} == {bound.port}


async def test_all_substitutes_taken(closing: ExitStack, binding: Binding) -> None:
    """With the asked port and all 41 substitutes held by others the system's port is used, and said."""
    port = free_run(closing, 11)
    for number in [*range(port, port + 11), *range(4503, 4534)]:
        with suppress(OSError):  # held by somebody else already: as good
            hold(closing, port=number)
    bound = await binding(PortRequest(PortPolicy.EXPLICIT, port))
    assert bound.port not in {*range(port, port + 11), *range(4503, 4534)}
    assert f"using {bound.port}" in bound.remark


async def test_a_group_at_two_addresses(closing: ExitStack, binding: Binding) -> None:
    """Two addresses of one entry share their port, also where the first got a substitute."""
    port = free_run(closing, 2)
    hold(closing, port=port)
    first = await binding(PortRequest(PortPolicy.PREFERRED, port), "127.0.0.1")
    second = await binding(PortRequest(PortPolicy.PREFERRED, port), "127.0.0.2")
    assert first.port == second.port == port + 1
    assert "another" in second.remark


async def test_a_demand_at_two_addresses(closing: ExitStack, binding: Binding) -> None:
    """`--address A,B LOCAL:PORT` binds that port at both."""
    port = free_run(closing, 1)
    bound = [await binding(PortRequest(PortPolicy.DEMANDED, port), address) for address in ("127.0.0.1", "127.0.0.2")]
    assert [one.port for one in bound] == [port, port]
    assert [one.remark for one in bound] == ["", ""]


async def test_an_address_of_another_machine(binding: Binding) -> None:
    """One clear line, at once: no other port would help."""
    with pytest.raises(BindError, match=r"cannot listen on 192\.0\.2\.1: .*; give an address of this machine"):
        await binding(PortRequest(PortPolicy.PREFERRED, 8080), "192.0.2.1")


async def test_an_address_that_is_none(binding: Binding) -> None:
    """An address that cannot be resolved is an error that says so."""
    with pytest.raises(BindError, match="cannot be resolved"):
        await binding(PortRequest(PortPolicy.SYSTEM), "no such address")


@needs_v6
async def test_v6_alone(binding: Binding) -> None:
    """::1 means ::1 and nothing else."""
    bound = await binding(PortRequest(PortPolicy.SYSTEM), "::1")
    assert [sock.family for sock in bound.sockets] == [socket.AF_INET6]


async def test_privileged_ports(binding: Binding) -> None:
    """Below 1024 without the privilege a preference falls back and says so; with it the port is bound."""
    bound = await binding(PortRequest(PortPolicy.PREFERRED, 1000))
    if "privileges" not in bound.remark:
        assert bound.port == 1000 or "taken" in bound.remark
    else:
        assert bound.port >= 1024


async def test_closing_frees_the_port(closing: ExitStack, binding: Binding) -> None:
    """A closed listener's port can be bound at once, connections of the past notwithstanding."""
    port = free_run(closing, 1)
    bound = await binding(PortRequest(PortPolicy.DEMANDED, port))
    with socket.create_connection(("127.0.0.1", port)):
        accepted = bound.sockets[0].accept()[0]
        accepted.close()
    bound.close()
    again = await binding(PortRequest(PortPolicy.DEMANDED, port))
    assert again.port == port


async def test_accepted_connections_have_the_listeners_options(binding: Binding) -> None:
    """No delay and the kernel's own look for dead peers, without a system call for each connection."""
    bound = await binding(PortRequest(PortPolicy.PREFERRED, 0))
    with socket.create_connection(("127.0.0.1", bound.port)):
        bound.sockets[0].settimeout(20)
        accepted, _ = bound.sockets[0].accept()
        with accepted:
            assert all(accepted.getsockopt(level, name) == value for level, name, value in local_options())
