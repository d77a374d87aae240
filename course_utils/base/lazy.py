"""Lazy doors: a package offers names from its modules without importing any of them before one is
used.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_door(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns the functions `__getattr__` and `__dir__` of a package that offers `names`, and its
    own modules, on demand.

    Importing torch costs seconds, so `import course_utils` and `course --help` must not pay for it.

    Args:
        package: its dotted name, `__name__`.
        names: what it offers, by the module that defines it: `{"course_utils.data":
            ["load_dataset"]}`.

    Source: PEP 562, module `__getattr__`.
    """
    homes = {name: module for module, offered in names.items() for name in offered}

    def load(name: str) -> Any:
        if name in homes:
            value = getattr(importlib.import_module(homes[name]), name)
        elif importlib.util.find_spec(f"{package}.{name}") is not None:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        modules = [module.name for module in pkgutil.iter_modules(sys.modules[package].__path__)]
        return sorted({*vars(sys.modules[package]), *homes, *modules})

    return load, listed
