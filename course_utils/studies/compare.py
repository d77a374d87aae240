"""What `course compare` does: one frozen protocol for every family and seed, as a table with error
bars that can be stopped and taken up again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from course_utils.base.config import require
from course_utils.base.errors import CourseError, unknown
from course_utils.base.files import (
    atomic_path,
    locked,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
    write_text,
)
from course_utils.data.dataset import Dataset
from course_utils.metrics.measurement import Measurement, mean_over_images, seed_error
from course_utils.models.base import Model
from course_utils.studies.copies import MemorizationAudit, split_training
from course_utils.studies.draw import draw_images, drawing_seconds, label_frequencies, network_calls
from course_utils.studies.evaluate import (
    METRICS,
    MIN_IMAGES,
    check_num_images,
    evaluate_images,
    find_classifier,
    find_extractor,
    negative_log_likelihood,
    shipped_classifier,
)
from course_utils.studies.textbook import CONTRAST, UNEVENNESS, edge_contrast, latent_measurements
from course_utils.training.presets import preset
from course_utils.training.registry import REGISTRY
from course_utils.training.runs import Run, find_or_train, find_run, machine

if TYPE_CHECKING:
    import pandas as pd

# Which end is good; for a metric that is not listed, neither is.
BETTER = {
    "FID": "lower",
    "KID": "lower",
    "class KL": "lower",
    "NLL": "lower",
    "training seconds": "lower",
    "network calls": "lower",
    UNEVENNESS: "lower",
    "precision": "higher",
    "recall": "higher",
    "sharpness": "higher",
    "diversity": "higher",
    "Inception Score": "higher",
    "class coverage": "higher",
}
P_VALUES = {"copy p-value"}


@dataclass(frozen=True)
class Cell:
    """One metric of one family.

    Attributes:
        mean: over the seeds.
        error: standard error of the mean from the spread between seeds; of one seed, the error that
            the metric itself reports; NaN where unknown.
        values: one for each seed.
    """

    mean: float
    error: float
    values: tuple[float, ...]

    @property
    def text(self) -> str:
        """Mean and error in words, such as "3.2 ± 0.1"; large numbers without decimals."""
        # parameters, network calls: no noise to speak of
        if not math.isfinite(self.error) or self.error == 0:
            return f"{self.mean:,.0f}" if self.mean == round(self.mean) else f"{self.mean:.3g}"
        return Measurement("", self.mean, self.error, len(self.values)).number


@dataclass(frozen=True)
class FamilyComparison:
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
        """Returns a metric of a family over its seeds, or None where it has no such number. Of
        p-values it is the smallest: they have no mean.
        """
        found = [
            row["metrics"][metric]
            for row in self.rows
            if row["family"] == family and metric in row["metrics"]
        ]
        values = tuple(one["value"] for one in found)
        if len(values) == 0:
            return None
        if metric in P_VALUES:
            return Cell(min(values), math.nan, values)
        if len(values) > 1:
            return Cell(*seed_error(values), values)
        return Cell(values[0], math.nan if found[0]["error"] is None else found[0]["error"], values)

    def floor(self, metric: str) -> tuple[float, float] | None:
        """Returns the value of real images, the mean over seeds, and its error within a seed; None
        where there is none.
        """
        found = [
            row["metrics"][metric]
            for row in self.rows
            if metric in row["metrics"] and row["metrics"][metric]["floor"] is not None
        ]
        if not found:
            return None
        errors = [one["floor_error"] for one in found]
        return sum(one["floor"] for one in found) / len(found), (
            math.nan if None in errors else sum(errors) / len(errors)
        )

    def table(self) -> pd.DataFrame:
        """Returns the table in words: a row for each metric; a column for each family, for real
        images, and for which end is better.
        """
        import pandas as pd

        columns: dict[str, list[str]] = {}
        for family in self.families:
            num_seeds = sum(row["family"] == family for row in self.rows)
            cells = [self.cell(metric, family) for metric in self.metrics]
            columns[f"{family} ({num_seeds} seed{'s' if num_seeds > 1 else ''})"] = [
                "-" if cell is None else cell.text for cell in cells
            ]
        floors = [self.floor(metric) for metric in self.metrics]
        columns["real images"] = [
            "-" if floor is None else Cell(*floor, (floor[0],)).text for floor in floors
        ]
        columns["better"] = [BETTER.get(metric, "") for metric in self.metrics]
        return pd.DataFrame(columns, index=pd.Index(self.metrics, name="metric"))

    def __str__(self) -> str:
        head = (
            f"{self.protocol['num_images']:,} samples of each training against"
            f" {self.protocol['dataset']} test, preset {self.protocol['budget']}"
        )
        notes = [
            "± is one standard error over seeds; of one seed, over images. Of p-values the smallest"
            " is shown."
        ]
        notes.append("Real images: training images in place of the samples.")
        machines = sorted({row["trained_on"] for row in self.rows})
        notes.append(
            f"trained on {'; '.join(machines)}"
            + ("; seconds of different machines do not compare" if len(machines) > 1 else "")
        )
        for row in self.rows:
            notes += [why for why in row.get("left_out", ()) if why not in notes]
        return "\n".join([head, self.table().to_string(), *notes])

    def as_dict(self) -> dict[str, Any]:
        """Returns protocol, summary and rows for JSON."""
        summary: dict[str, dict[str, Any]] = {}
        for metric in self.metrics:
            cells = {family: self.cell(metric, family) for family in self.families}
            summary[metric] = {
                family: _for_json(asdict(cell))
                for family, cell in cells.items()
                if cell is not None
            }
            if (floor := self.floor(metric)) is not None:
                summary[metric]["real images"] = _for_json(dict(zip(("mean", "error"), floor)))
        return {"protocol": self.protocol, "summary": summary, "rows": list(self.rows)}

    def csv(self) -> str:
        """Returns one line for each family, seed and metric."""
        import pandas as pd

        lines = []
        for row in self.rows:
            for name, number in row["metrics"].items():
                numbers = [number[key] for key in ("value", "error", "floor", "floor_error")]
                lines.append((row["family"], row["seed"], row["weights"], name, *numbers))
        columns = [
            "family",
            "seed",
            "weights",
            "metric",
            "value",
            "error",
            "real_images",
            "real_images_error",
        ]
        return pd.DataFrame(lines, columns=columns, dtype=object).to_csv(
            index=False, lineterminator="\n"
        )

    def save(self, out: Path) -> list[Path]:
        """Writes comparison.json, comparison.csv and comparison.png into a folder; returns their
        paths.
        """
        from course_utils.plotting.compare import comparison_panels

        paths = [Path(out) / f"comparison.{kind}" for kind in ("json", "csv", "png")]
        write_json(paths[0], self.as_dict())
        write_text(paths[1], self.csv())
        with atomic_path(paths[2]) as partial:
            self_panels = {
                metric: {
                    family: cell for family in self.families if (cell := self.cell(metric, family))
                }
                for metric in self.metrics
            }
            comparison_panels(
                self_panels, {metric: self.floor(metric) for metric in self.metrics}, BETTER
            ).savefig(partial, format="png", dpi=140)
        return paths


def _for_json(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the same with None in place of NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }


TABLES = Path(__file__).resolve().parent.parent / "tables"


def shipped_rows(name: str, dataset: str) -> list[dict[str, Any]]:
    """Returns the rows of a table as its benchmark wrote them, such as `shipped_rows("inverse",
    "strokes")`.

    Raises:
        CourseError: no such table, or none for this dataset.
    """
    return read_jsonl(_path(name, dataset, ".jsonl"))


def shipped_comparison(dataset: str) -> FamilyComparison:
    """Returns the shipped result of `course compare vae dcgan diffusion --seeds 3` on a dataset.

    Raises:
        CourseError: none ships for this dataset.
    """
    found = read_json(_path("compare", dataset, ".json"))
    return FamilyComparison(found["protocol"], tuple(found["rows"]))


def shipped_datasets(name: str) -> list[str]:
    """Returns the datasets that a table ships for, such as `["mnist", "strokes"]` for "inverse";
    none for an unknown name.
    """
    return sorted(path.stem.removeprefix(f"{name}-") for path in TABLES.glob(f"{name}-*.json*"))


def _path(name: str, dataset: str, suffix: str) -> Path:
    path = TABLES / f"{name}-{dataset}{suffix}"
    if not path.exists():
        raise unknown(
            "shipped table", path.stem, sorted(one.stem for one in TABLES.glob(f"*{suffix}"))
        )
    return path


ROWS, PROTOCOL = "rows.jsonl", "protocol.json"
COMPARED = ("fid", "kid", "inception_score", "precision_recall", "classes")
FEW = 100  # images of the shorter of the two timings


@dataclass(frozen=True)
class Protocol:
    """All that is equal for every family and seed; two tables compare only where this is equal."""

    dataset: str  # name
    budget: str  # of the presets: smoke, laptop or gpu
    # that FID, KID, precision, recall and one of the tests for copies see
    features: str = "classifier"
    num_images: int = 10_000  # that are drawn, and of the real ones that they are compared with
    num_copy_images: int = 2000  # of them, that are tested for copies
    # training images that are left aside as held-out ones; 0 takes the test images for that
    num_heldout: int = 0
    num_likelihood_images: int = 1000  # test images whose likelihood is asked for
    num_likelihood_draws: int = 200  # importance samples for each of them
    dataset_sha256: str = ""

    def __post_init__(self) -> None:
        least = f"at least {MIN_IMAGES}"
        require(self.num_images >= MIN_IMAGES, "num_images", least, self.num_images)
        require(
            self.num_likelihood_images >= 2,
            "num_likelihood_images",
            "at least 2",
            self.num_likelihood_images,
        )
        require(
            self.num_likelihood_draws >= 1,
            "num_likelihood_draws",
            "at least 1",
            self.num_likelihood_draws,
        )
        require(self.num_heldout >= 0, "num_heldout", "0 or more", self.num_heldout)
        require(
            2 <= self.num_copy_images <= self.num_images,
            "num_copy_images",
            f"2 to {self.num_images}",
            self.num_copy_images,
        )


def make_protocol(
    dataset: Dataset,
    budget: str,
    num_images: int | None = None,
    features: str | None = None,
    num_heldout: int = 0,
) -> Protocol:
    """Returns the protocol of a budget: 10,000 images or as many as there are to compare with, for
    "smoke" a few hundred.

    Args:
        features: as for `find_extractor`; None writes down what is there now, so that a comparison
            goes on with the features that it began with.

    Raises:
        CourseError: more images than the dataset has to compare with or to train on.
    """
    smoke = budget == "smoke"
    available = min(len(dataset.train_images), len(dataset.test_images))
    num_images = min(300 if smoke else 10_000, available) if num_images is None else num_images
    check_num_images(num_images, dataset)
    few = (
        {"num_likelihood_images": 50, "num_likelihood_draws": 10}
        if smoke
        else {"num_likelihood_images": 1000}
    )
    few["num_likelihood_images"] = min(few["num_likelihood_images"], len(dataset.test_images))
    num_train = len(dataset.train_images)
    if not 0 <= num_heldout < num_train:
        raise CourseError(
            f"--hold-out: expected 0 to {num_train - 1:,} of the {num_train:,} training images of"
            f" {dataset.name}, got {num_heldout:,}."
        )
    features = _lasting_name(dataset) if features is None else features
    return Protocol(
        dataset.name,
        budget,
        features,
        num_images,
        min(2000, num_images),
        num_heldout,
        dataset_sha256=dataset.sha256,
        **few,
    )


def _lasting_name(dataset: Dataset) -> str:
    """Returns the features that None means now, as a name that means the same later."""
    if find_extractor(None, dataset).classifier is None:  # prints why
        return "pixels"
    if shipped_classifier(dataset) is not None:
        return "classifier"
    own = find_classifier(dataset)
    assert own is not None  # its features were just found
    return str(own.folder)


def compare_families(
    families: Sequence[str],
    dataset: Dataset,
    protocol: Protocol,
    num_seeds: int,
    out: Path | str,
    *,
    use_shipped: bool = True,
) -> FamilyComparison:
    """Returns the comparison of families, training what is not trained and measuring what is not
    measured.

    Rows go to `out/rows.jsonl`, each when it is finished. The same call goes on where an earlier
    one stopped; more families or seeds add rows.

    Args:
        families: names of presets or variants, such as "vae" or "dcgan-plain"; all of them can
            sample.
        dataset: what to train on and to compare with.
        protocol: from `make_protocol`.
        num_seeds: trainings of each family, seeds 0, 1, ...
        out: folder of the tables.
        use_shipped: take weights that ship with the course where they are those of an equal
            experiment. Their training time is that of another machine; every row says which.

    Raises:
        CourseError: an unknown family, one that cannot sample, or a folder that holds a comparison
            by another protocol.
        KeyboardInterrupt: stopped by hand; what was measured is kept.
    """
    require(num_seeds >= 1, "seeds", "at least 1", num_seeds)
    for family in families:  # before hours of training, not after
        if not REGISTRY[preset(family, protocol.budget).family][1].can_sample:
            raise CourseError(f"{family}: cannot sample; compare generative families.")
    # of the whole dataset, also where some of its images are left aside below
    seen = find_extractor(protocol.features, dataset)
    out = Path(out)
    rows = _resumed(out, protocol)
    heldout = None
    if protocol.num_heldout:  # the shipped weights have seen those images
        dataset, heldout = split_training(dataset, len(dataset.train_images) - protocol.num_heldout)
        use_shipped = False
    judge = MemorizationAudit(dataset, seen, protocol.num_copy_images, heldout)
    for seed in range(num_seeds):
        for family in dict.fromkeys(families):
            if any((row["family"], row["seed"]) == (family, seed) for row in rows):
                continue
            row = _measured_row(family, seed, dataset, protocol, judge, use_shipped)
            rows = _added(out, row)
            print(_line(row), flush=True)
    return FamilyComparison(
        asdict(protocol),
        tuple(row for row in rows if row["family"] in families and row["seed"] < num_seeds),
    )


def _resumed(out: Path, protocol: Protocol) -> list[dict[str, Any]]:
    """Returns the rows that are there, and writes down the protocol where there are none."""
    if not (out / PROTOCOL).exists():
        write_json(out / PROTOCOL, asdict(protocol))
    found = read_json(out / PROTOCOL)
    different = sorted(name for name, value in asdict(protocol).items() if found.get(name) != value)
    if different:
        was = ", ".join(f"{name} {found.get(name)!r}" for name in different)
        raise CourseError(
            f"{out}: holds a comparison by another protocol ({was}); choose another --out, or the"
            " same settings."
        )
    return _rows(out)


def _added(out: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the rows of a comparison after adding one, unless another process, which measures
    into the same folder, has added it.
    """
    with locked(out / ROWS, "comparison", wait_seconds=60):
        rows = _rows(out)
        if all((row["family"], row["seed"]) != (one["family"], one["seed"]) for one in rows):
            rows.append(row)
            write_jsonl(out / ROWS, rows)
    return rows


def _rows(out: Path) -> list[dict[str, Any]]:
    if not (out / ROWS).exists():
        return []
    rows = read_jsonl(out / ROWS)
    if not rows:  # none is ever written without a row
        raise CourseError(
            f"{out / ROWS}: expected rows of a comparison, got an empty file, as a power cut leaves"
            " it. Put a copy there, or delete it: finished runs are then measured once more."
        )
    return rows


def _measured_row(
    family: str,
    seed: int,
    dataset: Dataset,
    protocol: Protocol,
    judge: MemorizationAudit,
    use_shipped: bool,
) -> dict[str, Any]:
    experiment = replace(preset(family, protocol.budget), seed=seed).fitted_to(dataset)
    found = find_run(experiment, dataset, use_shipped=use_shipped)
    if found is None:
        print(f"{family}, seed {seed}: training on {dataset.name}", flush=True)
        found = find_or_train(experiment, dataset, use_shipped=use_shipped)
    trained, weights = found
    metrics = measure_run(trained, dataset, protocol, judge)
    record = trained.record
    metrics["training seconds"] = _plain(record["training_seconds"])
    left_out = [why for why in (_classes_left_out(judge), judge.too_few()) if why is not None]
    return {
        "family": family,
        "seed": seed,
        "weights": weights,
        "trained_on": record["machine"],
        "measured_on": machine(),
        "metrics": metrics,
        **({"left_out": left_out} if left_out else {}),
    }


def _classes_left_out(judge: MemorizationAudit) -> str | None:
    """Returns a sentence where no classifier measures which classes are drawn, else None."""
    if find_extractor(judge.features, judge.dataset).classifier is not None:
        return None
    return (
        f"left out: the metrics of classes, which need a classifier of {judge.dataset.name}"
        " (--features classifier; at least 2 classes)."
    )


def measure_run(
    trained: Run, dataset: Dataset, protocol: Protocol, judge: MemorizationAudit
) -> dict[str, dict[str, float | None]]:
    """Returns `{metric: {"value", "error", "floor", "floor_error"}}` of one run; None where there
    is no such number.
    """
    model, seed = trained.model, trained.experiment.seed
    frequencies = label_frequencies(dataset.train_labels, dataset.num_classes)
    draw_images(model, FEW, frequencies, seed=seed)  # warms up
    few_seconds = drawing_seconds(model, FEW, frequencies, seed=seed)[1]
    images, seconds = drawing_seconds(model, protocol.num_images, frequencies, seed=seed)
    seen = find_extractor(judge.features, dataset)
    names = [name for name in COMPARED if seen.classifier is not None or not METRICS[name][0]]
    evaluation = evaluate_images(images, dataset, metrics=names, features=seen, seed=seed)
    metrics = {
        row["name"]: {key: row[key] for key in ("value", "error", "floor", "floor_error")}
        for row in evaluation.as_dict()["metrics"]
    }
    metrics |= _likelihood(model, dataset, protocol, seed)
    metrics |= _contrast(images, dataset)
    for walks in latent_measurements({model.family: model}, seed=seed).values():
        metrics[walks.name] = _plain(walks.value, walks.error)
    metrics |= {
        name: _plain(*number) for name, number in judge.numbers(images, trained.experiment).items()
    }
    costs = {
        f"seconds for {FEW} images": few_seconds,
        f"seconds for {protocol.num_images:,} images": seconds,
    }
    costs |= {"parameters": model.num_parameters, "network calls": network_calls(model)}
    return metrics | {name: _plain(value) for name, value in costs.items()}


def _likelihood(
    model: Model, dataset: Dataset, protocol: Protocol, seed: int
) -> dict[str, dict[str, float | None]]:
    if not model.has_likelihood:
        return {}
    number = {
        "num_draws": protocol.num_likelihood_draws,
        "num_images": protocol.num_likelihood_images,
    }
    measured = negative_log_likelihood(model, dataset, seed=seed, **number)
    return {"NLL": _plain(measured.value, measured.error)}


def _contrast(images: Tensor, dataset: Dataset) -> dict[str, dict[str, float | None]]:
    """Returns the edge contrast of samples, beside that of as many training images."""
    ours, real = (
        mean_over_images(CONTRAST, edge_contrast(part))
        for part in (images, dataset.train_images[: len(images)])
    )
    floor = {"floor": real.value, "floor_error": real.error}
    return {CONTRAST: {"value": ours.value, "error": ours.error, **floor}}


def _plain(value: float, error: float | None = None) -> dict[str, float | None]:
    return {"value": value, "error": error, "floor": None, "floor_error": None}


def _line(row: dict[str, Any]) -> str:
    shown = [
        f"{name} {row['metrics'][name]['value']:.4g}"
        for name in ("FID", "precision", "recall", "training seconds")
        if name in row["metrics"]
    ]
    return f"{row['family']}, seed {row['seed']} ({row['weights']}): {', '.join(shown)}"
