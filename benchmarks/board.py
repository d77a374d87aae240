"""The board: time and quality of every family on digits, and of peers, on the machine that it runs
on.

Measured for each model and seed: seconds of training; seconds from the start of the process to the
end of the first step (imports and loading the data included) and to the end of the last; ms a step;
parameters; network calls an image; seconds to draw the images; FID, precision and recall against as
many test images, with errors; the share of images of the ordered class, where one is ordered; FID
of real training images in their place (the floor); the peak of memory while it trained. For VAEs
also -ELBO on grey pixels, and -log p(x) of black and white ones (--long, or a GPU's budget).

Each row is measured in a process of its own. Rows are added to --out as they come, and a second
call goes on where the first was cut off; rows of several machines may lie in one file. Peers train
for as many seconds as the course's model of the same seed: denoising-diffusion-pytorch and
diffusers beside the diffusion model, the DCGAN of the paper beside the DCGAN. The VAE of PyTorch's
examples trains for its own 10 epochs.

    pip install '.[peers]'
    COURSE_DATA=../shared/data python benchmarks/board.py --out build/board.jsonl
    COURSE_DATA=../shared/data python benchmarks/board.py --budget gpu --minutes 10  # on a GPU
    python benchmarks/board.py --out build/board.jsonl --table --picture docs/board.png
    python benchmarks/board.py --smoke --only dcgan vae       # whether the code runs, in seconds
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import torch
from board_report import NAMES, REAL, board_picture, board_table
from dcgan_quality import train_for
from diffusion_speed import run_peer
from measure import StepClock, add_row, in_fresh_process, measure, real_images, rows_in, warm_up
from safetensors.torch import load_file
from torch import Tensor
from vae_speed import FAST, TARGET_NATS, run_course, run_reference

from course_utils.base.config import override
from course_utils.base.device import (
    BUDGETS,
    budget,
    describe_device,
    make_rng,
    pick_device,
    reuse_freed_memory,
)
from course_utils.base.files import atomic_path, save_tensors
from course_utils.base.images import signed_to_uint8, uint8_to_signed
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.models.base import Model
from course_utils.models.latents import fit_latent_density
from course_utils.studies.draw import (
    DRAWING,
    LABELS,
    label_frequencies,
    network_calls,
    sample_in_batches,
)
from course_utils.studies.evaluate import NUM_DRAWS, negative_log_likelihood
from course_utils.training.fit import fit
from course_utils.training.history import History
from course_utils.training.presets import Experiment, preset
from course_utils.training.registry import build
from course_utils.training.runs import machine

STUDENT = "student"
SMOKE_IMAGES, SMOKE_PEER_IMAGES = 200, 20
NUM_IMAGES, NUM_PEER_IMAGES = 10_000, 1000  # the latter of slow peers on a CPU
FEW = 100  # images that warm a model up
NUM_CODES, NUM_SMOKE_CODES = 60_000, 400  # of training images, that a prior is fitted to
SHORTEST_JOB = 20.0  # seconds; where less is left, no job is begun
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Job:
    """One model and seed, and what is needed to measure it.

    Attributes:
        rows: that are there already, of this machine, dataset and budget.
        clock: watches the training.
        out: the file of the rows; weights that another job needs lie beside it.
    """

    model: str
    seed: int
    dataset_name: str
    budget: str
    num: int
    peer_num: int
    rows: tuple[dict[str, Any], ...]
    clock: StepClock
    out: Path

    @property
    def teacher_path(self) -> Path:
        """The weights of the diffusion model of this seed."""
        name = f"{self.out.stem}-diffusion-{self.dataset_name}-{self.budget}-seed{self.seed}"
        return self.out.with_name(f"{name}.safetensors")

    @property
    def smoke(self) -> bool:
        return self.budget == "smoke"

    @cached_property
    def dataset(self) -> Dataset:
        return load_dataset(self.dataset_name, verbose=False)

    @property
    def labels(self) -> Tensor:
        """Classes to order, as frequent as in the training set, int64 `[num]`."""
        frequencies = label_frequencies(self.dataset.train_labels, self.dataset.num_classes)
        rng = make_rng(self.seed, LABELS)
        return torch.multinomial(frequencies, self.num, replacement=True, generator=rng)

    def experiment(self, name: str) -> Experiment:
        """Returns the preset of this budget, without measurements on the way."""
        chosen = override(preset(name, self.budget), {"train.num_validation_images": 0})
        return replace(chosen.fitted_to(self.dataset), seed=self.seed)

    def partner(self, model: str) -> dict[str, Any] | None:
        """Returns the row of another model: of this seed, else of the first that there is."""
        rows = sorted(
            (row for row in self.rows if row["model"] == model),
            key=lambda row: (row["seed"] != self.seed, row["seed"]),
        )
        return rows[0] if rows else None


def trained(job: Job, name: str) -> tuple[Model, History]:
    """Returns a freshly trained preset and its history."""
    experiment = job.experiment(name)
    model = build(experiment.model, job.seed)
    history = fit(model, job.dataset, experiment.train, seed=job.seed)
    return model.eval(), history


def drawn(draw: Callable[[int, torch.Generator], Tensor], num: int, seed: int) -> dict[str, Any]:
    """Returns uint8 images and the seconds that drawing them took, after a few that warm up."""
    draw(min(FEW, num), make_rng(seed, 1))
    start = time.perf_counter()
    images = draw(num, make_rng(seed, DRAWING))  # ends on the CPU, so the device has finished
    return {"images": images, "draw_seconds": time.perf_counter() - start}


def judged(model: Model, job: Job) -> dict[str, Any]:
    """Returns cost and quality of a trained model's images."""
    labels = job.labels if model.takes_labels else None

    def draw(num: int, rng: torch.Generator) -> Tensor:
        given = None if labels is None else labels[:num]
        return sample_in_batches(model, num, rng=rng, labels=given)

    found = drawn(draw, job.num, job.seed)
    images = found.pop("images")
    return {
        "parameters": model.num_parameters,
        "num_calls": network_calls(model),
        **found,
        **measure(images, job.dataset, labels),
    }


def preset_rows(job: Job) -> list[dict[str, Any]]:
    """Returns the row of the course's preset of the model's name."""
    model, history = trained(job, job.model)
    return [{"model": job.model, "train_seconds": history.seconds, **judged(model, job)}]


def diffusion_rows(job: Job) -> list[dict[str, Any]]:
    """Returns the row of the course's diffusion model, and keeps its weights for the student."""
    model, history = trained(job, job.model)
    save_tensors(job.teacher_path, model.state_dict())
    return [{"model": job.model, "train_seconds": history.seconds, **judged(model, job)}]


def student_rows(job: Job) -> list[dict[str, Any]]:
    """Returns the row of the one-call student, whose teacher's training counts beside its own: that
    of the same seed, trained again where its weights are gone.
    """
    if job.teacher_path.exists():
        teacher = build(job.experiment("diffusion").model)
        teacher.load_state_dict(load_file(job.teacher_path))
        row = job.partner("diffusion")
        assert row is not None  # `run_board` asked for it
        teacher_seconds = row["train_seconds"]
    else:
        teacher, history = trained(job, "diffusion")
        teacher_seconds = history.seconds
        job.clock.forget()
    experiment = job.experiment(STUDENT)
    model = build(experiment.model, job.seed)
    start = time.perf_counter()
    model.start_from(teacher.to(pick_device()).eval(), job.seed)
    seconds = time.perf_counter() - start  # of drawing the pairs
    seconds += fit(model, job.dataset, experiment.train, seed=job.seed).seconds
    costs = {"train_seconds": seconds, "teacher_seconds": teacher_seconds}
    return [{"model": job.model, **costs, **judged(model.eval(), job)}]


def vae_rows(job: Job) -> list[dict[str, Any]]:
    """Returns two rows of one training: samples of the prior, and of a density fitted to codes."""
    model, history = trained(job, "vae")
    plain = {"model": "vae", "train_seconds": history.seconds, **judged(model, job)}
    start = time.perf_counter()
    with torch.no_grad():
        images = job.dataset.train_images[: NUM_SMOKE_CODES if job.smoke else NUM_CODES]
        codes = [model.encode(uint8_to_signed(few.to(model.device))) for few in images.split(500)]
        mu, logvar = (torch.cat(parts).cpu() for parts in zip(*codes))
        density = fit_latent_density(mu, logvar, seed=job.seed)
    seconds = time.perf_counter() - start

    @torch.no_grad()
    def draw(num: int, rng: torch.Generator) -> Tensor:
        z = density.sample(num, rng=rng).to(model.device, torch.float32)
        return torch.cat([signed_to_uint8(model.decode(piece)).cpu() for piece in z.split(500)])

    found = drawn(draw, job.num, job.seed)
    images = found.pop("images")
    fitted = {
        **plain,
        "model": "vae-fitted-prior",
        "train_seconds": history.seconds + seconds,
        "fit_seconds": seconds,
        **found,
        **measure(images, job.dataset, None),
    }
    return [plain, fitted]


def plain_dcgan_rows(job: Job) -> list[dict[str, Any]]:
    """Returns the row of the paper's recipe after at least the seconds of the course's DCGAN."""
    model, seconds = train_for(job.experiment("dcgan-plain"), job.dataset, _seconds_of(job))
    return [{"model": job.model, "train_seconds": seconds, **judged(model.eval(), job)}]


def denoising_diffusion_rows(job: Job) -> list[dict[str, Any]]:
    """Returns the row of denoising-diffusion-pytorch after the seconds of the course's model."""
    found = run_peer(job.dataset, job.seed, _seconds_of(job), job.peer_num)
    return [{"model": job.model, **found}]


def unet2d_rows(job: Job) -> list[dict[str, Any]]:
    """Returns the row of diffusers' network after the seconds of the course's model."""
    from diffusers_peer import UNet2DTraining, run_unet2d

    training = UNet2DTraining(job.dataset, job.seed)
    found = run_unet2d(training, _seconds_of(job), job.labels[: job.peer_num], job.seed)
    return [{"model": job.model, **found}]


def fast_vae_rows(job: Job) -> list[dict[str, Any]]:
    """Returns the row of the course's VAE on its way to the target of -ELBO."""
    settings = ["train.num_epochs=1", "train.num_train_images=512"] if job.smoke else list(FAST)
    return [_nats_row(job, *run_course(job.dataset, settings, job.seed))]


def example_vae_rows(job: Job) -> list[dict[str, Any]]:
    """Returns the row of the well-known example protocol."""
    epochs, few = (1, 512) if job.smoke else (10, None)
    return [_nats_row(job, *run_reference(job.dataset, epochs, job.seed, few))]


def _nats_row(job: Job, seconds: float, nats: float) -> dict[str, Any]:
    return {
        "model": job.model,
        "train_seconds": seconds,
        "negative_elbo": nats,
        "reaches_target": nats <= TARGET_NATS,
    }


def likelihood_rows(job: Job) -> list[dict[str, Any]]:
    """Returns the row of -log p(x) on black and white test images."""
    model, history = trained(job, job.model)
    few: dict[str, Any] = {"num_draws": 10, "num_images": 50} if job.smoke else {}
    start = time.perf_counter()
    found = negative_log_likelihood(model, job.dataset, seed=job.seed, **few)
    return [
        {
            "model": job.model,
            "train_seconds": history.seconds,
            "parameters": model.num_parameters,
            "nll": found.value,
            "nll_error": found.error,
            "num_draws": few.get("num_draws", NUM_DRAWS),
            "num_images": found.num_images,
            "evaluation_seconds": time.perf_counter() - start,
        }
    ]


def real_rows(job: Job) -> list[dict[str, Any]]:
    """Returns the row of real training images in the place of drawn ones."""
    real = real_images(job.dataset, min(job.num, len(job.dataset.test_images)))
    found = measure(real.train_images, job.dataset, real.train_labels)
    return [{"model": REAL, "train_seconds": 0.0, **found}]


def _seconds_of(job: Job) -> float:
    """Returns how long a peer may train: as long as the model that it is compared with."""
    ours = job.partner(ENTRIES[job.model].needs)
    assert ours is not None  # `run_board` asked for it
    return ours["train_seconds"]


@dataclass(frozen=True)
class Entry:
    """A model of the board.

    Attributes:
        measured: returns its rows; a row whose model has another name belongs to the same training.
        needs: the model whose row has to be there before.
        peer: whether it is another project's.
        only_mnist: whether its protocol reads MNIST's files itself.
    """

    measured: Callable[[Job], list[dict[str, Any]]]
    needs: str = ""
    peer: bool = False
    only_mnist: bool = False


# In the order of importance: where time is short, the last are left out.
ENTRIES: dict[str, Entry] = {
    REAL: Entry(real_rows),
    "diffusion": Entry(diffusion_rows),
    STUDENT: Entry(student_rows, "diffusion"),
    "dcgan": Entry(preset_rows),
    "vae": Entry(vae_rows),
    "vae-binary-long": Entry(likelihood_rows),
    "unet2d-diffusers": Entry(unet2d_rows, "diffusion", peer=True),
    "denoising-diffusion": Entry(denoising_diffusion_rows, "diffusion", peer=True),
    "dcgan-plain": Entry(plain_dcgan_rows, "dcgan", peer=True),
    "vae-fast": Entry(fast_vae_rows, only_mnist=True),
    "vae-example": Entry(example_vae_rows, peer=True, only_mnist=True),
}


def listed(options: argparse.Namespace) -> list[str]:
    """Returns the models that are asked for."""
    if options.only:
        return [name for name in ENTRIES if name in options.only]
    left_out = set() if options.long or options.budget == "gpu" else {"vae-binary-long"}
    return [
        name
        for name, entry in ENTRIES.items()
        if name not in left_out and (options.dataset == "mnist" or not entry.only_mnist)
    ]


def jobs(options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yields models and seeds in the order of importance: one seed of all, then the other seeds of
    the course's models, then those of the peers. Real images need no second seed.
    """
    names = listed(options)
    yield from ((name, 0) for name in names)
    for peer in (False, True):
        for seed in range(1, options.seeds):
            yield from (
                (name, seed) for name in names if name != REAL and ENTRIES[name].peer == peer
            )


def head_of(options: argparse.Namespace) -> dict[str, Any]:
    """Returns what all rows of this call have in common; rows with another head are others'."""
    return {
        "machine": machine(),
        "device": describe_device(),
        "dataset": options.dataset,
        "budget": options.budget,
        "num_asked": options.num,
    }


def own_rows_in(options: argparse.Namespace) -> tuple[dict[str, Any], ...]:
    """Returns the rows of the file that belong to this machine, dataset and budget."""
    head = head_of(options)
    return tuple(row for row in rows_in(options.out) if head.items() <= row.items())


def add_rows(options: argparse.Namespace, name: str, seed: int) -> None:
    """Measures one model and seed in this process and adds its rows."""
    clock = StepClock()
    asked = (options.dataset, options.budget, options.num, options.peer_num)
    job = Job(name, seed, *asked, own_rows_in(options), clock, options.out)
    warm_up()
    job.dataset  # noqa: B018 (loads it before a training's clock runs)
    with clock:
        rows = ENTRIES[name].measured(job)
    measured_at = time.time()
    for row in rows:
        if clock.num_steps:
            row.setdefault("parameters", clock.num_parameters)
            seconds = row["train_seconds"] - row.get("fit_seconds", 0.0)
            row.setdefault("ms_per_step", 1000 * seconds / clock.num_steps)
            row |= {
                "num_steps": clock.num_steps,
                "cold_start_seconds": clock.first - options.started - clock.left_out,
                "trained_after_seconds": clock.last
                - options.started
                - clock.left_out
                + row.get("fit_seconds", 0.0),
                "peak_mib": clock.peak,
            }
        row |= {"seed": seed, **head_of(options), "job_seconds": measured_at - options.started}
        print(json.dumps(row), flush=True)
    add_row(options.out, *rows)


def run_board(options: argparse.Namespace) -> list[str]:
    """Measures what is missing; returns a sentence for each job that was left out."""
    deadline = math.inf if options.minutes is None else options.started + 60 * options.minutes
    left_out = []
    for name, seed in jobs(options):
        rows = own_rows_in(options)
        if any((row["model"], row["seed"]) == (name, seed) for row in rows):
            continue
        needed = ENTRIES[name].needs
        if needed and not any(row["model"] == needed for row in rows):
            left_out.append(f"{name}, seed {seed}: needs a row of {needed}")
            continue
        left = deadline - time.time()
        earlier = [row["job_seconds"] for row in rows if row["model"] == name]
        expected = max(earlier, default=SHORTEST_JOB)
        if left < expected:
            left_out.append(f"{name}, seed {seed}: takes about {expected:.0f} s, {left:.0f} s left")
            continue
        print(f"{name}, seed {seed}", flush=True)
        try:
            done = _add_rows_anywhere(options, name, seed, left)
        except SystemExit as error:  # one that fails does not stop the others
            left_out.append(f"{name}, seed {seed}: {error}")
            continue
        if not done:
            left_out.append(f"{name}, seed {seed}: not ready after the {left:.0f} s that were left")
    return left_out


def _add_rows_anywhere(options: argparse.Namespace, name: str, seed: int, left: float) -> bool:
    """Adds the rows of a model and seed, in this process or in a fresh one; returns whether it
    ended within the seconds that are left.
    """
    if options.here:
        add_rows(options, name, seed)
        options.started = time.time()  # the next is no cold start
        return True
    words = ["--dataset", options.dataset, "--budget", options.budget, "--num", options.num]
    words += ["--peer-num", options.peer_num, "--out", options.out]
    timeout = None if left == math.inf else left
    return in_fresh_process(__file__, "--row", name, seed, *words, timeout=timeout)


def main(arguments: list[str] | None = None) -> None:
    """Measures what is missing, or prints the table, or draws the picture."""
    options = _options(arguments)
    reuse_freed_memory()
    if options.row:
        add_rows(options, options.row[0], int(options.row[1]))
        return
    if not (options.table or options.picture):
        for sentence in run_board(options):
            print(f"{LEFT_OUT}: {sentence}")
    if options.table:
        # every model that the course has is listed, measured or not
        known = list(NAMES)
        print(board_table(rows_in(options.out), known))
    if options.picture:
        figure = board_picture(rows_in(options.out))
        with atomic_path(options.picture) as partial:
            figure.savefig(partial, format="png", dpi=140)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--seeds", type=int, help="of each model (default: 5; with --smoke 1)")
    parser.add_argument(
        "--only", nargs="+", metavar="MODEL", choices=list(ENTRIES), help=", ".join(ENTRIES)
    )
    parser.add_argument(
        "--budget", choices=BUDGETS, help="of the presets (default: gpu on a GPU, else laptop)"
    )
    parser.add_argument(
        "--num", type=int, help=f"images of each model (default: {NUM_IMAGES}; {SMOKE_IMAGES})"
    )
    parser.add_argument(
        "--peer-num",
        type=int,
        help=(
            f"images of the diffusion model's peers (default: {NUM_PEER_IMAGES} on a CPU, where"
            " they are slow; fewer images make their FID larger, by its bias)"
        ),
    )
    parser.add_argument("--long", action="store_true", help="also the likelihood, half an hour")
    parser.add_argument("--minutes", type=float, help="end after so many; the last are left out")
    parser.add_argument("--smoke", action="store_true", help="whether the code runs; here")
    parser.add_argument("--here", action="store_true", help="all rows in this process")
    parser.add_argument(
        "--out", type=Path, help="rows are added to it (default: build/board.jsonl)"
    )
    parser.add_argument("--table", action="store_true", help="print the table; measure nothing")
    parser.add_argument("--picture", type=Path, help="draw it to this file; measure nothing")
    parser.add_argument("--row", nargs=2, metavar=("MODEL", "SEED"), help="this one, here")
    start = psutil.Process().create_time()  # to a second; the board tells its rows exactly
    parser.add_argument("--started", type=float, default=start, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.smoke:
        options.budget, options.here = "smoke", True
    options.budget = options.budget or budget()
    smoke = options.budget == "smoke"
    options.seeds = options.seeds or (1 if smoke else 5)
    options.num = options.num or (SMOKE_IMAGES if smoke else NUM_IMAGES)
    slow = NUM_PEER_IMAGES if pick_device().type == "cpu" else options.num
    options.peer_num = options.peer_num or min(SMOKE_PEER_IMAGES if smoke else slow, options.num)
    options.out = options.out or Path("build/board-smoke.jsonl" if smoke else "build/board.jsonl")
    return options


if __name__ == "__main__":
    main()
