"""portside.yaml: what it may say, what each mistake is told as, and that any text is Settings or one line."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from forwarders.spec import PortPolicy, PortRequest
from watcher.config.entries import Rule, Rules, RuleTarget, Settings
from watcher.config.portside_yaml import parse_settings, read_settings, schema
from watcher.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs" / "portside-yaml.md"
HEAD = "apiVersion: portside/v1\n"


def test_the_documented_example_is_what_it_says() -> None:
    """The file of the docs, field by field."""
    [example] = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    settings = parse_settings(example, "portside.yaml")
    assert (settings.modes, settings.addresses, settings.hold) == ("user,services", ("127.0.0.1",), 30)
    assert [rule.namespace for rule in settings.rules.include] == ["shop-*"]
    assert [(rule.kind, rule.name, rule.labels, rule.port) for rule in settings.rules.exclude] == [
        ("service", "internal-*", {}, None),
        ("", "", {"tier": "data"}, "metrics"),
    ]
    first, second, third, fourth = settings.entries
    assert [first.local_port, second.local_port] == [
        PortRequest(PortPolicy.EXPLICIT, 9000),
        PortRequest(PortPolicy.EXPLICIT, 9001),
    ]
    assert first.addresses == ("127.0.0.1", "::1")
    assert (third.kind, third.name, third.selector, third.local_port) == (
        "pod",
        "",
        "app=worker",
        PortRequest(PortPolicy.PREFERRED, 8080),
    )
    assert re.fullmatch(r"portside\.yaml line \d+", third.origin)
    assert (fourth.name, fourth.context, third.context) == ("db", "staging", "")
    assert {entry.source for entry in settings.entries} == {"direct"}


@pytest.mark.parametrize(
    ("written", "modes"),
    [("off", "off"), ("true", "true"), ("false", "false"), ("[user, debug]", "user,debug"), ("'off'", "off")],
)
def test_modes_as_yaml_has_them(written: str, modes: str) -> None:
    """Modes and booleans, quoted or not."""
    settings = parse_settings(f"{HEAD}portForward: {written}\n", "f")
    assert (settings.modes, settings.modes_origin) == (modes, "f line 2: portForward")


def test_a_type_is_known_by_its_singular() -> None:
    """However it was written: what is shown, explained and told to Skaffold has one name."""
    [entry] = parse_settings(f"{HEAD}forwards: [{{resourceType: SVC, resourceName: web, port: 80}}]\n", "f").entries
    assert (entry.kind, entry.resource_type) == ("service", "service")


def test_no_file_says_nothing(tmp_path: Path) -> None:
    """And a folder in its place is a mistake."""
    assert read_settings(tmp_path) == Settings()
    (tmp_path / "portside.yaml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(tmp_path)


FORWARD = "forwards:\n- resourceType: pod\n  port: 80\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("portForward: user\n", "line 1: object missing required field `apiVersion`"),
        ("apiVersion: portside/v2\n", "line 1: apiVersion: invalid enum value 'portside/v2'"),
        (HEAD + "ports: 1\n", "object contains unknown field `ports`"),
        (HEAD + "forwards: [{kind: service}]\n", "forwards[0]: object contains unknown field `kind`"),
        (HEAD + "hold: -1\n", "line 2: hold: expected `float` >= 0.0"),
        (HEAD + "hold: .inf\n", "hold inf is no number of seconds"),
        (HEAD + "addresses: [nowhere at all]\n", "addresses: 'nowhere at all' is neither"),
        (HEAD + "include:\n- {}\n", "line 3: a rule names at least one"),
        (HEAD + "exclude:\n- kind: widget\n", "line 3: kind: 'widget' is not one of"),
        (HEAD + "exclude:\n- port: 70000\n", "line 3: exclude[0].port: expected `int` <= 65535"),
        (HEAD + FORWARD, "line 3: a forward has either resourceName or selector"),
        (HEAD + FORWARD + "  resourceName: a\n  selector: a=b\n", "a forward has either resourceName or selector"),
        (HEAD + FORWARD + "  resourceName: A b\n", "no Kubernetes object can have the name 'A b'"),
        (HEAD + FORWARD + "  selector: a=b=c\n", "selector: 'a=b=c' is no label selector"),
        (HEAD + FORWARD + "  selector: {}\n", "selector: it is empty"),
        (HEAD + FORWARD + "  resourceName: a\n  localPort: [0]\n", "line 6: forwards[0].localPort[0]: expected `int`"),
        (HEAD + "forwards:\n- port: 80\n", "line 3: forwards[0]: object missing required field `resourceType`"),
        ("- a\n", "a document is a list"),
        ("", "one document, not 0"),
        (HEAD + "---\n" + HEAD, "one document, not 2"),
        (HEAD + "hold: [", "not YAML"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line(text: str, said: str) -> None:
    """With the file, its line and its field."""
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "portside.yaml")
    message = str(caught.value)
    assert message.startswith("portside.yaml")
    assert said in message
    assert 'did you mean "kind"' not in message  # of another part of the file
    assert "\n" not in message


FIELDS = ["apiVersion", "portForward", "hold", "include", "forwards", "port", "kind", "labels", "selector"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
)


@given(values)
def test_any_document_is_settings_or_one_line(value: object) -> None:
    """Never another error."""
    document = {"apiVersion": "portside/v1", **value} if isinstance(value, dict) else value
    with contextlib.suppress(ConfigError):
        parse_settings(yaml.safe_dump(document), "portside.yaml")


def test_the_schema_is_of_the_same_fields() -> None:
    """Generated from the types, with what is required and nothing else allowed."""
    found = schema()
    file = found["$defs"]["PortsideFile"]
    assert file["required"] == ["apiVersion"]
    assert file["additionalProperties"] is False
    assert {"portForward", "addresses", "hold", "include", "exclude", "forwards"} < file["properties"].keys()


WEB = RuleTarget("service", "web", "shop", {"tier": "front"}, (80, "http"))


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        (Rule(origin="r", kind="service"), True),
        (Rule(origin="r", kind="pod"), False),
        (Rule(origin="r", name="w*"), True),
        (Rule(origin="r", name="w"), False),
        (Rule(origin="r", namespace="sh?p", labels={"tier": "front"}), True),
        (Rule(origin="r", labels={"tier": "back"}), False),
        (Rule(origin="r", port=80), True),
        (Rule(origin="r", port="http", name="db"), False),
    ],
)
def test_a_rule_matches_what_has_everything_it_names(rule: Rule, matches: bool) -> None:  # noqa: FBT001 - a row
    """Globs in names, equality elsewhere."""
    assert rule.matches(WEB) == matches
    assert bool(Rules(exclude=(rule,)).excluded(WEB)) == matches
    assert bool(Rules(include=(rule,)).refused(WEB)) != matches
    assert Rules(include=(rule,)).excluded(WEB) == ""


@given(st.binary(max_size=200))
def test_any_file_is_settings_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Bytes that are no text, and texts that are no YAML."""
    folder = tmp_path_factory.getbasetemp()
    (folder / "portside.yaml").write_bytes(content)
    try:
        read_settings(folder)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
