"""Configs: settings and their ranges, JSON round trips, overrides, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import Literal

import pytest

from course_utils.base.config import (
    Setting,
    check_settings,
    config_settings,
    convert,
    flatten,
    from_dict,
    override,
    parse_assignments,
    require,
    setting,
    setting_rows,
    to_dict,
)
from course_utils.base.errors import CourseError, unknown
from course_utils.training.config import TrainConfig
from course_utils.training.registry import REGISTRY, config_class


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


@dataclass(frozen=True)
class Limited:
    """One setting of each kind of range."""

    count: int = setting(3, "things", unit="images", minimum=1)
    weight: float = setting(0.0, "of a term", minimum=0)
    rate: float = setting(0.1, "of a training", above=0)
    share: float = setting(0.5, "of a batch", above=0, maximum=1)
    dropout: float = setting(0.5, "of labels", minimum=0, maximum=1)
    smoothing: float = setting(0.0, "of labels", minimum=0, below=0.5)
    decay: float | None = setting(None, "of an average", above=0, below=1)
    side: int = setting(28, "of the images", unit="pixels", minimum=8)
    grey: int = setting(1, "channels", choices=(1, 3))
    code: int = setting(8, "dimensions", minimum=2, even=True)
    dims: tuple[int, ...] = setting((8,), "sizes", above=0)
    three: tuple[int, ...] = setting((8, 8, 8), "sizes", above=0, length=3)
    betas: tuple[float, ...] = setting((0.9, 0.99), "of Adam", minimum=0, below=1, length=2)
    kind: Literal["mlp", "conv"] = setting("mlp", "of network")
    on: bool = setting(True, "whether it is on")
    name: str = "no setting"

    def __post_init__(self) -> None:
        check_settings(self)


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
        (
            {"inner.kind": "conv", "inner.latent_dim": 1},
            Outer("first", inner=Inner(1, "conv", (3, 5))),
        ),
        ({}, CONFIG),
    ],
)
def test_override_changes_what_is_named_and_nothing_else(changes, expected):
    before = to_dict(CONFIG)
    changed = override(CONFIG, changes)
    assert changed == expected
    assert [type(value) for value in flatten(changed).values()] == [
        type(value) for value in flatten(expected).values()
    ]
    assert to_dict(CONFIG) == before


def test_flatten_lists_every_setting_with_its_dotted_name():
    assert list(flatten(CONFIG)) == [
        "name",
        "rate",
        "limit",
        "on",
        "inner.latent_dim",
        "inner.kind",
        "inner.dims",
    ]
    assert flatten(CONFIG)["inner.dims"] == (3, 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("8.5", 8.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("False", False),
        ("null", None),
        ("None", None),
        ("conv", "conv"),
        ("[3, 4]", [3, 4]),
    ],
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
        (
            {"name": "x", "rat": 1},
            ["setting of Outer 'rat'", "inner, limit, name, on, rate", "Did you mean 'rate'?"],
        ),
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
        (
            {"inner.latentdim": 3},
            [
                "'inner.latentdim'",
                "valid: inner.dims, inner.kind, inner.latent_dim",
                "Did you mean 'inner.latent_dim'?",
            ],
        ),
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
    assert (
        str(unknown("family", "vea", ["vae", "classifier"]))
        == "unknown family 'vea'; valid: classifier, vae. Did you mean 'vae'?"
    )
    assert str(unknown("family", "zzz", ["vae"])) == "unknown family 'zzz'; valid: vae."


NAN = float("nan")
RANGES = {  # what is accepted in words; values inside and outside
    "count": ("at least 1", [1, 10**9], [0, -1, NAN]),
    "weight": ("0 or more", [0.0, 1e9], [-1e-9, NAN]),
    "rate": ("more than 0", [1e-9], [0.0, -1.0, NAN]),
    "share": ("above 0 and at most 1", [1e-9, 1.0], [0.0, 1.001, NAN]),
    "dropout": ("0 to 1", [0.0, 1.0], [-0.001, 1.001, NAN]),
    "smoothing": ("from 0 up to 0.5", [0.0, 0.499], [-0.001, 0.5, NAN]),
    "decay": ("between 0 and 1, or null", [None, 0.001, 0.999], [0.0, 1.0, NAN]),
    "side": ("at least 8 pixels", [8, 64], [7]),
    "grey": ("1 or 3", [1, 3], [0, 2, 4]),
    "code": ("an even number of at least 2", [2, 4], [0, 3, -2]),
    "dims": ("at least one positive size", [(1,), (1, 2, 3)], [(), (0,), (4, -1)]),
    "three": ("three positive sizes", [(1, 2, 3)], [(), (1, 2), (1, 2, 3, 4), (1, 0, 2)]),
    "betas": ("two numbers from 0 up to 1", [(0.0, 0.999)], [(0.9,), (0.9, 1.0), (-0.1, 0.9)]),
    "kind": ("", ["mlp"], []),
    "on": ("", [False], []),
}


@pytest.mark.parametrize("name", config_settings(Limited))
def test_ranges_of_the_metadata_are_checked_and_told(name):
    words, inside, outside = RANGES[name]
    assert config_settings(Limited)[name].range == words
    for value in inside:
        assert getattr(Limited(**{name: value}), name) == value
    for value in outside:
        with pytest.raises(CourseError) as error:
            Limited(**{name: value})
        assert str(error.value) == f"{name}: expected {words}, got {value!r}."


def test_settings_are_ordinary_fields():
    assert Limited.count == Limited().count == 3
    assert Limited() == Limited(3) and hash(Limited()) == hash(Limited(3))
    changed = replace(Limited(), decay=0.5, dims=(1, 2))
    assert from_dict(Limited, json.loads(json.dumps(to_dict(changed)))) == changed != Limited()


def test_rows_hold_name_default_range_and_meaning():
    rows = {row.pop("setting"): row for row in setting_rows(Limited(), "model.")}
    assert [*rows["model.count"].values()] == ["3", "at least 1", "things (images)"]
    assert [*rows["model.kind"].values()] == ["mlp", "one of 'mlp', 'conv'", "of network"]
    assert rows["model.decay"]["default"] == "null" and rows["model.dims"]["default"] == "[8]"
    assert rows["model.on"]["range"] == "true or false" and "model.name" not in rows


CONFIGS = [TrainConfig, *(config_class(family) for family in REGISTRY)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_setting_of_the_course_has_a_meaning_and_a_default_in_its_range(config):
    settings = config_settings(config)
    assert list(settings) == [field.name for field in fields(config)]
    for name, told in settings.items():
        default = getattr(config(), name)
        assert isinstance(told, Setting) and told.meaning and told.accepts(default), name
        if told.sensible is None:
            continue
        low, high = told.sensible
        entries = default if told.is_list else (default,)
        assert low < high and all(entry is None or low <= entry <= high for entry in entries), name
        for end in told.sensible:
            assert told.accepts((end,) * len(entries) if told.is_list else end), name
