"""One item of portForward: what Skaffold's schema means by it, and what it refuses."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarders.spec import Ask, PortWish
from watcher.config.entries import BadEntry, Entry
from watcher.config.errors import ConfigError
from watcher.config.port_forward import entry

ITEM = {"resourceType": "service", "resourceName": "web", "port": 8080}


def made(environ: dict[str, str] | None = None, **fields: object) -> Entry | BadEntry:
    return entry(
        {name: value for name, value in (ITEM | fields).items() if value != "ABSENT"}, "f line 3", environ or {}
    )


@pytest.mark.parametrize(
    ("fields", "port", "wish"),
    [
        ({}, 8080, PortWish(Ask.PREFERRED, 8080)),
        ({"port": 80}, 80, PortWish(Ask.PREFERRED, 80)),
        ({"port": "8080"}, 8080, PortWish(Ask.PREFERRED, 8080)),
        ({"port": "http"}, "http", PortWish(Ask.AUTOMATIC)),
        ({"localPort": 0}, 8080, PortWish(Ask.PREFERRED, 8080)),
        ({"port": "http", "localPort": 0}, "http", PortWish(Ask.AUTOMATIC)),
        ({"localPort": 8080}, 8080, PortWish(Ask.EXPLICIT, 8080)),
        ({"port": "http", "localPort": 9001}, "http", PortWish(Ask.EXPLICIT, 9001)),
    ],
)
def test_the_local_port_that_is_asked_for(fields: dict[str, Any], port: int | str, wish: PortWish) -> None:
    """A localPort is a reservation; a number without one is a preference; a name asks for nothing."""
    result = made(**fields)
    assert isinstance(result, Entry)
    assert (result.port, result.wish) == (port, wish)


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
        ({"resourceType": "ABSENT"}, "portForward needs resourceType"),
        ({"resourceName": ""}, "portForward needs resourceName"),
        ({"resourceName": ["a"]}, "resourceName is a text, not ['a']"),
        ({"port": "ABSENT"}, "port None is neither"),
        ({"port": 0}, "port 0 is neither"),
        ({"port": 65536}, "port 65536 is neither"),
        ({"port": "99999"}, "port '99999' is neither"),
        ({"port": True}, "port True is neither"),
        ({"port": 80.5}, "port 80.5 is neither"),
        ({"localPort": "80"}, "localPort '80' is not a number"),
        ({"localPort": -1}, "localPort -1 is not a number"),
        ({"localPort": False}, "localPort False is not a number"),
        ({"address": "300.1.2.3"}, "address: '300.1.2.3' is neither an IP address nor a host name"),
        ({"address": ["127.0.0.1"]}, "address is a text"),
        ({"address": "a b"}, "'a b' is neither"),
        ({"localport": 80}, "portForward has no field 'localport'"),
    ],
)
def test_what_the_schema_refuses_names_line_field_and_value(fields: dict[str, Any], said: str) -> None:
    """One line, with where it stands in front."""
    with pytest.raises(ConfigError) as raised:
        made(**fields)
    assert str(raised.value).startswith("f line 3")
    assert said in str(raised.value)


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
        ({"resourceName": "{{.APP | lower}}"}, "portside alone renders only {{.NAME}}"),
        ({"resourceName": "{{.APP"}, "portside alone renders only {{.NAME}}"),
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


def test_a_container_has_an_images_name() -> None:
    """The Docker deployer's resources are called as their images are."""
    result = made(resourceType="container", resourceName="registry.example/team/app")
    assert isinstance(result, Entry)


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.lists(st.integers()))
fields = st.sampled_from([*ITEM, "namespace", "localPort", "address", "other"])


@settings(deadline=None)  # two shared cores: time says nothing here
@given(st.one_of(values, st.dictionaries(fields, values).map(lambda changes: ITEM | changes)))
def test_any_item_is_an_entry_or_a_config_error(item: object) -> None:
    """Nothing but ConfigError is raised, and an entry's ports exist."""
    with suppress(ConfigError):
        result = entry(item, "f line 3", {})
        assert isinstance(result.port, str) or 1 <= result.port <= 65535
