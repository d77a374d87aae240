"""FID, recall and the bend of the paths at 1, 2, 4 and 10 calls of the network: a flow, the same
after reflow, and its one-call student, for several trainings.

Seed 0 of teacher and student are the shipped weights; those of other seeds are trained with the
presets of the course, or taken from earlier runs of equal settings under COURSE_RUNS. Every row is
written as it comes, and a second call goes on where the first was cut off.

    COURSE_DATA=../shared/data python benchmarks/few_steps.py --dataset mnist --out FILE
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measure import add_row, measure, rows_in

from course_utils.base.device import make_rng, pick_device
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.models.base import Model
from course_utils.models.diffusion.model import Diffusion
from course_utils.studies.draw import label_frequencies
from course_utils.studies.few_steps import CALLS, FewStepsRow, draw_with_calls, flow_bend
from course_utils.training.fit import fit
from course_utils.training.presets import preset
from course_utils.training.registry import build
from course_utils.training.runs import find_or_train, machine, pretrained

LABELS = 2  # the stream of the ordered classes


class Trained:
    """The three models of one seed, each trained when it is asked for, with its seconds."""

    def __init__(self, dataset: Dataset, seed: int, budget: str) -> None:
        self.dataset, self.seed, self.budget = dataset, seed, budget
        self._teacher: tuple[Model, float] | None = None

    def teacher(self) -> tuple[Model, float]:
        """Returns the shipped flow for seed 0, else one of an earlier run or a new training."""
        if self._teacher is None:
            if self.seed == 0:
                found = pretrained("diffusion", self.dataset)
            else:
                experiment = replace(preset("diffusion", self.budget), seed=self.seed)
                found = find_or_train(experiment.fitted_to(self.dataset), self.dataset).run
            self._teacher = found.model.to(pick_device()).eval(), found.history.seconds
        return self._teacher

    def pupil(self, name: str) -> tuple[Model, float]:
        """Returns a model that learns from the teacher of its seed; drawing the pairs counts."""
        if name == "student" and self.seed == 0:
            found = pretrained(name, self.dataset)
            return found.model.to(pick_device()).eval(), found.history.seconds
        teacher, _ = self.teacher()
        experiment = replace(preset(name, self.budget), seed=self.seed).fitted_to(self.dataset)
        experiment = experiment.changed(train__num_validation_images=0)
        start = time.perf_counter()
        model = build(experiment.model, self.seed)
        model.start_from(teacher, self.seed)
        fit(model, self.dataset, experiment.train, seed=self.seed)
        return model.eval(), time.perf_counter() - start


def rows_of(
    trained: Trained, kind: str, calls: tuple[int, ...], num: int
) -> Iterator[dict[str, Any]]:
    """Yields a row for each number of calls, largest first."""
    dataset = trained.dataset
    model, seconds = trained.teacher() if kind == "teacher" else trained.pupil(kind)
    bend = flow_bend(model, seed=trained.seed) if isinstance(model, Diffusion) else None
    frequencies = label_frequencies(dataset.train_labels, dataset.num_classes)
    labels = torch.multinomial(
        frequencies, num, replacement=True, generator=make_rng(trained.seed, LABELS)
    )
    for num_calls in sorted(calls, reverse=True):
        images = draw_with_calls(model, labels, num_calls, seed=trained.seed)
        found = measure(images, dataset, labels)
        yield FewStepsRow(
            dataset=dataset.name,
            seed=trained.seed,
            kind=kind,  # type: ignore[arg-type]
            num_calls=num_calls,
            fid=found["fid"],
            fid_error=found["fid_error"],
            recall=found["recall"],
            bend=None if bend is None else bend.value,
            bend_error=None if bend is None else bend.error,
            train_seconds=seconds,
            num_images=found["num_images"],
            machine=machine(),
        ).as_dict()


def main() -> None:
    """Appends the rows that FILE does not hold yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="strokes", help="one that weights ship for")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", default=["teacher", "reflow", "student"])
    parser.add_argument("--num", type=int, default=10_000, help="images of each row")
    parser.add_argument("--budget", default="laptop", help="of what is trained (default: laptop)")
    parser.add_argument("--out", type=Path, default=Path("build/few_steps.jsonl"))
    options = parser.parse_args()
    dataset = load_dataset(options.dataset)
    for seed in options.seeds:
        trained = Trained(dataset, seed, options.budget)
        for kind in options.kinds:
            done = {(row["kind"], row["seed"], row["num_calls"]) for row in rows_in(options.out)}
            asked = (1,) if kind == "student" else CALLS
            calls = tuple(one for one in asked if (kind, seed, one) not in done)
            if not calls:
                continue
            for row in rows_of(trained, kind, calls, options.num):
                add_row(options.out, row)
                print(row, flush=True)


if __name__ == "__main__":
    main()
