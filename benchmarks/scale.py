"""What a training costs as it grows: over the number of images, their resolution and channels, and
the width of the network, for VAE, DCGAN and diffusion. And the memory of each preset.

Measured: the median time of a few steps of `fit` on random pictures, after some that warm up; the
seconds of an epoch that follow from it; images a second; and the peak of memory, on a GPU that of
its tensors, else that of the whole process, of which the imports alone take the part named beside
it. One thing changes at a time, from 10,000 grey images of 28 x 28 pixels and the width of the
preset. Each point is measured in a process of its own, since memory that others have used does not
come back. Rows are added to --out as they come, and a second call goes on where the first was cut
off.

    python benchmarks/scale.py --out build/scale.jsonl
    python benchmarks/scale.py --out build/scale.jsonl --table --picture docs/cost_curves.png
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from measure import (
    StepClock,
    add_row,
    in_fresh_process,
    peak_memory,
    process_peak,
    rows_in,
    warm_up,
)

from course_utils.base.config import override
from course_utils.base.device import BUDGETS, budget, describe_device, make_rng, pick_device
from course_utils.base.files import atomic_path
from course_utils.data.dataset import DIGIT_NAMES, Dataset
from course_utils.plotting.canvas import OKABE_ITO, apply_style, new_figure
from course_utils.plotting.charts import MARKERS
from course_utils.training.fit import fit
from course_utils.training.presets import PRESETS, VARIANTS, Experiment, preset
from course_utils.training.registry import build
from course_utils.training.runs import machine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAMILIES = ("vae", "dcgan", "diffusion")
# setting: the values that it takes while the others keep that of `Point`
SWEEPS: dict[str, tuple[float, ...]] = {
    "num_images": (1000, 3000, 10_000, 30_000, 100_000),
    "image_size": (28, 32, 64),
    "channels": (1, 3),
    "width": (0.5, 1.0, 2.0),
}
WIDTHS = {
    "vae": ("hidden_dims",),
    "dcgan": ("generator_width", "discriminator_width"),
    "diffusion": ("channels",),
}
NUM_STEPS, NUM_WARM_STEPS = 12, 3  # timed, and left out before
GPU_BLOCK = 10  # steps that are timed together there, since waiting for each one slows it down
PRESET_IMAGES = 60_000  # on which the memory of a preset is measured, as many as MNIST has
Row = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """One training whose cost is measured; width is a factor of the preset's widths."""

    name: str  # of the preset
    num_images: int = 10_000
    image_size: int = 28
    channels: int = 1
    width: float = 1.0


def points(families: Sequence[str] = FAMILIES) -> list[Point]:
    """Returns the points of all curves; where curves cross there is one."""
    found = [
        replace(Point(family), **{setting: type(getattr(Point(""), setting))(value)})
        for family in families
        for setting, values in SWEEPS.items()
        for value in values
    ]
    return list(dict.fromkeys(found))


def preset_points() -> list[Point]:
    """Returns a point for each preset and variant, on as many images as MNIST has."""
    channels = {"regressor-colourise": 3}
    return [
        Point(name, PRESET_IMAGES, channels=channels.get(name, 1)) for name in (*PRESETS, *VARIANTS)
    ]


def random_pictures(point: Point) -> Dataset:
    """Returns noise with random labels: what a step costs does not depend on the pictures."""
    rng = make_rng(0)
    shape = (point.channels, point.image_size, point.image_size)
    draws = []
    for num in (point.num_images, 100):
        draws.append(torch.randint(256, (num, *shape), dtype=torch.uint8, generator=rng))
        draws.append(torch.randint(10, (num,), generator=rng))
    return Dataset("random", *draws, DIGIT_NAMES, "drawn at random")


def widened(experiment: Experiment, factor: float) -> Experiment:
    """Returns an experiment whose network has so many times the units or channels."""
    if factor == 1:
        return experiment
    changes: dict[str, Any] = {}
    for name in WIDTHS[experiment.family]:
        value = getattr(experiment.model, name)
        changes[f"model.{name}"] = (
            tuple(round(factor * each) for each in value)
            if isinstance(value, tuple)
            else round(factor * value)
        )
    return override(experiment, changes)


def cost_of(point: Point, budget_name: str, num_steps: int = NUM_STEPS) -> Row:
    """Returns what the training of one point costs, measured in this process."""
    warm_up()
    start_mib = process_peak()
    dataset = random_pictures(point)
    changes = {"train.num_validation_images": 0, "train.num_train_images": None}
    if budget_name != "smoke":
        changes["train.num_epochs"] = 10_000  # the clock stops it
    experiment = override(preset(point.name, budget_name), changes).fitted_to(dataset)
    experiment = widened(experiment, point.width)
    model = build(experiment.model, 0)
    if hasattr(experiment.model, "teacher"):  # a student keeps its teacher in memory
        teacher = preset(experiment.model.teacher, budget_name).fitted_to(dataset)
        model.start_from(build(teacher.model, 0))
    block = 1 if pick_device().type == "cpu" else GPU_BLOCK
    clock = StepClock(every=block, max_steps=block * (NUM_WARM_STEPS + num_steps))
    with clock, contextlib.redirect_stdout(io.StringIO()):  # "stopped by hand"
        fit(model, dataset, experiment.train)
    # the first end closes the steps that warm up
    ends = clock.ends[NUM_WARM_STEPS - 1 :]
    if len(ends) < 2:
        raise SystemExit(f"{point.name}: too few steps to time, {clock.num_steps}")
    seconds = statistics.median(b - a for a, b in itertools.pairwise(ends)) / block
    batch_size = min(experiment.train.batch_size, point.num_images)
    return {
        "parameters": model.num_parameters,
        "batch_size": batch_size,
        "timed_steps": block * (len(ends) - 1),
        "step_seconds": seconds,
        "epoch_seconds": seconds * (point.num_images // batch_size),
        "images_per_second": batch_size / seconds,
        "peak_mib": max(clock.peak, peak_memory()),
        "start_mib": start_mib,
    }


def measure_missing(options: argparse.Namespace) -> None:
    """Measures the points that --out lacks, each in a process of its own."""
    wanted = (
        [("curve", point) for point in points(options.only)] if "curves" in options.parts else []
    )
    if "presets" in options.parts:
        wanted += [("preset", point) for point in preset_points()]
    for part, point in wanted:
        if not any(
            head_of(part, point, options).items() <= row.items() for row in rows_in(options.out)
        ):
            print(f"{part}: {point}", flush=True)
            words = (part, json.dumps(asdict(point)), "--budget", options.budget)
            in_fresh_process(
                __file__, "--point", *words, "--steps", options.steps, "--out", options.out
            )


def head_of(part: str, point: Point, options: argparse.Namespace) -> Row:
    """Returns what tells a row from all others."""
    where = {"machine": machine(), "device": describe_device(), "budget": options.budget}
    return {"part": part, **asdict(point), **where}


def curve(rows: Sequence[Row], family: str, setting: str) -> list[Row]:
    """Returns the rows of one curve, in the order of the setting."""
    values = asdict(Point(family))
    values.pop(setting)
    found = [row for row in rows if row["part"] == "curve" and values.items() <= row.items()]
    return sorted(found, key=lambda row: row[setting])


SETTING_NAMES = {
    "num_images": "training images",
    "image_size": "side, pixels",
    "channels": "channels",
    "width": "width, of the preset's",
}
MEASURED = {
    "step_seconds": ("s a step", 1.0),
    "epoch_seconds": ("s an epoch", 1.0),
    "images_per_second": ("images a second", 1.0),
    "peak_mib": ("peak memory, GiB", 1 / 1024),
}


def scale_table(rows: Sequence[Row]) -> str:
    """Returns the curves and the memory of the presets as Markdown, machine by machine."""
    parts = []
    for (place, budget_name), own in by_machine(rows).items():
        parts.append(f"**{place}**, presets of the budget `{budget_name}`")
        lines = _header(
            "what grows", "family", "value", "ms a step", "s an epoch", "images a second"
        )
        for setting, family in itertools.product(SWEEPS, FAMILIES):
            for row in curve(own, family, setting):
                lines.append(
                    f"| {SETTING_NAMES[setting]} | {family} | {row[setting]:,g} |"
                    f" {1000 * row['step_seconds']:.3g} | {row['epoch_seconds']:.3g} |"
                    f" {row['images_per_second']:,.0f} | {row['peak_mib']:,.0f} |"
                )
        parts.append("\n".join(lines))
        lines = _header(
            "preset", "parameters", "batch", "ms a step", "process before training, MiB"
        )
        for row in own:
            if row["part"] == "preset":
                lines.append(
                    f"| `{row['name']}` | {row['parameters']:,} | {row['batch_size']} |"
                    f" {1000 * row['step_seconds']:.3g} | {row['start_mib']:,.0f} |"
                    f" {row['peak_mib']:,.0f} |"
                )
        if len(lines) > 2:
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _header(*titles: str) -> list[str]:
    columns = (*titles, "peak memory, MiB")
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]


def by_machine(rows: Sequence[Row]) -> Mapping[tuple[str, str], list[Row]]:
    """Returns the rows of each machine and budget."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["machine"], row["budget"]), []).append(row)
    return found


def scale_picture(rows: Sequence[Row]) -> Figure:
    """Returns the curves of the machine with the most rows: a column for each setting, a row for
    each measurement, a line for each family.
    """
    machines = by_machine([row for row in rows if row["part"] == "curve"])
    if not machines:
        raise SystemExit("no row of a curve; measure some first")
    (place, budget_name), own = max(machines.items(), key=lambda item: len(item[1]))
    apply_style()
    figure = new_figure(8.6, width=11)
    panels = figure.subplots(len(MEASURED), len(SWEEPS), sharex="col", sharey="row")
    for (measured, (title, factor)), line in zip(MEASURED.items(), panels):
        for setting, axes in zip(SWEEPS, line):
            _draw_curves(axes, own, setting, measured, factor)
            if setting == "num_images":
                axes.set_ylabel(title)
    for setting, axes in zip(SWEEPS, panels[-1]):
        axes.set_xlabel(SETTING_NAMES[setting])
        axes.set_xscale("log")
        ticks = SWEEPS[setting]
        axes.set_xticks(ticks, [_short(value) for value in ticks])
        axes.minorticks_off()
    figure.suptitle(f"{place}, presets of the budget {budget_name}", fontsize=11)
    panels[-1][0].set_ylim(bottom=0)
    panels[-1][-1].legend(loc="lower right")
    figure.align_ylabels(panels[:, 0])
    return figure


def _draw_curves(
    axes: Axes, rows: Sequence[Row], setting: str, measured: str, factor: float
) -> None:
    for family, colour, marker in zip(
        FAMILIES, (OKABE_ITO[2], OKABE_ITO[4], OKABE_ITO[0]), MARKERS
    ):
        own = curve(rows, family, setting)
        axes.plot(
            [row[setting] for row in own],
            [factor * row[measured] for row in own],
            color=colour,
            marker=marker,
            markersize=5,
            label={"vae": "VAE", "dcgan": "DCGAN"}.get(family, family),
        )
    if measured != "peak_mib":  # of memory the imports take most, so that it needs its zero
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.grid(True, color="#DDDDDD", linewidth=0.6)


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def main(arguments: list[str] | None = None) -> None:
    """Measures what is missing, or prints the table, or draws the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=("curves", "presets"))
    parser.add_argument(
        "--only", nargs="+", choices=FAMILIES, default=FAMILIES, help="of the curves"
    )
    parser.add_argument("--budget", choices=BUDGETS, help="default: gpu on a GPU, else laptop")
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help="that are timed")
    parser.add_argument("--out", type=Path, default=Path("build/scale.jsonl"))
    parser.add_argument("--table", action="store_true", help="print the tables; measure nothing")
    parser.add_argument("--picture", type=Path, help="draw the curves; measure nothing")
    parser.add_argument("--point", nargs=2, metavar=("PART", "JSON"), help="this one, here")
    parser.add_argument("--started", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.budget = options.budget or budget()
    options.parts = options.parts or ("curves", "presets")
    if options.point:
        part, point = options.point[0], Point(**json.loads(options.point[1]))
        row = {**head_of(part, point, options), **cost_of(point, options.budget, options.steps)}
        add_row(options.out, row)
        print(json.dumps(row), flush=True)
        return
    if not (options.table or options.picture):
        measure_missing(options)
    if options.table:
        print(scale_table(rows_in(options.out)))
    if options.picture:
        figure = scale_picture(rows_in(options.out))
        with atomic_path(options.picture) as partial:
            figure.savefig(partial, format="png", dpi=140)


if __name__ == "__main__":
    main()
