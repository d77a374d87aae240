"""Frozen-dataclass configs: settings with meaning and range, JSON, and dotted overrides.

Every setting of the course is a field of a frozen dataclass that lives beside the code that reads
it. What it means and which values it takes stands there once, in the field's metadata (`setting`),
and feeds the check, `course train FAMILY --settings` and the table of the homework. This module
knows none of the configs; it only needs their type hints. Allowed field types: bool, int, float,
str, Literal, tuple[T, ...], tuple[T, T], X | None, and other configs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from course_utils.base.errors import CourseError, unknown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def require(condition: bool, name: str, expected: str, got: object) -> None:
    """Raises the standard error of a config's `__post_init__` where `condition` is false."""
    if not condition:
        raise CourseError(f"{name}: expected {expected}, got {got!r}.")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a field of a config means and which values it takes; of a list, which each entry takes.

    Attributes:
        meaning: in a few words.
        unit: "" for a number without one, and for a choice.
        minimum, maximum: the lowest and the highest value that is accepted.
        above, below: bounds that are not accepted themselves.
        choices: the only values that are accepted, where the type does not list them.
        even: only even numbers are accepted.
        length: of a list, its number of entries; None: at least one.
        sensible: lowest and highest value that the homework takes; narrower than what is accepted,
            so that a training ends in time and teaches something.
        longest: of a list, most entries that the homework takes.
        added: the setting came after runs had been recorded without it. Such a run had the
            default's meaning, so the default is left out where runs are told apart.
        is_list, or_none: whether it is a list, and whether None is accepted too; `setting` reads
            both off the default.
    """

    meaning: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple | None = None
    even: bool = False
    length: int | None = None
    sensible: tuple[float, float] | None = None
    longest: int | None = None
    added: bool = False
    is_list: bool = False
    or_none: bool = False

    def accepts(self, value: Any) -> bool:
        """Returns whether a value of the right type is in the range."""
        if self.or_none and value is None:
            return True
        if not self.is_list:
            return self._within(value)
        right_length = len(value) > 0 if self.length is None else len(value) == self.length
        return right_length and all(self._within(entry) for entry in value)

    def _within(self, value: Any) -> bool:
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
            and (self.choices is None or value in self.choices)
            and (not self.even or value % 2 == 0)
        )

    @property
    def range(self) -> str:
        """What is accepted, in words, such as "at least 1"; "" where the type alone decides."""
        words = " or ".join(map(str, self.choices)) if self.choices else self._bounds()
        if self.even:
            words = f"an even number of {words}"
        if self.unit == "pixels" and words:
            words += " pixel" if words.endswith(" 1") else " pixels"
        if self.is_list:
            count, s = {None: ("at least one", ""), 2: ("two", "s"), 3: ("three", "s")}[self.length]
            entry = f"positive size{s}" if words == "more than 0" else f"number{s} {words}".rstrip()
            words = f"{count} {entry}"
        return f"{words}, or null" if words and self.or_none else words

    def _bounds(self) -> str:
        match self.minimum, self.above, self.maximum, self.below:
            case None, None, None, None:
                return ""
            case low, None, None, None:
                return "0 or more" if low == 0 else f"at least {low:g}"
            case None, low, None, None:
                return f"more than {low:g}"
            case low, None, high, None:
                return f"{low:g} to {high:g}"
            case low, None, None, high:
                return f"from {low:g} up to {high:g}"
            case None, low, None, high:
                return f"between {low:g} and {high:g}"
            case _:
                return f"above {self.above:g} and at most {self.maximum:g}"


_NOT_ADDED = Setting("")


def setting(default: Any, meaning: str, **limits: Any) -> Any:
    """Returns the dataclass field of a setting.

    Args:
        default: immutable; a tuple makes it a list, None means that None is accepted too.
        meaning: in a few words.
        limits: further attributes of `Setting`, such as `unit="nats", minimum=0`.
    """
    told = Setting(meaning, is_list=isinstance(default, tuple), or_none=default is None, **limits)
    return dataclasses.field(default=default, metadata={"setting": told})


def config_settings(config: Any) -> dict[str, Setting]:
    """Returns `{name: setting}` of a config or a class of configs, in the order of the fields."""
    return {
        field.name: field.metadata["setting"]
        for field in dataclasses.fields(config)
        if "setting" in field.metadata
    }


def check_settings(config: Any) -> None:
    """Raises the standard error for the first setting of a config that is out of its range."""
    for name, told in config_settings(config).items():
        value = getattr(config, name)
        require(told.accepts(value), name, told.range, value)


def setting_rows(config: Any, prefix: str = "") -> list[dict[str, str]]:
    """Returns a row of texts for each setting of a config, whose values are taken for the defaults.

    Args:
        config: of any class with settings.
        prefix: stands before each name, such as "model.".
    """
    hints = get_type_hints(type(config))
    rows = []
    for name, told in config_settings(config).items():
        value = getattr(config, name)
        unit = f" ({told.unit})" if told.unit not in told.meaning else ""
        rows.append(
            {
                "setting": prefix + name,
                "default": value if isinstance(value, str) else json.dumps(value),
                "range": told.range or _describe(hints[name]),
                "meaning": told.meaning + unit,
            }
        )
    return rows


def to_dict(config: Any) -> dict:
    """Returns a config as nested dicts and lists that JSON can hold.

    A setting that the course has added since (`Setting.added`) is left out where it has its
    default: equal trainings are recorded equally before and after an update of the course.
    """
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.metadata.get("setting", _NOT_ADDED).added and value == field.default:
            continue
        nested = dataclasses.is_dataclass(value)
        values[field.name] = to_dict(value) if nested else json.loads(json.dumps(value))
    return values


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Returns the config of class `cls` that `to_dict` turned into `values`.

    Fields left out keep their defaults.

    Raises:
        CourseError: a name that the class does not have, a value of another type, or one that the
            class refuses.
    """
    if not isinstance(values, Mapping):
        raise CourseError(f"{cls.__name__}: expected an object of settings, got {values!r}.")
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    for name in values:
        if name not in names:
            raise unknown(f"setting of {cls.__name__}", name, names)
    for field in dataclasses.fields(cls):
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            expected = _describe(hints[field.name])
            raise CourseError(
                f"{cls.__name__}: the setting {field.name!r} is missing; expected {expected}."
            )
    return cls(**{name: convert(value, hints[name], name) for name, value in values.items()})


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """Returns a copy of `config` with dotted names changed, such as `{"model.latent_dim": 8}`.

    All change at once, so their order is free.

    Raises:
        CourseError: an unknown name, a value of the wrong type, or one out of range.
    """
    tree: dict[str, Any] = {}
    for name, value in changes.items():
        *groups, leaf = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
            if not isinstance(branch, dict):
                valid = ", ".join(flatten(config))
                raise CourseError(
                    f"{name}: {group!r} is changed as a whole as well; valid: {valid}."
                )
        branch[leaf] = value
    return _replace(config, tree, "", config)


def _replace(config: Any, tree: dict[str, Any], prefix: str, whole: Any) -> Any:
    hints, values = get_type_hints(type(config)), {}
    for name, value in tree.items():
        full_name = prefix + name
        if name not in {field.name for field in dataclasses.fields(config)}:
            raise unknown("setting", full_name, flatten(whole))
        current = getattr(config, name)
        if dataclasses.is_dataclass(current) and isinstance(value, dict):
            values[name] = _replace(current, value, full_name + ".", whole)
        elif dataclasses.is_dataclass(current):
            valid = ", ".join(f"{full_name}.{part}" for part in flatten(current))
            raise CourseError(f"{full_name}: names a group; valid: {valid}.")
        elif isinstance(value, dict):
            raise CourseError(f"{full_name}: has no parts; valid: {', '.join(flatten(whole))}.")
        else:
            values[name] = convert(value, hints[name], full_name)
    return dataclasses.replace(config, **values)


def flatten_dict(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns `{dotted name: value}` of nested dicts, in order."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten_dict(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def flatten(config: Any) -> dict[str, Any]:
    """Returns `{dotted name: value}` of every setting in a config, in order."""
    return flatten_dict(dataclasses.asdict(config))


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Returns `{"model.latent_dim": 8}` from `["model.latent_dim=8"]`.

    A value is read as JSON, else as text.

    Raises:
        CourseError: an entry without an equals sign or a name given twice.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise CourseError(
                f"expected name=value, got {assignment!r}; for example model.latent_dim=8."
            )
        if name in changes:
            raise CourseError(f"{name} is set twice; set it once.")
        try:
            changes[name] = json.loads(text)
        except json.JSONDecodeError:
            changes[name] = {"True": True, "False": False, "None": None}.get(text, text)
    return changes


def convert(value: Any, hint: Any, name: str) -> Any:
    """Returns `value` as the type `hint`, without guessing.

    8 is a float, but "8" is not an int and 8.5 is not one either.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return convert(value, next(arg for arg in args if arg is not type(None)), name)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(convert(item, args[0], name) for item in value)
    if origin is Literal and value in args:
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float and number and math.isfinite(value):
        return float(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    raise CourseError(f"{name}: expected {_describe(hint)}, got {value!r}.")


_TYPE_NAMES = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}


def _describe(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if origin is tuple:
        example = " such as [400, 400]" if args[0] is int else ""
        return f"a list of {args[0].__name__}{example}"
    if origin in (Union, types.UnionType):
        return " or ".join("null" if arg is type(None) else _describe(arg) for arg in args)
    return _TYPE_NAMES.get(hint, getattr(hint, "__name__", str(hint)))
