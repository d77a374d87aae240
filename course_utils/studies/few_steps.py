"""How good images are after 1, 2, 4 and 10 calls of a network: a flow, the same flow after reflow,
and a student that was taught to draw in one call.

Rows are measured by `benchmarks/few_steps.py`, for three trainings each, and ship in `tables/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from course_utils.base.device import make_rng, randn
from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import Measurement, mean_over_images, mean_over_seeds
from course_utils.models.base import Model
from course_utils.models.diffusion.flows import path_bends
from course_utils.models.diffusion.model import Diffusion
from course_utils.studies.compare import shipped_datasets, shipped_rows
from course_utils.studies.draw import network_calls, sample_in_batches
from course_utils.studies.provenance import velocity_field

CALLS = (1, 2, 4, 10)
BEND = "bend of the paths"
NUM_BENDS = 500  # paths whose bend is measured
IMAGES_PER_PIECE = 100


@dataclass(frozen=True)
class FewStepsRow:
    """Images of one model with one number of calls.

    Attributes:
        kind: "teacher" (the flow), "reflow" or "student".
        num_calls: of the network, for each image.
        fid, fid_error: against as many test images; the error is that of the images.
        recall: the share of real images that lie among the drawn ones.
        bend, bend_error: how much the paths bend (`flow_bend`); None for a student, which has none.
        train_seconds: of this model; the teacher's are not counted in its pupils'.
        num_images: drawn, and as many real ones.
    """

    dataset: str
    seed: int
    kind: Literal["teacher", "reflow", "student"]
    num_calls: int
    fid: float
    fid_error: float
    recall: float
    bend: float | None
    bend_error: float | None
    train_seconds: float
    num_images: int
    machine: str

    def as_dict(self) -> dict[str, Any]:
        """Returns all fields for JSON."""
        return asdict(self)


def draw_with_calls(model: Model, labels: Tensor, num_calls: int, *, seed: int = 0) -> Tensor:
    """Returns images of the ordered classes that took `num_calls` calls of the network each, uint8
    `[N, C, H, W]`, the same starting noise for every number of calls.

    A flow takes as many Euler steps, without guidance, which would take a second call; with the
    number of calls that its config takes, it draws as its config says.

    Args:
        model: a conditional `Diffusion` of the schedule "flow", or a model that draws in one call.
        labels: int64 `[N]`.
        num_calls: for each image.
        seed: of the noise.

    Raises:
        CourseError: another number of calls than a model can take.
    """
    options = {}
    if network_calls(model) != num_calls:
        if not isinstance(model, Diffusion):
            raise CourseError(
                f"num_calls: expected {network_calls(model):g}, the number of calls that a"
                f" {model.family} takes, got {num_calls}."
            )
        options = {"num_steps": num_calls, "guidance_scale": 1.0, "sampler": "euler"}
    return sample_in_batches(model, len(labels), labels=labels, rng=make_rng(seed), **options)


def flow_bend(model: Diffusion, num_images: int = NUM_BENDS, *, seed: int = 0) -> Measurement:
    """Returns how much the paths of a flow bend: the mean of `path_bends` over noises, classes in
    turn, without guidance. 0 is straight.
    """
    labels = torch.arange(num_images) % model.config.num_classes
    noise = randn((num_images, *model.config.image_shape), make_rng(seed, 1), torch.empty(()))
    found = []
    pieces = zip(noise.split(IMAGES_PER_PIECE), labels.split(IMAGES_PER_PIECE))
    for some, given in pieces:
        field = velocity_field(model, given.to(model.device))
        found.append(path_bends(field, some.to(model.device)).cpu())
    return mean_over_images(BEND, torch.cat(found))


def saved_few_steps(dataset: str) -> list[FewStepsRow]:
    """Returns the rows that ship for a dataset, made by `python benchmarks/few_steps.py`; an empty
    list where none do.
    """
    if dataset not in shipped_datasets("few_steps"):
        return []
    return [FewStepsRow(**row) for row in shipped_rows("few_steps", dataset)]


def few_steps_table(rows: Sequence[FewStepsRow]) -> dict[str, dict[int, Measurement]]:
    """Returns `{kind: {calls: FID}}`, each the mean over trainings with the error of their spread;
    of a single training the error is that of its images.
    """
    table: dict[str, dict[int, Measurement]] = {}
    for kind in dict.fromkeys(row.kind for row in rows):
        table[kind] = {}
        of_kind = [row for row in rows if row.kind == kind]
        for num_calls in sorted({row.num_calls for row in of_kind}):
            table[kind][num_calls] = _fid_of([row for row in of_kind if row.num_calls == num_calls])
    return table


def _fid_of(rows: Sequence[FewStepsRow]) -> Measurement:
    first = rows[0]
    about: dict[str, Any] = {"dataset": first.dataset, "extractor": f"classifier-{first.dataset}"}
    if len(rows) == 1:
        return Measurement("FID", first.fid, first.fid_error, first.num_images, **about)
    return mean_over_seeds("FID", [row.fid for row in rows], first.num_images, **about)


def bend_table(rows: Sequence[FewStepsRow]) -> dict[str, Measurement]:
    """Returns `{kind: bend}` of the kinds that have paths, each the mean over trainings."""
    found = {}
    for kind in dict.fromkeys(row.kind for row in rows if row.bend is not None):
        bends = {row.seed: (row.bend, row.bend_error) for row in rows if row.kind == kind}
        values, errors = zip(*bends.values())
        if len(bends) > 1:
            found[kind] = mean_over_seeds(BEND, values, NUM_BENDS)
        else:
            found[kind] = Measurement(BEND, values[0], errors[0], NUM_BENDS)
    return found


def student_ratios(rows: Sequence[FewStepsRow]) -> Mapping[int, float]:
    """Returns for each seed the FID of the student with one call as a multiple of its teacher's
    with ten; the course aims at 1.5 at most.
    """
    fids = {(row.kind, row.num_calls, row.seed): row.fid for row in rows}
    seeds = sorted({row.seed for row in rows if row.kind == "student"})
    return {
        seed: fids["student", 1, seed] / fids["teacher", CALLS[-1], seed]
        for seed in seeds
        if ("teacher", CALLS[-1], seed) in fids
    }
