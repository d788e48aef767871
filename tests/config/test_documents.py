"""YAML to values with lines: what Go's YAML takes is taken, and whatever is not YAML is one line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watcher.config.documents import documents
from watcher.errors import ConfigError, shown


def test_every_mapping_knows_its_line() -> None:
    """Lines count from 1, in every document."""
    first, second = documents("a:\n- b: 1\n- b: 2\n---\n\nc: 3\n", "f")
    assert [item.line for item in first["a"]] == [2, 3]
    assert first["a"][1].lines == {"b": 3}
    assert (second.line, second["c"]) == (6, 3)


def test_anchors_aliases_and_merge_keys_are_resolved() -> None:
    """`<<` fills in what the mapping itself does not say."""
    [document] = documents("base: &b {port: 80, name: a}\nother: {<<: *b, name: c}\nagain: *b\n", "f")
    assert document["other"] == {"port": 80, "name": "c"}
    assert document["again"] is document["base"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "f line 2: not YAML"),
        ("a: 1\nb: ]", "f line 2: not YAML"),
        ("a: *nowhere", "f line 1: not YAML: found undefined alias"),
        ("a: &x [*x]", "f line 1: not YAML: an alias inside its own anchor"),
        ("a: 1\na: 2", "f line 2: not YAML: mapping key 'a' is there twice"),
        ("a: {<<: 7}", "f line 1: not YAML: map merge requires map or sequence of maps"),
        ("a: !!binary x", "f line 1: not YAML: !!binary value contains invalid base64 data"),
        ("a: \x00", "characters that YAML does not allow"),
        ("[" * 3000, "f line 1: it is nested more than 100 levels deep"),
        ("- a\n", "a document is a list, not a mapping"),
        ("a: 1\n---\n", "a document is empty"),
        ("just words", "a document is a str"),
    ],
)
def test_what_is_no_mapping_is_one_line(text: str, said: str) -> None:
    """The error names the file, and the line where there is one."""
    with pytest.raises(ConfigError) as raised:
        documents(text, "f")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("", None),
        ("~", None),
        ("TRUE", True),
        ("yes", "yes"),
        ("off", "off"),
        ("=", "="),
        ("0x1F", 31),
        ("0b11", 3),
        ("0o17", 15),
        ("017", 15),
        ("08", 8),
        ("-0", 0),
        ("8_080", 8080),
        ("8080.0", 8080),
        ("1e3", 1000),
        ("1.5", 1.5),
        (".inf", float("inf")),
        ("1:30", "1:30"),
        ("2001-02-03", "2001-02-03T00:00:00Z"),
        ("2001-99-99", "2001-99-99"),
        ("9" * 5000, "9" * 5000),
        ("'80'", "80"),
        ("!!str 80", "80"),
        ("!!int '80'", 80),
        ("!mine 80", "80"),
        ("!!python/name:os.system", ""),
        ("!!binary aGk=", "hi"),
        ("\t80", 80),
    ],
)
def test_scalars_mean_what_they_mean_to_skaffold(written: str, value: object) -> None:
    """As gopkg.in/yaml.v3 resolves them; whatever else it is, it is a text."""
    [document] = documents(f"a: {written}\n", "f")
    assert document["a"] == value
    assert type(document["a"]) is type(value)


def test_every_value_knows_where_it_stands() -> None:
    """An alias where it is used, not where its anchor is; a merged value where it is written. Lines may end in CRLF."""
    text = "\u00e9: &x {b: 'it''s'}\r\nc: |\r\n  d\r\ne: *x\r\nf: {<<: *x, g: &y !!str h}\r\n"
    [document] = documents(text, "f")
    assert text[slice(*document["\u00e9"].spans["b"])] == "'it''s'"
    assert text[slice(*document.spans["c"])] == "|\r\n  d\r\n"
    assert text[slice(*document.spans["e"])] == "*x"
    assert text[slice(*document["f"].spans["b"])] == "'it''s'"
    assert text[slice(*document["f"].spans["g"])] == "&y !!str h"


def test_aliases_cost_no_more_than_what_is_written() -> None:
    """A few lines of aliases of aliases are not blown up to billions of values."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))]
    [document] = documents("\n".join(lines), "f")
    assert len(document) == 40


@settings(deadline=None)  # two shared cores: time says nothing here
@given(st.text(alphabet=st.sampled_from("ab:-&*<>[]{}|!#'\"%@ \n\t\x00é0.~?,"), max_size=60))
def test_any_text_is_documents_or_a_config_error(text: str) -> None:
    """Nothing but ConfigError is ever raised."""
    with suppress(ConfigError):
        for document in documents(text, "f"):
            assert document.lines.keys() == document.keys()


def test_merges_of_merges_cost_no_more_than_what_is_written() -> None:
    """PyYAML alone would keep 9 to the 40th pairs; what counts of each key stays: the mapping's own, then the first."""
    lines = [
        "a0: &a0 {x: 0, y: 0}",
        *(f"a{n}: &a{n} {{x: {n}, <<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 40)),
    ]
    [document] = documents("\n".join(lines), "f")
    assert document["a39"] == {"x": 39, "y": 0}


def test_an_alias_as_a_key_is_short() -> None:
    """A key is a text; one made of billions of values is the beginning of one."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)), "? *a39", ": 1"]
    [document] = documents("\n".join(lines), "f")
    assert max(map(len, document)) < 10_000


def test_half_a_character_is_refused() -> None:
    """A lone surrogate could be written nowhere, not even in the message that names it."""
    with pytest.raises(ConfigError, match="f line 2: not YAML: "):
        documents('a: b\nc: "\\ud800"', "f")


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_value_in_a_message_is_short(value: object) -> None:
    """Whatever it is; a small one is written as it is."""
    assert len(shown(value)) < 10_000
    assert shown([1, "two"]) == "[1, 'two']"
    assert shown(mapping_of("a: b")) == "{'a': 'b'}"


def mapping_of(text: str) -> object:
    [document] = documents(text, "f")
    return document
