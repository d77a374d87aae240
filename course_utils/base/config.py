"""Frozen-dataclass configs: to and from JSON, and dotted overrides with errors that list the valid names.

Every setting of the course is a field of a frozen dataclass that lives beside the code that reads it. This module knows none
of them; it only needs their type hints. Allowed field types: bool, int, float, str, Literal, tuple[T, ...], X | None, and
other configs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from course_utils.base.errors import CourseError, unknown

Config = TypeVar("Config")


def require(condition: bool, name: str, expected: str, got: object) -> None:
    """Raises the standard error of a config's `__post_init__` where `condition` is false."""
    if not condition:
        raise CourseError(f"{name}: expected {expected}, got {got!r}.")


def to_dict(config: Any) -> dict:
    """Returns a config as nested dicts and lists that JSON can hold."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Returns the config of class `cls` that `to_dict` turned into `values`; fields left out keep their defaults.

    Raises:
        CourseError: a name that the class does not have, a value of another type, or one that the class refuses.
    """
    if not isinstance(values, Mapping):
        raise CourseError(f"{cls.__name__}: expected an object of settings, got {values!r}.")
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    for name in values:
        if name not in names:
            raise unknown(f"setting of {cls.__name__}", name, names)
    required = {field.name for field in dataclasses.fields(cls) if field.default is field.default_factory is dataclasses.MISSING}
    for name in required - set(values):
        raise CourseError(f"{cls.__name__}: the setting {name!r} is missing; expected {_describe(hints[name])}.")
    return cls(**{name: convert(value, hints[name], name) for name, value in values.items()})


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """Returns a copy of `config` with dotted names changed, such as `{"model.latent_dim": 8}`; all at once, so their order is free.

    Raises:
        CourseError: an unknown name, a value of the wrong type, or one out of range; `config` itself never changes.
    """
    tree: dict[str, Any] = {}
    for name, value in changes.items():
        *groups, leaf = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
            if not isinstance(branch, dict):
                raise CourseError(f"{name}: {group!r} is changed as a whole as well; valid: {', '.join(flatten(config))}.")
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
            raise CourseError(f"{full_name}: names a group; valid: {', '.join(f'{full_name}.{part}' for part in flatten(current))}.")
        elif isinstance(value, dict):
            raise CourseError(f"{full_name}: has no parts; valid: {', '.join(flatten(whole))}.")
        else:
            values[name] = convert(value, hints[name], full_name)
    return dataclasses.replace(config, **values)


def flatten_dict(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns `{dotted name: value}` of nested dicts, in order."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten_dict(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def flatten(config: Any) -> dict[str, Any]:
    """Returns `{dotted name: value}` of every setting in a config, in order."""
    return flatten_dict(dataclasses.asdict(config))


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Returns `{"model.latent_dim": 8}` from `["model.latent_dim=8"]`; a value is read as JSON, else as text.

    Raises:
        CourseError: an entry without an equals sign or a name given twice.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise CourseError(f"expected name=value, got {assignment!r}; for example model.latent_dim=8.")
        if name in changes:
            raise CourseError(f"{name} is set twice; set it once.")
        try:
            changes[name] = json.loads(text)
        except json.JSONDecodeError:
            changes[name] = {"True": True, "False": False, "None": None}.get(text, text)
    return changes


def convert(value: Any, hint: Any, name: str) -> Any:
    """Returns `value` as the type `hint`, without guessing: 8 is a float, but "8" is not an int and 8.5 is not one either."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return convert(value, next(arg for arg in args if arg is not type(None)), name)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(convert(item, args[0], name) for item in value)
    if origin is Literal and value in args:
        return value
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    raise CourseError(f"{name}: expected {_describe(hint)}, got {value!r}.")


def _describe(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if origin is tuple:
        return f"a list of {args[0].__name__} such as [400, 400]" if args[0] is int else f"a list of {args[0].__name__}"
    if origin in (Union, types.UnionType):
        return " or ".join("null" if arg is type(None) else _describe(arg) for arg in args)
    return {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}.get(hint, getattr(hint, "__name__", str(hint)))
