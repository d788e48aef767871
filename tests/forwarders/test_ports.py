"""The order in which local ports are tried, and which are kept for whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forwarders.spec import MAX_PORT, SUBSTITUTES, ForwardSpec, PortBook, PortPolicy, PortRequest, candidates

port_requests = st.builds(
    lambda ask, number: PortRequest(ask, 0 if ask in {PortPolicy.AUTOMATIC, PortPolicy.SYSTEM} else number),
    st.sampled_from(PortPolicy),
    st.integers(1, MAX_PORT),
)


def spec(group: str, ask: PortPolicy, number: int = 0, address: str = "127.0.0.1") -> ForwardSpec:
    return ForwardSpec(id=f"{group}/{address}", address=address, port=PortRequest(ask, number), group=group)


def test_the_order_is_skaffolds() -> None:
    """The asked port, the ten after it, 4503 to 4533, then the system's choice (pkg/skaffold/util/port.go)."""
    order = [*range(8080, 8091), *range(4503, 4534), 0]
    assert list(candidates(PortRequest(PortPolicy.EXPLICIT, 8080))) == order
    assert list(candidates(PortRequest(PortPolicy.PREFERRED, 8080))) == order
    assert list(candidates(PortRequest(PortPolicy.AUTOMATIC))) == [*SUBSTITUTES, 0]
    assert list(candidates(PortRequest(PortPolicy.SYSTEM))) == [0]
    assert list(candidates(PortRequest(PortPolicy.DEMANDED, 8080))) == [8080]


@given(port_requests)
def test_every_candidate_is_a_port(port_request: PortRequest) -> None:
    """No candidate is beyond 65535; the system's choice is the last resort of all but a demand."""
    ports = list(candidates(port_request))
    assert all(0 <= port <= MAX_PORT for port in ports)
    assert (0 in ports) is (port_request.policy is not PortPolicy.DEMANDED)
    assert 0 not in ports[:-1]


def test_reserved_ports_are_kept_for_who_asked() -> None:
    """A port that one entry asks for explicitly is no substitute for another; its own group may have it."""
    book = PortBook()
    book.reserve(
        [
            spec("a", PortPolicy.EXPLICIT, 8081),
            spec("b", PortPolicy.DEMANDED, 4503),
            spec("c", PortPolicy.PREFERRED, 8083),
        ]
    )
    others = list(book.choices(spec("x", PortPolicy.PREFERRED, 8080)))
    assert 8081 not in others
    assert 4503 not in others
    assert 8083 in others
    assert next(book.choices(spec("a", PortPolicy.EXPLICIT, 8081))) == 8081
    book.reserve([])
    assert 8081 in book.choices(spec("x", PortPolicy.PREFERRED, 8080))


def test_two_who_ask_for_one_port_may_both_try() -> None:
    """Whether two demands can live side by side (at different addresses) is for the system to say."""
    book = PortBook()
    both = [spec("a", PortPolicy.DEMANDED, 8080), spec("b", PortPolicy.DEMANDED, 8080, "127.0.0.2")]
    book.reserve(both)
    assert [list(book.choices(one)) for one in both] == [[8080], [8080]]


def test_a_group_shares_its_port() -> None:
    """The second address of an entry tries the first one's port before all others, and it once only."""
    book = PortBook()
    first, second = spec("a", PortPolicy.PREFERRED, 8080), spec("a", PortPolicy.PREFERRED, 8080, "::1")
    book.took(first, 8082)
    book.took(second, 9999)
    order = list(book.choices(second))
    assert order[:2] == [8082, 8080]
    assert order.count(8082) == 1
    assert next(book.choices(spec("a", PortPolicy.SYSTEM, 0, "::1"))) == 8082
    assert list(book.choices(spec("a", PortPolicy.DEMANDED, 8080))) == [8080]
    assert list(book.choices(spec("a", PortPolicy.DEMANDED, 8082))) == [8082]
    book.forget("a")
    book.forget("a")
    assert next(book.choices(second)) == 8080
