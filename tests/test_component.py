"""Components: values that survive TOML, with fingerprints, ranges and helpful refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from typing import Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ganbench.component import USE, Component, canonical, describe, field, fields, plain
from ganbench.errors import ConfigError, PluginError, nearest
from ganbench.facts import toml


class Inner(Component, name="inner", role="extractor"):
    """Inside."""

    size: int = 3


class Many(Component, name="many", role="metric", source="https://example.org"):
    """Every kind of field. And a second sentence."""

    whole: int = field(default=1, ge=0, le=100, doc="a whole number")
    real: float = field(default=0.5, gt=0.0, lt=2.0)
    open: float = 1.0
    flag: bool = False
    word: str = "a"
    choice: Literal["x", "y", 3] = "x"
    several: tuple[int, ...] = field(default=(1, 2), ge=0)
    pair: tuple[int, float] = (1, 2.0)
    either: int | tuple[int, ...] = 5
    maybe: float | None = None
    inner: Inner | None = None


class Needy(Component, name="needy", role="dataset"):
    """A field without a default."""

    path: str


def resolve(role: str, value: object, place: str) -> Component:
    assert role == "extractor"
    table = dict(value) if isinstance(value, dict) else {USE: value}
    assert table.pop(USE) == "inner"
    return Inner.from_table(table, place=place)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
MANY = st.builds(
    Many,
    whole=st.integers(0, 100),
    real=st.floats(0, 2, exclude_min=True, exclude_max=True),
    open=st.floats(allow_nan=False),
    flag=st.booleans(),
    word=TEXT,
    choice=st.sampled_from(["x", "y", 3]),
    several=st.lists(st.integers(0, 2**40)).map(tuple),
    pair=st.tuples(st.integers(-5, 5), FINITE),
    either=st.one_of(st.integers(-5, 5), st.lists(st.integers(-5, 5), max_size=3).map(tuple)),
    maybe=st.none() | FINITE,
    inner=st.none() | st.builds(Inner, size=st.integers(-5, 5)),
)


@given(many=MANY)
def test_a_component_survives_toml(many: Many) -> None:
    """Through text, as a person or an editor writes it: ``toml`` and the standard library's reader."""
    assume(not any(ord(c) < 32 or ord(c) == 127 for c in many.word))  # json escapes some that TOML writes otherwise
    table = tomllib.loads(f"it = {toml(many.to_table())}")["it"]
    assert table.pop(USE) == "many"
    again = Many.from_table(table, resolve=resolve)
    assert again == many
    assert again.fingerprint == many.fingerprint


@given(many=MANY)
def test_a_component_survives_json(many: Many) -> None:
    table = json.loads(canonical(many.to_table()))
    del table[USE]
    assert Many.from_table(table, resolve=resolve) == many


@given(one=MANY, other=MANY)
def test_fingerprints_are_equal_exactly_for_equal_components(one: Many, other: Many) -> None:
    assert (one.fingerprint == other.fingerprint) == (one.to_table() == other.to_table())


def test_a_fingerprint_is_the_same_on_every_machine() -> None:
    """It depends on nothing but this text."""
    text = b'{"role":"extractor","size":3,"use":"inner"}'
    assert Inner().fingerprint == hashlib.sha256(text).hexdigest()[:16]


def test_the_role_enters_the_fingerprint() -> None:
    class Other(Component, name="inner", role="loss"):
        """Of another role."""

        size: int = 3

    assert Other().fingerprint != Inner().fingerprint


def test_a_component_is_a_frozen_value() -> None:
    one, other = Many(real=1.0), Many(real=1.0)
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.real = 0.5  # type: ignore[misc] # what is tested
    with pytest.raises(TypeError):
        Many(3)  # type: ignore[misc] # what is tested


@pytest.mark.parametrize(
    ("values", "place", "words"),
    [
        ({"whole": "3"}, ".whole", ["the string '3' is not an int", "without quotes"]),
        ({"whole": True}, ".whole", ["the boolean True is not an int"]),
        ({"whole": 1.0}, ".whole", ["1.0 is not an int"]),
        ({"real": "a"}, ".real", ["the string 'a' is not a float"]),
        ({"flag": 1}, ".flag", ["1 is not a bool"]),
        ({"word": 1}, ".word", ["1 is not a str"]),
        ({"choice": "z"}, ".choice", ["'z' is not 'x' | 'y' | 3"]),
        ({"choice": "3"}, ".choice", ["did you mean '3'?"]),
        ({"several": 3}, ".several", ["3 is not list of int"]),
        ({"several": [1, "2"]}, ".several[1]", ["the string '2' is not an int"]),
        ({"pair": [1]}, ".pair", ["[1] is not [int, float]"]),
        ({"either": "a"}, ".either", ["'a' is not int or list of int"]),
        ({"inner": 3}, ".inner", ["3 is not an extractor"]),
        ({"whole": 101}, ".whole", ["101 is out of range", "at most 100"]),
        ({"whole": -1}, ".whole", ["-1 is out of range", "at least 0"]),
        ({"real": 0}, ".real", ["0.0 is out of range", "more than 0"]),
        ({"real": 2.0}, ".real", ["2.0 is out of range", "less than 2"]),
        ({"several": [1, -1]}, ".several", ["-1 is out of range"]),
        ({"open": math.nan}, ".open", ["nan is not a float"]),
        ({"wole": 1}, "", ["metric 'many' has no field 'wole'", "did you mean 'whole'?"]),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(values: dict[str, Any], place: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Many.from_table(values, place="here")
    assert caught.value.place == f"here{place}"
    for word in words:
        assert word in str(caught.value)


def test_values_are_checked_from_python_too() -> None:
    with pytest.raises(ConfigError, match=r"\.real: 3.0 is out of range"):
        Many(real=3)
    assert Many(real=1).real == 1.0
    assert isinstance(Many(real=1).real, float)
    assert Many(several=[3]).several == (3,)  # type: ignore[arg-type] # a list serves


def test_a_field_without_a_default_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="dataset 'needy' needs the field 'path'"):
        Needy.from_table({})
    assert Needy.from_table({"path": "x"}).path == "x"


def test_a_check_over_several_fields_names_the_place() -> None:
    class Both(Component, name="both", role="loss"):
        """Two that do not fit."""

        a: int = 1
        b: int = 1

        def validate(self) -> None:
            if self.a != self.b:
                raise ConfigError("a and b differ")

    with pytest.raises(ConfigError, match="here: a and b differ"):
        Both.from_table({"a": 2}, place="here")


def test_a_label_says_what_differs_from_the_defaults() -> None:
    assert Many().label == "many"
    assert Many(real=1.0, several=(3,)).label == "many(real=1, several=[3])"
    assert Many(inner=Inner(size=4)).label == "many(inner=inner(size=4))"


def test_a_component_in_a_component_is_part_of_its_table() -> None:
    assert Many(inner=Inner()).to_table()["inner"] == {"use": "inner", "size": 3}
    assert "inner" not in Many().to_table()
    assert Many.from_table({"inner": "inner"}, resolve=resolve).inner == Inner()


@pytest.mark.parametrize("name", ["Mine", "my_loss", "-a", "a-", "a--b", "a b", "é", "a/b"])
def test_a_name_is_lower_case_words_joined_by_hyphens(name: str) -> None:
    with pytest.raises(PluginError, match="lower-case words joined by hyphens"):
        type("Bad", (Component,), {"__module__": __name__}, name=name)


def test_a_field_may_not_be_called_as_the_key_that_names_the_component() -> None:
    with pytest.raises(PluginError, match="may not be called 'use'"):
        type("Bad", (Component,), {"__module__": __name__, "__annotations__": {"use": str}, "use": ""}, name="bad")


def test_a_component_that_is_subclassed_keeps_its_fields() -> None:
    class More(Many, name="more"):
        """With one more."""

        extra: int = 0

    assert [f.name for f in fields(More)] == [*[f.name for f in fields(Many)], "extra"]
    assert (More.role, More.name, More.source) == ("metric", "more", "")


def test_the_summary_is_the_first_paragraph_and_empty_without_a_docstring() -> None:
    class Silent(Component, name="silent", role="loss"):
        a: int = 1

    assert Many.summary() == "Every kind of field. And a second sentence."
    assert Silent.summary() == ""


@pytest.mark.parametrize(
    ("hint", "words"),
    [(float, "float"), (int | None, "int"), (tuple[float, ...], "list of float"), (Literal["a", 1], "'a' | 1")],
)
def test_a_type_is_described_in_words(hint: Any, words: str) -> None:
    assert describe(hint) == words


def test_infinity_is_written_as_a_word_and_read_again() -> None:
    assert plain((math.inf, -math.inf)) == ["inf", "-inf"]
    assert Many.from_table({"open": "-inf"}).open == -math.inf


def test_the_nearest_name_is_offered_or_else_what_is_known() -> None:
    assert nearest("Hing", ["hinge", "minimax"]) == "did you mean 'hinge'?"
    assert nearest("zzz", ["hinge", "minimax"]) == "known: hinge, minimax"
    assert nearest("zzz", [f"n{i:02}" for i in range(20)]).endswith("n11, ...")
    assert nearest("zzz", []) == "none is known"
