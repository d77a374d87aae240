"""JSON from strangers: what Python's reader lets pass (NaN, names that stand twice, numbers without end, UTF-16) is refused here.

A reader is a function of a value and of the place that it stands at; it returns the checked value or raises the one line that says what is wrong.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from course_utils.errors import CourseError

Reader = Callable[[Any, str], Any]
MAX_DIGITS, MAX_SHOWN = 40, 60  # of a number; of a wrong value in a message
MAX_PARTS = 100_000
MAX_NUMBER = 1e12  # no setting, metric or loss of the course comes near; squares and axes of larger ones overflow
DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{3}(\d{3})?)?)?(Z|[+-]\d\d:\d\d)?)?")


def refuse(where: str, expected: str, got: object) -> NoReturn:
    """Raises the one line of a refusal; a long value is cut."""
    text = "an object" if isinstance(got, Mapping) else "a list" if isinstance(got, (list, tuple)) else ascii(got)
    raise CourseError(f"{where}: expected {expected}, got {text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + '...'}.")


def parse_json(data: bytes, where: str, max_bytes: int) -> Any:
    """Returns the value that UTF-8 JSON of at most `max_bytes` holds.

    Raises:
        CourseError: too many bytes, not UTF-8, not JSON, nested too deep, a name that stands twice in one object, NaN, infinity or an endless number.
    """
    if len(data) > max_bytes:
        raise CourseError(f"{where}: expected at most {max_bytes:,} bytes, got {len(data):,}.")
    if data.count(b"[") + data.count(b"{") > MAX_PARTS:  # an empty list takes 2 bytes in the file and 30 times as many in memory
        raise CourseError(f"{where}: expected at most {MAX_PARTS:,} lists and objects, got more.")

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in pairs:
            if name in values:
                refuse(where, "each name once in an object", name)
            values[name] = value
        return values

    def to_number(text: str) -> int | float:
        if len(text) > MAX_DIGITS:
            refuse(where, f"numbers of at most {MAX_DIGITS} digits", text)
        return float(text) if set(text) & set(".eE") else int(text)

    def constant(text: str) -> NoReturn:
        refuse(where, "finite numbers", text)

    try:
        text = data.decode("utf-8")
        return json.loads(text, object_pairs_hook=without_repeats, parse_int=to_number, parse_float=to_number, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise CourseError(f"{where}: expected UTF-8 text, got the byte 0x{data[error.start]:02x} at {error.start:,}.") from None
    except json.JSONDecodeError as error:
        raise CourseError(f"{where}: expected JSON, got a syntax error: {error.msg} (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise CourseError(f"{where}: expected JSON of a few levels, got lists or objects nested a thousand deep.") from None


def text(max_length: int, *, one_line: bool = True, required: bool = False) -> Reader:
    """Returns the reader of plain text without control characters, with line breaks only where `one_line` is false."""
    allowed, kind = ("", "one line of text") if one_line else ("\n\r\t", "text")

    def read(value: Any, where: str) -> str:
        if not isinstance(value, str):
            refuse(where, kind, value)
        if len(value) > max_length:
            raise CourseError(f"{where}: expected at most {max_length:,} characters, got {len(value):,}.")
        for character in value:
            if character not in allowed and unicodedata.category(character) in ("Cc", "Cs"):
                refuse(where, f"{kind} without control characters", character)
        if required and not value.strip():
            refuse(where, kind, value)
        return value

    return read


def matching(pattern: str, expected: str) -> Reader:
    """Returns the reader of text that matches a regular expression as a whole."""
    compiled = re.compile(pattern)

    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            refuse(where, expected, value)
        return value

    return read


def one_of(*valid: str | int) -> Reader:
    """Returns the reader of one of a few values."""

    def read(value: Any, where: str) -> Any:
        if type(value) not in {type(name) for name in valid} or value not in valid:
            refuse(where, "one of " + ", ".join(map(repr, valid)), value)
        return value

    return read


def whole(low: int, high: int) -> Reader:
    """Returns the reader of a whole number from `low` to `high`; true and 1.0 are none."""

    def read(value: Any, where: str) -> int:
        if type(value) is not int or not low <= value <= high:
            refuse(where, f"a whole number from {low:,} to {high:,}", value)
        return value

    return read


def number(low: float = -MAX_NUMBER, high: float = MAX_NUMBER) -> Reader:
    """Returns the reader of a finite number from `low` to `high`."""

    def read(value: Any, where: str) -> float:
        if type(value) not in (int, float) or not low <= value <= high:  # NaN is in no range
            refuse(where, f"a finite number from {low:g} to {high:g}", value)
        return float(value)

    return read


def date(value: Any, where: str) -> str:
    """Returns a date with or without time as ISO 8601 writes it, such as "2025-03-01T12:30:00+00:00"."""
    expected = "a date such as 2025-03-01T12:30:00+00:00"
    if not isinstance(value, str) or not DATE.fullmatch(value) or not value.isascii():
        refuse(where, expected, value)
    try:
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        refuse(where, expected, value)
    return value


def optional(read: Reader) -> Reader:
    """Returns the reader of what `read` accepts, or null."""
    return lambda value, where: None if value is None else read(value, where)


def scalar(value: Any, where: str) -> Any:
    """Returns a setting's value: text, a number, true, false or null."""
    if isinstance(value, str):
        return text(200)(value, where)
    if isinstance(value, float):
        return number()(value, where)
    if type(value) is int:
        return whole(-(2**53), 2**53)(value, where)
    if value is not None and not isinstance(value, bool):
        refuse(where, "text, a number, true, false or null", value)
    return value


def list_of(read: Reader, max_length: int, min_length: int = 0) -> Reader:
    """Returns the reader of a list; it gives a tuple."""

    def read_list(value: Any, where: str) -> tuple:
        if not isinstance(value, (list, tuple)):
            refuse(where, "a list", value)
        if not min_length <= len(value) <= max_length:
            raise CourseError(f"{where}: expected {min_length} to {max_length:,} entries, got {len(value):,}.")
        return tuple(read(item, f"{where}[{index}]") for index, item in enumerate(value))

    return read_list


def mapping(read_name: Reader, read: Reader, max_length: int) -> Reader:
    """Returns the reader of an object whose names are free."""

    def read_mapping(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            refuse(where, "an object", value)
        if len(value) > max_length:
            raise CourseError(f"{where}: expected at most {max_length:,} names, got {len(value):,}.")
        return {read_name(name, f"{where}, a name"): read(item, f"{where}.{name}") for name, item in value.items()}

    return read_mapping


def record(readers: Mapping[str, Reader], make: Callable[..., Any] = dict) -> Reader:
    """Returns the reader of an object with exactly these names; it gives `make(**values)`."""

    def read_record(value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            refuse(where, "an object", value)
        for name in value:
            if name not in readers:
                refuse(where, f"the names {', '.join(readers)}", name)
        for name in readers:
            if name not in value:
                raise CourseError(f"{where}: expected the name {name!r}, got an object without it.")
        return make(**{name: read(value[name], f"{where}.{name}") for name, read in readers.items()})

    return read_record
