"""One item of portForward: what Skaffold's schema means by it, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarders.spec import PortPolicy, PortRequest
from watcher.config.entries import BadEntry, Entry
from watcher.config.port_forward import TemplateRenderer, entry

ITEM = {"resourceType": "service", "resourceName": "web", "port": 8080}


def made(environ: dict[str, str] | None = None, **fields: object) -> Entry | BadEntry:
    return entry(
        {name: value for name, value in (ITEM | fields).items() if value != "ABSENT"},
        "f line 3",
        TemplateRenderer(environ or {}),
    )


@pytest.mark.parametrize(
    ("fields", "port", "port_request"),
    [
        ({}, 8080, PortRequest(PortPolicy.PREFERRED, 8080)),
        ({"port": 80}, 80, PortRequest(PortPolicy.PREFERRED, 80)),
        ({"port": "8080"}, 8080, PortRequest(PortPolicy.PREFERRED, 8080)),
        ({"port": "http"}, "http", PortRequest(PortPolicy.AUTOMATIC)),
        ({"localPort": 0}, 8080, PortRequest(PortPolicy.PREFERRED, 8080)),
        ({"port": "http", "localPort": 0}, "http", PortRequest(PortPolicy.AUTOMATIC)),
        ({"localPort": 8080}, 8080, PortRequest(PortPolicy.EXPLICIT, 8080)),
        ({"port": "http", "localPort": 9001}, "http", PortRequest(PortPolicy.EXPLICIT, 9001)),
    ],
)
def test_the_local_port_that_is_asked_for(fields: dict[str, Any], port: int | str, port_request: PortRequest) -> None:
    """A localPort is a reservation; a number without one is a preference; a name asks for nothing."""
    result = made(**fields)
    assert isinstance(result, Entry)
    assert (result.port, result.local_port) == (port, port_request)


@pytest.mark.parametrize("spelt", ["pod", "Service", "DEPLOYMENT", "ReplicaSet", "cronjob", "container"])
def test_types_in_any_case_keep_their_spelling(spelt: str) -> None:
    """The kind is lower case, the resourceType stays as in the file."""
    result = made(resourceType=spelt)
    assert isinstance(result, Entry)
    assert (result.kind, result.resource_type) == (spelt.lower(), spelt)


@pytest.mark.parametrize(
    ("address", "addresses"),
    [
        ("ABSENT", ()),
        ("", ()),
        ("0.0.0.0", ("0.0.0.0",)),
        ("::1", ("::1",)),
        ("[::1]", ("::1",)),
        ("localhost", ("localhost",)),
        ("my-host.example", ("my-host.example",)),
    ],
)
def test_an_address_is_checked(address: str, addresses: tuple[str, ...]) -> None:
    """IPv4, IPv6, or a host name; none means what holds for all."""
    result = made(address=address)
    assert isinstance(result, Entry)
    assert result.addresses == addresses


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resourceType": "widget"}, "resourceType 'widget' is not one of cronjob, daemonset"),
        ({"resourceType": "svc"}, "resourceType 'svc' is not one of"),
        ({"resourceType": "ABSENT"}, "it needs resourceType"),
        ({"resourceName": ""}, "it needs resourceName"),
        ({"resourceName": ["a"]}, "resourceName must be a text, not ['a']"),
        ({"port": "ABSENT"}, "it needs port"),
        ({"address": "*"}, "'*' is neither an IP address nor a host name"),
        ({"localPort": 99999}, "localPort 99999 is not a number from 1 to 65535"),
        ({"port": 0}, "port 0 is neither"),
        ({"port": 65536}, "port 65536 is neither"),
        ({"port": "99999"}, "port '99999' is neither"),
        ({"port": True}, "port True is neither"),
        ({"port": 80.5}, "port 80.5 is neither"),
        ({"port": []}, "port [] is neither"),
        ({"localPort": "80"}, "localPort '80' is not a number"),
        ({"localPort": -1}, "localPort -1 is not a number"),
        ({"localPort": False}, "localPort False is not a number"),
        ({"address": "300.1.2.3"}, "address: '300.1.2.3' is neither an IP address nor a host name"),
        ({"address": ["127.0.0.1"]}, "address must be a text"),
        ({"address": "a b"}, "'a b' is neither"),
        ({"localport": 80}, "portForward has no field 'localport'"),
    ],
)
def test_what_the_schema_refuses_costs_that_entry(fields: dict[str, Any], said: str) -> None:
    """It names field and value, and where it stands; the other entries are forwarded."""
    result = made(**fields)
    assert isinstance(result, BadEntry)
    assert result.origin == "f line 3"
    assert said in result.reason


def test_what_is_no_mapping_costs_that_entry() -> None:
    """An item that is a number, or a list."""
    result = entry(7, "f line 3", TemplateRenderer({}))
    assert isinstance(result, BadEntry)
    assert result.reason == "an item of portForward is a mapping, not 7"


def test_several_addresses_may_stand_in_one() -> None:
    """As --address takes them; Skaffold itself would try to bind the whole text, for ever."""
    result = made(address="127.0.0.1, ::1,127.0.0.1")
    assert isinstance(result, Entry)
    assert result.addresses == ("127.0.0.1", "::1")


def test_names_are_rendered_from_the_environment() -> None:
    """`{{.NAME}}` in resourceName and namespace, with or without blanks."""
    result = made({"APP": "shop", "NS": "team"}, resourceName="{{ .APP }}-web", namespace="{{.NS}}")
    assert isinstance(result, Entry)
    assert (result.name, result.namespace) == ("shop-web", "team")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resourceName": "{{.GONE}}"}, "GONE is not in the environment"),
        ({"namespace": "{{.GONE}}"}, "GONE is not in the environment"),
        ({"resourceName": "{{.APP | lower}}"}, "needs the skaffold binary on PATH; {{.NAME}} alone does not"),
        ({"resourceName": "{{.APP"}, "needs the skaffold binary on PATH; {{.NAME}} alone does not"),
        ({"resourceName": "{{.APP}}"}, "no Kubernetes object can have the name '../x'"),
        ({"namespace": "a.b"}, "no namespace can have the name 'a.b'"),
    ],
)
def test_what_spoils_one_entry_spoils_only_that(fields: dict[str, Any], said: str) -> None:
    """A key that is missing, or a name that no object can have, is a bad entry and no error."""
    result = made({"APP": "../x"}, **fields)
    assert isinstance(result, BadEntry)
    assert said in result.reason
    assert result.origin == "f line 3"


def test_skaffold_renders_what_is_more_than_a_name() -> None:
    """Its answer is taken; a template that it leaves as it is has a variable that is not set."""
    by_skaffold = {"{{.APP | lower}}": "shop", "{{.GONE | lower}}": "{{.GONE | lower}}"}
    good, bad = (
        entry(ITEM | {"resourceName": name}, "f line 3", TemplateRenderer({}, by_skaffold)) for name in by_skaffold
    )
    assert isinstance(good, Entry)
    assert good.name == "shop"
    assert isinstance(bad, BadEntry)
    assert "Skaffold cannot render the template '{{.GONE | lower}}'" in bad.reason


def test_a_container_has_an_images_name() -> None:
    """The Docker deployer's resources are called as their images are."""
    result = made(resourceType="container", resourceName="registry.example/team/app")
    assert isinstance(result, Entry)


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.lists(st.integers()))
fields = st.sampled_from([*ITEM, "namespace", "localPort", "address", "other"])


@settings(deadline=None)  # two shared cores: time says nothing here
@given(st.one_of(values, st.dictionaries(fields, values).map(lambda changes: ITEM | changes)))
def test_any_item_is_an_entry_or_a_bad_one(item: object) -> None:
    """Nothing is raised, and an entry's ports exist."""
    result = entry(item, "f line 3", TemplateRenderer({}))
    assert isinstance(result, BadEntry) or isinstance(result.port, str) or 1 <= result.port <= 65535
