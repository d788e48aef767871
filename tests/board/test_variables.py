"""The names of --env-file: predictable, never taken away, readable for a shell whatever a cluster calls its things."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.board.made import forward
from watcher.board.addresses import local_url
from watcher.board.environment import Variables, env_lines
from watcher.board.records import ForwardRecord

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
PORT = st.one_of(st.integers(1, 65535), LABEL)
ADDRESS = st.sampled_from(["127.0.0.1", "::1", "0.0.0.0", "fe80::1%eth0", "host.example"])


def of(
    name: str, port: int | str = 8080, kind: str = "service", namespace: str = "default", **more: Any
) -> ForwardRecord:
    ident = f"{namespace}/{kind}/{name}/{port}/{more.get('local_address', '')}"
    more.setdefault("url", f"http://127.0.0.1:{more.get('local_port', 8080)}")
    return forward(name, id=ident, remote_port=port, resource_type=kind, namespace=namespace, **more)


@st.composite
def records(draw: st.DrawFn) -> ForwardRecord:
    address, port = draw(ADDRESS), draw(st.integers(1, 65535))
    return of(
        draw(LABEL),
        draw(PORT),
        draw(st.sampled_from(["service", "deployment", "Pod"])),
        draw(LABEL),
        local_address=address,
        local_port=port,
        url=draw(st.sampled_from(["", local_url(address, port)])),
    )


def test_the_names_of_another_context() -> None:
    """Full names begin with the context; the short name belongs to the default context."""
    here, far = of("web", context="here"), of("web", context="far", local_port=8081)
    made = Variables(context="here").of([replace(far, id="far"), here])
    ports = {name: port for name, port in made.items() if name.endswith("_PORT")}
    assert ports == {
        "WEB_8080_PORT": "8080",
        "DEFAULT_SERVICE_WEB_8080_PORT": "8080",
        "FAR_DEFAULT_SERVICE_WEB_8080_PORT": "8081",
    }


def test_the_names() -> None:
    """By name and remote port, and in full; a port's name as well as a number."""
    made = Variables().of([of("web"), of("my-api.v2", "http", "deployment", "shop", local_port=4503)])
    assert made == {
        "WEB_8080_HOST": "127.0.0.1",
        "WEB_8080_PORT": "8080",
        "WEB_8080_URL": "http://127.0.0.1:8080",
        "DEFAULT_SERVICE_WEB_8080_HOST": "127.0.0.1",
        "DEFAULT_SERVICE_WEB_8080_PORT": "8080",
        "DEFAULT_SERVICE_WEB_8080_URL": "http://127.0.0.1:8080",
        "MY_API_V2_HTTP_HOST": "127.0.0.1",
        "MY_API_V2_HTTP_PORT": "4503",
        "MY_API_V2_HTTP_URL": "http://127.0.0.1:4503",
        "SHOP_DEPLOYMENT_MY_API_V2_HTTP_HOST": "127.0.0.1",
        "SHOP_DEPLOYMENT_MY_API_V2_HTTP_PORT": "4503",
        "SHOP_DEPLOYMENT_MY_API_V2_HTTP_URL": "http://127.0.0.1:4503",
    }


def test_who_comes_later_takes_no_name() -> None:
    """The short name stays where it is; the newcomer has its full one, and the short one when it is free."""
    variables = Variables()
    deployment, service = of("web", kind="deployment", local_port=1), of("web", local_port=2)
    assert variables.of([deployment])["WEB_8080_PORT"] == "1"
    both = variables.of([service, deployment])
    assert (both["WEB_8080_PORT"], both["DEFAULT_SERVICE_WEB_8080_PORT"]) == ("1", "2")
    assert variables.of([service])["WEB_8080_PORT"] == "2"


def test_of_those_that_come_together_services_are_first() -> None:
    """Then by namespace, type and name: the same after every start."""
    given = [
        of("web", kind="deployment"),
        of("web", namespace="b", local_port=2),
        of("web", namespace="a", local_port=3),
    ]
    for order in (given, given[::-1]):
        assert Variables().of(order)["WEB_8080_PORT"] == "3"


def test_a_name_is_kept_while_its_forward_waits() -> None:
    """Without a port it has no variables, but no other forward gets its name."""
    variables = Variables()
    waiting = of("web", url="", state="waiting")
    assert variables.of([waiting]) == {}
    made = variables.of([waiting, of("web", namespace="other")])
    assert [name for name in made if name.endswith("URL")] == ["OTHER_SERVICE_WEB_8080_URL"]


def test_several_addresses_are_one_forward() -> None:
    """127.0.0.1 is preferred, in any order."""
    everywhere = of("web", local_address="0.0.0.0", local_port=2)
    assert Variables().of([everywhere, of("web", local_address="127.0.0.1")])["WEB_8080_PORT"] == "8080"
    assert Variables().of([everywhere])["WEB_8080_HOST"] == "0.0.0.0"


def test_names_that_are_spelled_alike_are_numbered() -> None:
    """A full name is never lost, and no variable begins with a digit."""
    made = Variables().of([of("a-b", local_port=1), of("a.b", local_port=2), of("1st", namespace="9")])
    assert (made["DEFAULT_SERVICE_A_B_8080_PORT"], made["DEFAULT_SERVICE_A_B_8080_2_PORT"]) == ("1", "2")
    assert {"_1ST_8080_URL", "_9_SERVICE_1ST_8080_URL"} <= made.keys()


@given(st.lists(records(), max_size=6))
def test_every_bound_forward_has_its_full_name(given: list[ForwardRecord]) -> None:
    """Names are a shell's identifiers; values need no quotes anywhere."""
    made = Variables().of(given)
    subjects = {
        (r.namespace, r.resource_type.lower(), r.resource_name, r.container, str(r.remote_port)) for r in given if r.url
    }
    assert len({name for name in made if name.endswith("_URL")}) >= len(subjects)
    for name, value in made.items():
        assert re.fullmatch(r"[A-Z_][A-Z0-9_]*", name)
        assert re.fullmatch(r"[A-Za-z0-9.:/%\[\]-]+", value)


@given(st.lists(records(), max_size=4), st.lists(records(), max_size=4))
def test_nothing_is_renamed(first: list[ForwardRecord], more: list[ForwardRecord]) -> None:
    """A name keeps its forward when others are added."""
    variables = Variables()
    before = variables.of([record for record in first if record.url])
    after = variables.of([record for record in first if record.url] + [r for r in more if r not in first and r.url])
    ports = {name: value for name, value in before.items() if name.endswith("_URL")}
    # Another local address of the same forward may be preferred; the name is still that forward's.
    subjects = [(r.namespace, r.resource_type.lower(), r.resource_name, str(r.remote_port)) for r in first + more]
    if len(set(subjects)) == len(subjects):
        assert ports.items() <= after.items()


@settings(max_examples=20)
@given(st.lists(records(), max_size=6))
def test_a_shell_reads_what_was_written(given: list[ForwardRecord]) -> None:
    """`set -a; . FILE` gives each variable its value, letter by letter."""
    made = Variables().of(given)
    script = f"set -aeu\n{env_lines(made)}env -0"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    read = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert made.items() <= read.items()


def test_a_bare_name_is_the_gateways() -> None:
    """Not a longer one; and no forward loses a variable of its own to it."""
    short = forward("web", gateway="http://web.localhost:8000")
    long = forward("api", gateway="http://api.shop.localhost:8000")
    odd = forward("web-8080", gateway="http://web-8080.localhost:8000")
    variables = Variables().of([short, long, odd])
    assert variables["WEB_URL"] == "http://web.localhost:8000"
    assert "API_URL" not in variables
    assert variables["WEB_8080_URL"] == short.url


def behind_a_gateway(name: str) -> ForwardRecord:
    return of(name, gateway=f"http://{name}.localhost:8000")


@pytest.mark.parametrize("name", ["database", "pip-index", "aws-endpoint", "web"])
def test_a_variable_of_the_users_is_left_alone(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It has no other value, and is named once with the one that was left out; all other names stay."""
    taken = f"{name.upper().replace('-', '_')}_URL"
    variables = Variables({taken, "WEB_8080_PORT", "PATH"})
    for _ in range(2):
        made = variables.of([behind_a_gateway(name)])
        assert taken not in made
        assert f"DEFAULT_SERVICE_{taken.removesuffix('_URL')}_8080_URL" in made
    assert caplog.text.count(f"the variable {taken} (http://{name}.localhost:8000) is left out") == 1


@pytest.mark.parametrize(
    "record",
    [behind_a_gateway("pip-index"), behind_a_gateway("aws-endpoint"), of("pip", "index"), of("kubernetes", "service")],
    ids=str,
)
def test_a_cluster_does_not_set_what_programs_read(record: ForwardRecord) -> None:
    """Also where the user has no such variable: its full name does."""
    names = {name for name in Variables().of([record]) if not name.startswith("DEFAULT_SERVICE_")}
    assert not any(name in names for name in ("PIP_INDEX_URL", "AWS_ENDPOINT_URL", "KUBERNETES_SERVICE_HOST"))
    assert any(name.startswith("DEFAULT_SERVICE_") for name in Variables().of([record]))


def test_a_name_with_a_ports_number_is_nobody_elses() -> None:
    """A service that is called like a program keeps its short name."""
    assert {"GIT_SERVER_8080_URL", "DOCKER_REGISTRY_8080_PORT"} <= Variables().of(
        [of("git-server"), of("docker-registry")]
    ).keys()


def test_bare_names_that_are_spelled_alike() -> None:
    """Neither gets the variable, because it would be ambiguous."""
    made = Variables().of([behind_a_gateway("a-b"), behind_a_gateway("a_b")])
    assert "A_B_URL" not in made
