"""Configs: JSON round trips, dotted overrides, assignments from the command line, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

import pytest

from course_utils.base.config import convert, flatten, from_dict, override, parse_assignments, require, to_dict
from course_utils.base.errors import CourseError, unknown


@dataclass(frozen=True)
class Inner:
    latent_dim: int = 4
    kind: Literal["mlp", "conv"] = "mlp"
    dims: tuple[int, ...] = (8, 8)

    def __post_init__(self) -> None:
        require(self.latent_dim >= 1, "latent_dim", "at least 1", self.latent_dim)


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = 0.5
    limit: int | None = None
    on: bool = False
    inner: Inner = field(default_factory=Inner)


CONFIG = Outer("first", inner=Inner(latent_dim=2, dims=(3, 5)))


def test_json_round_trip_gives_an_equal_config():
    assert from_dict(Outer, json.loads(json.dumps(to_dict(CONFIG)))) == CONFIG


def test_fields_left_out_keep_their_defaults():
    assert from_dict(Outer, {"name": "x"}) == Outer("x")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rate": 2}, Outer("first", rate=2.0, inner=CONFIG.inner)),
        ({"limit": 3, "on": True}, Outer("first", limit=3, on=True, inner=CONFIG.inner)),
        ({"inner.latent_dim": 9}, Outer("first", inner=Inner(latent_dim=9, dims=(3, 5)))),
        ({"inner.dims": [7]}, Outer("first", inner=Inner(latent_dim=2, dims=(7,)))),
        ({"inner.kind": "conv", "inner.latent_dim": 1}, Outer("first", inner=Inner(1, "conv", (3, 5)))),
        ({}, CONFIG),
    ],
)
def test_override_changes_what_is_named_and_nothing_else(changes, expected):
    before = to_dict(CONFIG)
    changed = override(CONFIG, changes)
    assert changed == expected
    assert [type(value) for value in flatten(changed).values()] == [type(value) for value in flatten(expected).values()]
    assert to_dict(CONFIG) == before


def test_flatten_lists_every_setting_with_its_dotted_name():
    assert list(flatten(CONFIG)) == ["name", "rate", "limit", "on", "inner.latent_dim", "inner.kind", "inner.dims"]
    assert flatten(CONFIG)["inner.dims"] == (3, 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [("8", 8), ("8.5", 8.5), ("1e-3", 1e-3), ("true", True), ("False", False), ("null", None), ("None", None), ("conv", "conv"), ("[3, 4]", [3, 4])],
)
def test_assignment_values_are_json_or_else_text(text, value):
    parsed = parse_assignments([f"inner.name={text}"])["inner.name"]
    assert parsed == value and type(parsed) is type(value)


def test_assignment_splits_at_the_first_equals_sign():
    assert parse_assignments(["name=a=b", "rate=1"]) == {"name": "a=b", "rate": 1}


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ("8", int, "expected a whole number, got '8'"),
        (8.0, int, "expected a whole number, got 8.0"),
        (True, int, "expected a whole number, got True"),
        (1, bool, "expected true or false, got 1"),
        ("0.1", float, "expected a finite number, got '0.1'"),
        (True, float, "expected a finite number, got True"),
        (float("nan"), float, "expected a finite number, got nan"),
        (float("inf"), float, "expected a finite number, got inf"),
        (3, str, "expected text, got 3"),
        (8, tuple[int, ...], "expected a list of int such as [400, 400], got 8"),
        ([8, "8"], tuple[int, ...], "expected a whole number, got '8'"),
        ("cnn", Literal["mlp", "conv"], "expected one of 'mlp', 'conv', got 'cnn'"),
        (None, int, "expected a whole number, got None"),
    ],
)
def test_wrong_types_are_refused_and_never_guessed(value, hint, message):
    with pytest.raises(CourseError) as error:
        convert(value, hint, "setting")
    assert str(error.value) == f"setting: {message}."


@pytest.mark.parametrize(
    ("values", "fragments"),
    [
        ({"name": "x", "rat": 1}, ["setting of Outer 'rat'", "inner, limit, name, on, rate", "Did you mean 'rate'?"]),
        ({}, ["the setting 'name' is missing", "expected text"]),
        ({"name": "x", "inner": 3}, ["Inner: expected an object of settings, got 3"]),
        ({"name": "x", "inner": {"latent_dim": 0}}, ["latent_dim: expected at least 1, got 0"]),
        ([1], ["Outer: expected an object of settings, got [1]"]),
    ],
)
def test_from_dict_says_what_is_wrong(values, fragments):
    with pytest.raises(CourseError) as error:
        from_dict(Outer, values)
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"inner.latentdim": 3}, ["'inner.latentdim'", "valid: inner.dims, inner.kind, inner.latent_dim", "Did you mean 'inner.latent_dim'?"]),
        ({"outer.rate": 3}, ["'outer'", "inner.latent_dim"]),
        ({"rate.max": 3}, ["rate: has no parts", "valid:"]),
        ({"inner": 3}, ["names a group", "inner.latent_dim, inner.kind, inner.dims"]),
        ({"inner.latent_dim": -1}, ["latent_dim: expected at least 1, got -1"]),
    ],
)
def test_override_says_what_is_wrong_and_what_is_valid(changes, fragments):
    with pytest.raises(CourseError) as error:
        override(CONFIG, changes)
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


def test_unknown_suggests_only_what_is_close():
    assert str(unknown("family", "vea", ["vae", "classifier"])) == "unknown family 'vea'; valid: classifier, vae. Did you mean 'vae'?"
    assert str(unknown("family", "zzz", ["vae"])) == "unknown family 'zzz'; valid: vae."
