"""The rows of a comparison as a table with error bars over seeds, as JSON, CSV and one figure."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_utils.errors import CourseError
from course_utils.files import atomic_path, write_json, write_text
from course_utils.metrics.result import Measurement, seed_error

# Which end is good; for a metric that is not listed, neither is.
BETTER = {
    "FID": "lower", "KID": "lower", "class KL": "lower", "NLL": "lower", "training seconds": "lower", "network calls": "lower",
    "precision": "higher", "recall": "higher", "sharpness": "higher", "diversity": "higher", "Inception Score": "higher", "class coverage": "higher",
}  # fmt: skip
P_VALUES = {"copy p-value"}


@dataclass(frozen=True)
class Cell:
    """One metric of one family.

    Attributes:
        mean: over the seeds.
        error: standard error of the mean from the spread between seeds; of one seed, the error that the metric itself reports; NaN where unknown.
        values: one for each seed.
    """

    mean: float
    error: float
    values: tuple[float, ...]

    @property
    def text(self) -> str:
        """Mean and error in words, such as "3.2 ± 0.1"; large numbers without decimals."""
        if not math.isfinite(self.error) or self.error == 0:  # parameters, network calls: no noise to speak of
            return f"{self.mean:,.0f}" if self.mean == round(self.mean) else f"{self.mean:.3g}"
        return Measurement("", self.mean, self.error, len(self.values)).number


@dataclass(frozen=True)
class Comparison:
    """All rows of one protocol.

    Attributes:
        protocol: what was equal for all.
        rows: one for each family and seed, as in `rows.jsonl`.
    """

    protocol: dict[str, Any]
    rows: tuple[dict[str, Any], ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise CourseError("a comparison needs at least one row; got none.")

    @property
    def families(self) -> list[str]:
        return list(dict.fromkeys(row["family"] for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row["metrics"]))

    def cell(self, metric: str, family: str) -> Cell | None:
        """Returns a metric of a family over its seeds, or None where it has no such number. Of p-values it is the smallest: they have no mean."""
        found = [row["metrics"][metric] for row in self.rows if row["family"] == family and metric in row["metrics"]]
        values = tuple(one["value"] for one in found)
        if not values:
            return None
        if metric in P_VALUES:
            return Cell(min(values), math.nan, values)
        if len(values) > 1:
            return Cell(*seed_error(values), values)
        return Cell(values[0], math.nan if found[0]["error"] is None else found[0]["error"], values)

    def floor(self, metric: str) -> tuple[float, float] | None:
        """Returns the value of real images, the mean over seeds, and its error within a seed; None where there is none."""
        found = [row["metrics"][metric] for row in self.rows if metric in row["metrics"] and row["metrics"][metric]["floor"] is not None]
        if not found:
            return None
        errors = [one["floor_error"] for one in found]
        return sum(one["floor"] for one in found) / len(found), math.nan if None in errors else sum(errors) / len(errors)

    def __str__(self) -> str:
        seeds = {family: sum(row["family"] == family for row in self.rows) for family in self.families}
        lines = [["metric", *(f"{family} ({num} seed{'s' if num > 1 else ''})" for family, num in seeds.items()), "real images", "better"]]
        for metric in self.metrics:
            cells, floor = [self.cell(metric, family) for family in self.families], self.floor(metric)
            floor_text = "-" if floor is None else Cell(*floor, (floor[0],)).text
            lines.append([metric, *("-" if cell is None else cell.text for cell in cells), floor_text, BETTER.get(metric, "")])
        widths = [max(map(len, column)) for column in zip(*lines)]
        head = f"{self.protocol['num_images']:,} samples of each training against {self.protocol['dataset']} test, preset {self.protocol['budget']}"
        notes = ["± is one standard error over seeds; of one seed, over images. Of p-values the smallest is shown."]
        notes.append("Real images: training images in place of the samples.")
        machines = sorted({row["trained_on"] for row in self.rows})
        notes.append(f"trained on {'; '.join(machines)}" + ("; seconds of different machines do not compare" if len(machines) > 1 else ""))
        return "\n".join([head, *("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in lines), *notes])

    def as_dict(self) -> dict[str, Any]:
        """Returns protocol, summary and rows for JSON."""
        summary: dict[str, dict[str, Any]] = {}
        for metric in self.metrics:
            cells = {family: self.cell(metric, family) for family in self.families}
            summary[metric] = {family: _for_json(asdict(cell)) for family, cell in cells.items() if cell is not None}
            if (floor := self.floor(metric)) is not None:
                summary[metric]["real images"] = _for_json(dict(zip(("mean", "error"), floor)))
        return {"protocol": self.protocol, "summary": summary, "rows": list(self.rows)}

    def csv(self) -> str:
        """Returns one line for each family, seed and metric."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("family", "seed", "weights", "metric", "value", "error", "real_images", "real_images_error"))
        for row in self.rows:
            for name, number in row["metrics"].items():
                numbers = [number[key] for key in ("value", "error", "floor", "floor_error")]
                writer.writerow((row["family"], row["seed"], row["weights"], name, *numbers))
        return text.getvalue()

    def save(self, out: Path) -> list[Path]:
        """Writes comparison.json, comparison.csv and comparison.png into a folder; returns their paths."""
        from course_utils.plotting.protocol import comparison_panels

        paths = [Path(out) / f"comparison.{kind}" for kind in ("json", "csv", "png")]
        write_json(paths[0], self.as_dict())
        write_text(paths[1], self.csv())
        with atomic_path(paths[2]) as partial:
            self_panels = {metric: {family: cell for family in self.families if (cell := self.cell(metric, family))} for metric in self.metrics}
            comparison_panels(self_panels, {metric: self.floor(metric) for metric in self.metrics}, BETTER).savefig(partial, format="png", dpi=140)
        return paths


def _for_json(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the same with None in place of NaN."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}
