"""Compares an answer with the right one, and says in words how they differ without giving the right one away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from numbers import Number
from typing import Any


def same(given: Any, right: Any, rtol: float, atol: float) -> bool:
    """Returns whether two answers agree: numbers and tensors within the tolerance, texts without regard to case, containers item by item."""
    if isinstance(right, str) or isinstance(given, str):
        return isinstance(right, str) and isinstance(given, str) and _plain_text(given) == _plain_text(right)
    if isinstance(right, bool) or isinstance(given, bool):
        return isinstance(right, bool) and isinstance(given, bool) and given == right
    if _is_numeric(right) and _is_numeric(given):
        import numpy

        first, second = to_array(given), to_array(right)
        return first.shape == second.shape and bool(numpy.allclose(first, second, rtol=rtol, atol=atol, equal_nan=True))
    if isinstance(right, Mapping) and isinstance(given, Mapping):
        return right.keys() == given.keys() and all(same(given[key], right[key], rtol, atol) for key in right)
    if isinstance(right, (list, tuple)) and isinstance(given, (list, tuple)):
        return len(right) == len(given) and all(same(*pair, rtol, atol) for pair in zip(given, right, strict=True))
    if isinstance(right, Set) and isinstance(given, Set):
        return {_plain_text(item) for item in given} == {_plain_text(item) for item in right}
    return type(right) is type(given) and bool(right == given)


def has_ellipsis(value: Any) -> bool:
    """Returns whether a value is `...` or holds one, at any depth."""
    if isinstance(value, Mapping):
        return any(map(has_ellipsis, value.values()))
    if isinstance(value, (list, tuple, Set)):
        return any(map(has_ellipsis, value))
    return value is Ellipsis


def describe_difference(given: Any, right: Any, rtol: float, atol: float) -> str:
    """Returns how a wrong answer differs from the right one: its kind, its shape, its sign, its scale, or only that it does."""
    if kind_of(given) != kind_of(right):
        return f"expected {kind_of(right)}, got {kind_of(given)}"
    if isinstance(right, Mapping):
        key = next(key for key in right if not same(given[key], right[key], rtol, atol))
        return f"item {key!r}: {describe_difference(given[key], right[key], rtol, atol)}"
    if isinstance(right, (list, tuple)) and not _is_numeric(right):
        index = next(index for index, pair in enumerate(zip(given, right, strict=True)) if not same(*pair, rtol, atol))
        return f"item {index}: {describe_difference(given[index], right[index], rtol, atol)}"
    if _is_numeric(right) and not isinstance(right, bool):
        return _numeric_difference(to_array(given), to_array(right), rtol, atol)
    return f"{given!r} is not right" if isinstance(right, (str, bool)) else f"this is not the {type(right).__name__} that was asked for"


def kind_of(value: Any) -> str:
    """Returns what a value is, in words: "a number", "a tensor of shape [2, 3]", "a text", ..."""
    if isinstance(value, bool):
        return "True or False"
    if isinstance(value, str):
        return "a text"
    if _is_numeric(value):
        shape = list(to_array(value).shape)
        return f"numbers of shape {shape}" if shape else "a number"
    if isinstance(value, Mapping):
        return f"a dictionary with the keys {', '.join(sorted(map(repr, value)))}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)} items"
    return f"a value of type {type(value).__name__}"


def to_array(value: Any):
    """Returns a number, array, tensor or flat list of numbers as a float64 (or complex) NumPy array."""
    import numpy

    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.double().numpy() if value.is_floating_point() else value.numpy()
    array = numpy.asarray(value)
    return array if array.dtype.kind == "c" else array.astype(numpy.float64)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(isinstance(item, Number) and not isinstance(item, bool) for item in value)
    if isinstance(value, Number) or hasattr(value, "detach"):
        return True
    return getattr(getattr(value, "dtype", None), "kind", "") in tuple("biufc")


def _numeric_difference(given: Any, right: Any, rtol: float, atol: float) -> str:
    import numpy

    if not numpy.isfinite(given).all() and numpy.isfinite(right).all():
        return "your result holds NaN or infinity"
    if numpy.allclose(given, -right, rtol=rtol, atol=atol):
        return "the sign is the wrong way round"
    if right.size == 1:
        return f"your {_short(given.item())} is too {'large' if given.item() > right.item() else 'small'}"
    nonzero = numpy.abs(right) > atol
    ratios = given[nonzero] / right[nonzero]
    if ratios.size > 1 and numpy.allclose(ratios, ratios[0], rtol=1e-3) and numpy.allclose(given[~nonzero], 0, atol=atol):
        return f"every value is {_short(ratios[0])} times what it should be"
    offsets = given - right
    if numpy.allclose(offsets, offsets.flat[0], rtol=1e-3, atol=atol):
        return f"every value is off by the same amount, {_short(offsets.flat[0])}"
    wrong = int((~numpy.isclose(given, right, rtol=rtol, atol=atol)).sum())
    return f"the shape {list(right.shape)} is right, but {wrong} of {right.size} values differ"


def _short(value: Any) -> str:
    return f"{value:.4g}" if not isinstance(value, complex) and math.isfinite(value) else str(value)


def _plain_text(value: Any) -> Any:
    return " ".join(value.split()).casefold() if isinstance(value, str) else value
