"""The names by which the gateway leads to forwards: short where that is clear, a choice where it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from forwarders.spec import ForwardSpec, PortPolicy, PortRequest
from watcher.gateway_names import by_name, host_entries, resolve_host, shortest_name
from watcher.plan.verdicts import PlannedForward, ResourceRef


def one(name: str, namespace: str, *ports: int | str, kind: str = "service", container: str = "") -> PlannedForward:
    subject = ResourceRef(
        source="services",
        resource_type=kind,
        resource_name=name,
        namespace=namespace,
        container=container,
        remote_port=ports[0],
    )
    ident = f"{kind}/{namespace}/{name}/{ports[0]}"
    spec = ForwardSpec(id=ident, address="127.0.0.1", port=PortRequest(PortPolicy.AUTOMATIC), group=ident)
    return PlannedForward(
        id=ident, subject=subject, spec=spec, endpoints=(), waiting_for="", broken="", because="", called=ports
    )


SHOP = by_name(
    host_entries(
        [
            one("web", "shop", 80, "http"),
            one("web", "shop", 9090, "metrics"),
            one("db", "shop", 5432),
            one("web", "blog", 8080, "http-alt"),
            one("two", "shop", 80, "http"),
            one("two", "shop", 81, "web-admin"),
            one("api", "shop", "grpc-web", 8081),
            one("db", "shop", 5432, kind="statefulset"),
            one("job", "shop", 7000, kind="deployment"),
        ]
    )
)


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("db", ["service/shop/db/5432"]),
        ("web", ["service/shop/web/80", "service/shop/web/9090", "service/blog/web/8080"]),
        ("web.shop", ["service/shop/web/80"]),
        ("web.blog", ["service/blog/web/8080"]),
        ("metrics.web.shop", ["service/shop/web/9090"]),
        ("9090.web", ["service/shop/web/9090"]),
        ("8080.web.shop", []),
        ("grpc-web.api.shop", ["service/shop/api/grpc-web"]),
        ("8081.api", ["service/shop/api/grpc-web"]),
        ("two.shop", ["service/shop/two/80", "service/shop/two/81"]),
        ("job", ["deployment/shop/job/7000"]),
        ("nobody", []),
        ("a.b.c.d", []),
        ("", []),
    ],
)
def test_what_a_name_means(name: str, ids: list[str]) -> None:
    """A service's one HTTP port needs no name; whatever else is not clear is all that it may mean."""
    assert [found.id for found in resolve_host(name, SHOP)] == ids


def test_every_target_has_one_name_whatever_its_addresses() -> None:
    """Two local addresses of one port are one thing."""
    assert len(host_entries([one("web", "shop", 80), one("web", "shop", 80)])) == 1


def test_the_shortest_names() -> None:
    """As short as can be, and as long as it takes."""
    found = {known.id: shortest_name(known, SHOP) for group in SHOP.values() for known in group}
    assert found["service/shop/db/5432"] == "db"
    assert found["service/shop/web/80"] == "web.shop"
    assert found["service/shop/web/9090"] == "9090.web"
    assert found["service/shop/two/81"] == "81.two"
    assert found["deployment/shop/job/7000"] == "job"


def test_the_only_port_that_speaks_http_is_meant_of_one_resource_and_without_a_port_alone() -> None:
    """Another resource of that name may be meant as well, and so may another container's port of that number."""
    two = by_name(host_entries([one("api", "shop", 80, "http"), one("api", "blog", 9000, "grpc")]))
    assert len(resolve_host("api", two)) == 2
    pods = [one("api", "shop", 80, name, kind="deployment", container=name) for name in ("http", "metrics")]
    assert [len(resolve_host(name, by_name(host_entries(pods)))) for name in ("api", "80.api.shop")] == [1, 2]


names = st.sampled_from(["a", "b", "http"])
ports = st.sampled_from([(80,), (80, "http"), (81, "web"), ("grpc", 9000), (5432,)])
kinds = st.sampled_from(["service", "deployment"])
many = st.lists(st.builds(lambda n, s, p, k: one(n, s, *p, kind=k), names, names, ports, kinds), max_size=8)


@given(many, st.lists(st.sampled_from(["a", "b", "http", "80", "81", "grpc", "web"]), min_size=1, max_size=3))
def test_a_name_means_what_it_says(forwards: list[PlannedForward], labels: list[str]) -> None:
    """Never a thing whose name is none of its labels; nothing twice; services alone where there are any."""
    found = resolve_host(".".join(labels), by_name(host_entries(forwards)))
    assert len(found) == len(set(found))
    assert all(known.name in labels[:2] for known in found)
    assert len({known.kind == "service" for known in found}) <= 1


@given(many)
def test_shortest_names_mean_their_own_thing_alone(forwards: list[PlannedForward]) -> None:
    """Or there is none."""
    known = host_entries(forwards)
    for each in known:
        name = shortest_name(each, by_name(known))
        assert not name or resolve_host(name, by_name(known)) == (each,)


def test_where_namespaces_have_the_same_ports_a_name_has_both() -> None:
    """Neither the port nor the namespace tells the four apart alone."""
    known = host_entries([one("web", namespace, port) for namespace in ("blog", "shop") for port in (80, 81)])
    assert [shortest_name(each, by_name(known)) for each in known] == [
        "80.web.blog",
        "81.web.blog",
        "80.web.shop",
        "81.web.shop",
    ]


def test_what_a_service_hides_has_no_name() -> None:
    """Its service's name would lead elsewhere."""
    known = host_entries([one("db", "shop", 5432), one("db", "shop", 5432, kind="statefulset")])
    assert [shortest_name(each, by_name(known)) for each in known] == ["db", ""]


@pytest.mark.parametrize(
    "name", ["a.b", "", "a b", "-a", 'a"><script>', "a\x1b]8;;http://evil.example\x07", "a" * 64, "a/b", "a:80", "é"]
)
def test_what_is_no_label_has_no_name(name: str) -> None:
    """Neither a link nor a terminal gets to see it by way of the gateway."""
    assert host_entries([one(name, "shop", 80)]) == ()
    assert host_entries([one("web", name, 80)]) == () or not name


def test_ports_that_are_no_labels_are_no_names() -> None:
    """The thing itself still has one."""
    [known] = host_entries([one("web", "shop", "a.b")])
    assert (known.ports, shortest_name(known, by_name([known]))) == ((), "web")


def test_without_a_namespace_names_end_with_the_thing() -> None:
    """Containers have none."""
    known = host_entries([one("web", "", 80), one("web", "", 81), one("web", "shop", 82)])
    assert [shortest_name(each, by_name(known)) for each in known] == ["80.web", "81.web", "web.shop"]


def test_a_port_is_known_by_what_was_asked_for() -> None:
    """Where nobody knows another spelling yet."""
    [known] = host_entries([replace(one("web", "shop", "http"), called=())])
    assert known.ports == ("http",)


def test_ports_are_compared_as_they_are_written_in_a_host() -> None:
    """Hosts have no upper case."""
    [known] = host_entries([one("web", "shop", "HTTP", 80)])
    assert (known.ports, known.http) == (("80", "http"), True)


def test_another_clusters_names_end_with_its_context() -> None:
    """The default cluster's come first; a context that no name can end with has those that nobody else has."""
    here = one("web", "shop", 80)
    far = replace(one("web", "shop", 80), id="far", cluster="Far-1")
    odd = replace(one("web", "shop", 80), id="odd", cluster="arn:aws/x")
    only_odd = replace(one("api", "shop", 80), id="api", cluster="arn:aws/x")
    found = host_entries([here, far, odd, only_odd])
    known = by_name(found)
    assert [one.id for one in resolve_host("web", known)] == [here.id]
    assert [one.id for one in resolve_host("web.shop.far-1", known)] == ["far"]
    assert [one.id for one in resolve_host("80.web.shop.far-1", known)] == ["far"]
    assert resolve_host("web.shop.here", known) == ()
    assert resolve_host("a.80.web.shop.far-1", known) == ()
    assert [shortest_name(one, known) for one in found] == ["web", "web.shop.far-1", "", "api"]
