"""Running one model of the homework: the class model and the changed one with every seed, and on request all changes but one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from course_utils.compare import Comparison, compare
from course_utils.config import override
from course_utils.data.base import Dataset
from course_utils.errors import CourseError
from course_utils.homework.budgets import homework_preset
from course_utils.homework.folder import StudyFolder
from course_utils.homework.measure import METRICS, MetricInfo, incomparable, measure_for
from course_utils.homework.plan import ready_plan
from course_utils.presets import Experiment
from course_utils.sweep import sweep
from course_utils.sweep_rows import Row


@dataclass(frozen=True)
class Variant:
    """One experiment for all seeds and what it is for, as the rows say it."""

    kind: str
    ablated: str | None
    experiment: Experiment

    @property
    def labels(self) -> dict[str, Any]:
        return {"kind": self.kind, "ablated": self.ablated}


def variants(family: str, budget_name: str, changes: Mapping[str, Any]) -> list[Variant]:
    """Returns the class model and the model with all changes."""
    baseline = homework_preset(family, budget_name)
    return [Variant("baseline", None, baseline), Variant("changed", None, override(baseline, changes))]


def ablations(family: str, budget_name: str, changes: Mapping[str, Any]) -> list[Variant]:
    """Returns the models with all changes but one; one that the others need cannot be left out."""
    baseline, found = homework_preset(family, budget_name), []
    for left_out in changes:
        rest = {name: value for name, value in changes.items() if name != left_out}
        try:
            found.append(Variant("ablation", left_out, override(baseline, rest)))
        except CourseError as error:
            print(f"{left_out} cannot be left out: the other changes need it ({str(error).rstrip('.')})")
    return found


def run_study(
    place: StudyFolder, dataset: Dataset, *, ablate: bool = False, workers: int = 1, backend: str = "loky", scheduler: str | None = None
) -> list[Row]:
    """Returns the rows of the class model and of the changed one, all seeds, after running what is missing; see `sweep`.

    Args:
        place: the student's folder; it must hold a complete plan.
        dataset: the one that `homework.json` names.
        ablate: also run the models with all changes but one.

    Raises:
        CourseError: no plan or prediction, another dataset, or runs that failed.
    """
    plan = ready_plan(place)
    if dataset.name != place.dataset_name:
        raise CourseError(f"{place.folder}: expected the dataset {place.dataset_name!r} of its homework.json, got {dataset.name!r}.")
    wanted = variants(place.family, place.budget, plan.changes)
    wanted += ablations(place.family, place.budget, plan.changes) if ablate else []
    pairs = [(replace(variant.experiment, seed=seed), variant.labels) for seed in place.seeds for variant in wanted]
    experiments, labels = zip(*pairs)
    options = {"labels": labels, "workers": workers, "backend": backend, "scheduler": scheduler}
    return sweep(experiments, dataset, measure_for(place.budget), place.rows_path, **options)


@dataclass(frozen=True)
class Effect:
    """What the changes did to one metric.

    Attributes:
        comparison: of the two models.
        info: how to read the metric.
        incomparable: changed settings that changed what the metric means, so that no verdict is given.
    """

    comparison: Comparison
    info: MetricInfo
    incomparable: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Real and in which direction, within noise, or why there is no verdict."""
        if self.incomparable:
            return f"not comparable: {', '.join(self.incomparable)} changes its meaning"
        if not self.comparison.verdict:
            return self.comparison.judgement
        rose = self.comparison.verdict.difference > 0
        if not self.info.better:
            return f"real: {'higher' if rose else 'lower'}"
        return f"real: {'better' if rose == (self.info.better == 'higher') else 'worse'}"

    def as_row(self) -> dict[str, str]:
        """Returns the cells of a table."""
        name = self.comparison.name + (f" ({self.info.unit})" if self.info.unit else "")
        numbers = {"class model": self.comparison.baseline.number, "changed model": self.comparison.changed.number}
        return {"metric": name, **numbers, "verdict": self.verdict, "better": self.info.better, "meaning": self.info.meaning}


def effects_of(place: StudyFolder, changes: Mapping[str, Any]) -> list[Effect]:
    """Returns what the changes did to each metric, from the rows of the seeds that both models have.

    Raises:
        CourseError: no seed has run with both models.
    """
    rows = {kind: place.rows(kind) for kind in ("baseline", "changed")}
    shared = {row["seed"] for row in rows["baseline"]} & {row["seed"] for row in rows["changed"]}
    if not shared:
        raise CourseError(f"{place.family}: no seed has run with both models yet; run them first.")
    both = ([row for row in rows[kind] if row["seed"] in shared] for kind in rows)
    return [Effect(one, METRICS.get(one.name, MetricInfo("", "", "")), incomparable(one.name, changes)) for one in compare(*both)]


def ablation_effects(place: StudyFolder, changes: Sequence[str]) -> dict[str, list[Comparison]]:
    """Returns, for each change that was left out, the changed model compared with the one without it; those that have not run are missing."""
    changed, found = place.rows("changed"), {}
    for name in changes:
        without = place.rows("ablation", name)
        if without and changed:
            found[name] = compare(without, changed)
    return found
