"""The table and the picture of the board, from the rows that `board.py` measured; nothing is
measured here.

    python benchmarks/board.py --out build/board.jsonl --table --picture docs/board.png
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from course_utils.metrics.measurement import with_error
from course_utils.plotting.canvas import OKABE_ITO, apply_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REAL = "real images"
NOT_MEASURED = "not measured"
Row = dict[str, Any]


class Name(NamedTuple):
    """How a model is called, and its family, which gives its colour."""

    text: str
    family: str
    peer: bool = False


NAMES = {
    "diffusion": Name("diffusion", "diffusion"),
    "student": Name("one-call student", "diffusion"),
    "dcgan": Name("DCGAN", "dcgan"),
    "vae": Name("VAE", "vae"),
    "vae-fitted-prior": Name("VAE, fitted prior", "vae"),
    "unet2d-diffusers": Name("diffusers UNet2DModel", "diffusion", peer=True),
    "denoising-diffusion": Name("denoising-diffusion-pytorch", "diffusion", peer=True),
    "dcgan-plain": Name("DCGAN of the paper", "dcgan", peer=True),
    REAL: Name(REAL, "real"),
    "vae-fast": Name("VAE, to 105.6 nats", "vae"),
    "vae-example": Name("VAE of PyTorch's examples", "vae", peer=True),
    "vae-binary-long": Name("VAE, black and white", "vae"),
}
LIKELIHOODS = ("vae-fast", "vae-example", "vae-binary-long")
COLOURS = {"diffusion": OKABE_ITO[0], "dcgan": OKABE_ITO[4], "vae": OKABE_ITO[2]}


def seconds_of(row: Row) -> float:
    """Returns the seconds of training that a model took, its teacher's included."""
    return row["train_seconds"] + (row.get("teacher_seconds") or 0.0)


def _milliseconds_an_image(row: Row) -> float | None:
    seconds = row.get("draw_seconds")
    return None if seconds is None else 1000 * seconds / row["num_images"]


def _value(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.get(name)


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        title: with its unit.
        value: of one row, or None.
        worst: of several values; None for a column that shows the median alone.
        error: name of the value's error in the row, shown where there is one.
    """

    title: str
    value: Callable[[Row], float | None]
    worst: Callable[[Sequence[float]], float] | None = None
    error: str = ""


COST = (
    Column("training, s", seconds_of, max),
    Column("cold start, s", _value("cold_start_seconds"), max),
    Column("ms a step", _value("ms_per_step")),
    Column("parameters", _value("parameters")),
)
MEMORY = Column("peak memory, MiB", _value("peak_mib"), max)
SAMPLES = (
    *COST,
    Column("calls an image", _value("num_calls")),
    Column(
        "s for 10,000 images",
        lambda row: None if (ms := _milliseconds_an_image(row)) is None else 10 * ms,
        max,
    ),
    Column("ms an image", _milliseconds_an_image),
    Column("images", _value("num_images")),
    Column("FID", _value("fid"), max, "fid_error"),
    Column("floor", _value("fid_floor"), None, "fid_floor_error"),
    Column("precision", _value("precision"), min, "precision_error"),
    Column("recall", _value("recall"), min, "recall_error"),
    Column("ordered class", _value("agreement"), min),
    MEMORY,
)
NATS = (
    *COST,
    Column("-ELBO, nats", _value("negative_elbo"), max),
    Column("-log p(x), nats", _value("nll"), max, "nll_error"),
    Column("s of evaluation", _value("evaluation_seconds")),
    MEMORY,
)


def board_table(rows: Sequence[Row], models: Sequence[str] = tuple(NAMES)) -> str:
    """Returns all rows as Markdown: a section for each machine, dataset and budget, of each model
    the median over seeds and in brackets the worst.

    Args:
        rows: as `board.py` wrote them.
        models: keys of `NAMES`; those without a row stand there as not measured.
    """
    sections: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        sections.setdefault((row["machine"], row["dataset"], row["budget"]), []).append(row)
    if not any(is_on_gpu(row) for row in rows):
        sections["a GPU", "mnist", "gpu"] = []
    parts = []
    for (machine, dataset, budget), found in sections.items():
        parts.append(f"**{machine}**, {dataset}, preset `{budget}`; median over seeds (the worst)")
        parts.append(
            _markdown(found, [name for name in models if name not in LIKELIHOODS], SAMPLES)
        )
        if dataset == "mnist":
            parts.append(_markdown(found, [name for name in models if name in LIKELIHOODS], NATS))
    return "\n\n".join(parts)


def is_on_gpu(row: Row) -> bool:
    """Returns whether a row was measured on an accelerator."""
    return not row["device"].startswith("cpu")


def _markdown(rows: Sequence[Row], models: Sequence[str], columns: Sequence[Column]) -> str:
    lines = ["| " + " | ".join(("model", "seeds", *(column.title for column in columns))) + " |"]
    lines.append("|" + "---|" * (len(columns) + 2))
    for model in models:
        own = [row for row in rows if row["model"] == model]
        name = NAMES[model].text + (" (peer)" if NAMES[model].peer else "")
        cells = [cell(own, column) for column in columns] if own else [NOT_MEASURED]
        cells += [""] * (len(columns) - len(cells))
        lines.append("| " + " | ".join((name, str(len(own)), *cells)) + " |")
    return "\n".join(lines)


def cell(rows: Sequence[Row], column: Column) -> str:
    """Returns one cell: the median with its error, and the worst of several seeds."""
    found = [(value, row) for row in rows if (value := column.value(row)) is not None]
    if not found:
        return "-"
    values = [value for value, _ in found]
    # the lower of two middle ones, so that the error is that of a row
    middle = statistics.median_low(values)
    error = next(row for value, row in found if value == middle).get(column.error)
    text = _number(middle) if error is None else with_error(middle, error)
    if column.worst is None or len(values) == 1:
        return text
    return f"{text} ({_number(column.worst(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def board_picture(rows: Sequence[Row]) -> Figure:
    """Returns FID over seconds of training, a panel for each machine: the median of each model,
    bars over all seeds, hollow marks for peers, and real images as a line.
    """
    shown = [row for row in rows if row.get("fid") is not None]
    # rows of a smoke test prove that the code runs, and no more
    shown = [row for row in shown if row["budget"] != "smoke"] or shown
    if not shown:
        raise SystemExit("no row with an FID; measure some first")
    panels: dict[tuple[str, str], list[Row]] = {}
    for row in shown:
        panels.setdefault((row["machine"], row["dataset"]), []).append(row)
    apply_style()
    figure = new_figure(4.6 * len(panels), width=8.5)
    for axes, ((machine, dataset), own) in zip(
        figure.subplots(len(panels), 1, squeeze=False).flat, panels.items()
    ):
        _draw_panel(axes, own)
        axes.set_title(f"{dataset}, {machine}", fontsize=10)
    return figure


def _draw_panel(axes: Axes, rows: Sequence[Row]) -> None:
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row["model"], []).append(row)
    floor = statistics.median(row["fid_floor"] for row in rows)
    points = []
    for model, own in by_model.items():
        if model == REAL:
            continue
        name, colour = NAMES[model], COLOURS[NAMES[model].family]
        x, y = _spread([seconds_of(row) for row in own]), _spread([row["fid"] for row in own])
        if len(own) == 1 and own[0]["fid_error"]:
            error = own[0]["fid_error"]
            y = (y[0], min(error, 0.9 * y[0]), error)
        axes.errorbar(
            [x[0]],
            [y[0]],
            xerr=[[x[1]], [x[2]]],
            yerr=[[y[1]], [y[2]]],
            color=colour,
            marker="s" if name.peer else "o",
            markersize=8,
            markerfacecolor="white" if name.peer else colour,
            capsize=3,
            zorder=3,
        )
        points.append((x[0], y[0], x[0] + x[2], name.text, colour))
    axes.set(xscale="log", yscale="log", xlabel="seconds of training", ylabel="FID (lower: better)")
    lowest, highest = min(floor, *(p[1] for p in points)), max(floor, *(p[1] for p in points))
    times = [point[0] for point in points]
    axes.set_ylim(lowest / 1.6, highest * 1.8)
    axes.set_xlim(min(times) / 1.3, max(times) * (max(times) / min(times) * 4) ** 0.55)
    axes.axhline(floor, color="black", linestyle=":", linewidth=1.5)
    axes.text(
        0.995,
        floor * 1.06,
        f"real images, {floor:.2g}",
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="bottom",
    )
    for which, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        axes.grid(True, which="major", axis=which, color="#DDDDDD", linewidth=0.6)
        axis.set_major_formatter(_plain_number)
        axis.set_minor_formatter(_few_numbers)
    _label(axes, points, floor)


def _plain_number(value: float, _: int | None = None) -> str:
    return f"{value:g}"


def _few_numbers(value: float, _: int | None = None) -> str:
    first = round(value / 10 ** math.floor(math.log10(value) + 1e-9))
    return f"{value:g}" if first in (2, 5) else ""


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the median, and how far below and above it the values reach."""
    middle = statistics.median(values)
    return middle, middle - min(values), max(values) - middle


LABEL_HEIGHT, LETTER_WIDTH, MARK = 0.062, 0.0125, 0.022  # shares of the axes


def _label(
    axes: Axes, points: Sequence[tuple[float, float, float, str, str]], floor: float
) -> None:
    """Writes each name to the right of its point and its bar, moved up or down until it covers
    nothing.

    Args:
        points: seconds, FID, where the bar ends on the right, name and colour.
    """
    to_axes = axes.transScale + axes.transLimits
    places = [tuple(to_axes.transform(point[:2])) for point in points]
    ends = [to_axes.transform((point[2], point[1]))[0] for point in points]
    taken = [(x - MARK / 2, end, y - MARK, y + MARK) for (x, y), end in zip(places, ends)]
    line = to_axes.transform((points[0][0], floor))[1]
    taken.append((0.72, 1.0, line, line + LABEL_HEIGHT))  # the words on the floor
    for (_, y), end, (seconds, value, _, text, colour) in zip(places, ends, points):
        width = LETTER_WIDTH * len(text)
        left = end + MARK
        for step in sorted(range(-20, 21), key=abs):
            centre = y + step * LABEL_HEIGHT / 4
            box = (left, left + width, centre - LABEL_HEIGHT / 2, centre + LABEL_HEIGHT / 2)
            if box[2] > 0 and box[3] < 1 and not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        moved = abs(centre - y) > LABEL_HEIGHT / 2
        axes.annotate(
            text,
            (seconds, value),
            (left, centre),
            textcoords="axes fraction",
            color=colour,
            fontsize=11,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8} if moved else None,
            zorder=4,
        )


def _overlap(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return (
        first[0] < second[1]
        and second[0] < first[1]
        and first[2] < second[3]
        and second[2] < first[3]
    )
