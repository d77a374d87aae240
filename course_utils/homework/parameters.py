"""Which changes of a class model count for the assignment: at least three that are allowed, in range, and have an effect."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from course_utils.config import flatten, override
from course_utils.errors import CourseError, unknown
from course_utils.homework.budgets import homework_preset
from course_utils.homework.idle import effective, why_idle
from course_utils.homework.settings import FIXED, MEMORIES, Setting, settings_of
from course_utils.presets import Experiment

MIN_COUNTED = 3  # changes in each model
SMALLEST_CHANGE = 0.01  # relative; less is no change that could be examined


@dataclass(frozen=True)
class Entry:
    """What one change is worth.

    Attributes:
        name, value: as they were given.
        baseline: the value in class; None where there is no such setting.
        status: "counts"; "idle" and "free", which may be changed but do not count; "refused", with which nothing is run.
        message: why it does not count, without its name; "" where it does.
    """

    name: str
    value: Any
    baseline: Any
    status: Literal["counts", "idle", "free", "refused"]
    message: str = ""

    def __str__(self) -> str:
        if self.status == "counts":
            return f"{self.name}: {plain(self.baseline)} -> {plain(self.value)}: counts"
        return f"{self.name}: {self.message}"


@dataclass(frozen=True)
class ChangeReport:
    """What all changes of one model are worth; printing it prints the live count.

    Attributes:
        family: of the model.
        entries: one a change.
        experiment: the changed model, None where a change is refused.
    """

    family: str
    entries: tuple[Entry, ...]
    experiment: Experiment | None

    @property
    def num_counted(self) -> int:
        return sum(entry.status == "counts" for entry in self.entries)

    @property
    def problems(self) -> tuple[str, ...]:
        """What has to be put right before anything is run."""
        return tuple(str(entry) for entry in self.entries if entry.status == "refused")

    @property
    def enough(self) -> bool:
        """Whether the assignment's rule for the changes is met."""
        return not self.problems and self.num_counted >= MIN_COUNTED

    def __str__(self) -> str:
        lines = [f"{self.num_counted} of {MIN_COUNTED} parameters count", *(f"  {entry}" for entry in self.entries)]
        return "\n".join(lines if self.entries else [lines[0], "  nothing is changed yet"])


def validate_changes(family: str, changes: Mapping[str, Any], budget_name: str = "laptop") -> ChangeReport:
    """Returns what changes of a class model are worth, at once and without training anything.

    Args:
        family: "vae", "dcgan" or "diffusion".
        changes: `{dotted name: value}`, such as `{"model.latent_dim": 8}`.
        budget_name: of the class model that is changed.

    Raises:
        CourseError: no such family or budget. Wrong changes are not raised but reported.
    """
    return judge_changes(homework_preset(family, budget_name), changes)


def judge_changes(baseline: Experiment, changes: Mapping[str, Any]) -> ChangeReport:
    """Returns what changes of any baseline are worth; see `validate_changes`."""
    if not isinstance(changes, Mapping):
        raise CourseError(f"changes: expected a dict such as {{'model.latent_dim': 8}}, got {changes!r}.")
    settings, before = settings_of(baseline.family), flatten(baseline)
    refused = _wrong_names(changes, settings)
    refused |= _wrong_values(baseline, {name: value for name, value in changes.items() if name not in refused}, settings)
    changed = override(baseline, {name: value for name, value in changes.items() if name not in refused})
    entries = []
    for name, value in changes.items():
        status, message = ("refused", refused[name]) if name in refused else _worth(name, baseline, changed, settings[name])
        entries.append(Entry(str(name), value, before.get(name), status, message))
    return ChangeReport(baseline.family, tuple(entries), None if refused else changed)


def _wrong_names(changes: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, str]:
    """Returns a message for each name that is no setting of the model, is not the student's to change, or stands for one that is there already."""
    wrong: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name in changes:
        meant = _normal(name, settings)
        if meant in seen:
            wrong[name] = f"is the same parameter as {seen[meant]}; it has one value and counts once"
        elif meant in FIXED:
            wrong[name] = f"does not count and cannot be changed: {FIXED[meant]}"
        elif name not in settings:
            wrong[name] = str(unknown("parameter", name, settings)).rstrip(".")
        seen.setdefault(meant, name)
    return wrong


def _normal(name: Any, settings: Iterable[str]) -> str:
    """Returns the name that was meant: without blanks and capitals, and with its group where that is left out."""
    text = str(name).strip().casefold().replace("__", ".").replace("-", "_")
    return next((full for full in (*settings, *FIXED) if text == full or text == full.partition(".")[2]), text)


def _wrong_values(baseline: Experiment, changes: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, str]:
    """Returns a message for each value that the model or the homework does not accept; what is left can be changed together."""
    wrong = {name: message for name, value in changes.items() if (message := _out_of_range(value, settings[name]))}
    while error := _error(baseline, rest := {name: value for name, value in changes.items() if name not in wrong}):
        alone = {name: message for name, value in rest.items() if (message := _error(baseline, {name: value}))}
        wrong |= alone or {next(reversed(rest)): f"does not go with the other changes: {error}"}
    return wrong


def _error(baseline: Experiment, changes: Mapping[str, Any]) -> str:
    """Returns what the model says against changes, without the name of a single one; "" where it accepts them."""
    try:
        override(baseline, changes)
        return ""
    except CourseError as error:
        name = next(iter(changes)) if len(changes) == 1 else ""
        return str(error).rstrip(".").removeprefix(f"{name}: ").removeprefix(f"{name.partition('.')[2]}: ")


def _out_of_range(value: Any, setting: Setting) -> str:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if setting.longest > 1 and len(items) > setting.longest:
        return f"expected at most {setting.longest} entries, got {len(items)}"
    for item in items:
        if type(item) in (int, float) and setting.low is not None and not setting.low <= item <= setting.high:
            return f"out of range: expected {range_in_words(setting)}, got {item!r}"
    return ""


def _worth(name: str, baseline: Experiment, changed: Experiment, setting: Setting) -> tuple[str, str]:
    """Returns status and message of a change that may be made, among the others that may."""
    if not setting.counts:
        return "free", f"may be changed but does not count: {setting.why_not}"
    old, new = flatten(baseline)[name], flatten(changed)[name]
    if old == new:
        return "idle", f"no effect: {plain(old)} is the value in class"
    if _nearly_equal(name, old, new):
        return "idle", f"no effect to be seen: {plain(new)} differs from {plain(old)} by less than {SMALLEST_CHANGE:.0%}"
    try:
        without = override(changed, {name: old})
    except CourseError:  # the other changes need this one
        return "counts", ""
    if effective(without) == effective(changed):
        return "idle", f"no effect: {why_idle(changed, name)}"
    return "counts", ""


def _nearly_equal(name: str, old: Any, new: Any) -> bool:
    """Returns whether two floats, or two lists of them, differ by less than could be examined; whole numbers always differ."""
    old, new = (list(value) if isinstance(value, (list, tuple)) else [value] for value in (old, new))
    if len(old) != len(new) or not all(isinstance(value, float) for value in (*old, *new)):
        return False
    if name in MEMORIES:
        old, new = ([1 - value for value in values] for values in (old, new))
    return all(math.isclose(a, b, rel_tol=SMALLEST_CHANGE) for a, b in zip(old, new))


def plain(value: Any) -> str:
    """Returns a setting's value as it is written in `changes`."""
    return str(list(value)) if isinstance(value, tuple) else repr(value)


def range_in_words(setting: Setting, hint: Any = None) -> str:
    """Returns what values are accepted, such as "1 to 128" or "'mlp' or 'conv'"."""
    if setting.low is not None:
        return f"{setting.low:g} to {setting.high:g}"
    return " or ".join(map(repr, get_args(hint))) if get_origin(hint) is Literal else "True or False"


def parameter_rows(family: str, budget_name: str = "laptop") -> list[dict[str, str]]:
    """Returns the class baseline as rows of texts: parameter, value in class, range, unit, meaning, and whether a change of it counts."""
    baseline = homework_preset(family, budget_name)
    values = flatten(baseline)
    hints = {group: get_type_hints(type(getattr(baseline, group))) for group in ("model", "train")}
    rows = []
    for name, setting in settings_of(family).items():
        group, field = name.split(".")
        row = {"parameter": name, "in class": plain(values[name]), "range": range_in_words(setting, hints[group][field])}
        rows.append({**row, "unit": setting.unit, "meaning": setting.meaning, "counts": "yes" if setting.counts else f"no: {setting.why_not}"})
    return rows


def counted_names(report: ChangeReport) -> Sequence[str]:
    """Returns the changes that count."""
    return [entry.name for entry in report.entries if entry.status == "counts"]
