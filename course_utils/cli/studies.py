"""The commands `course compare` and `course recover`. Heavy imports happen when they run, so that
`course --help` answers at once.
"""

from __future__ import annotations

import argparse

from course_utils.base.errors import CourseError
from course_utils.cli import path_argument


def add_compare(commands: argparse._SubParsersAction) -> None:
    """Adds `compare` to the commands of `course`."""
    command = commands.add_parser(
        "compare",
        help="train families with several seeds and measure them by one protocol",
        description=(
            "Trains and measures each family with each seed. Stopped or repeated, the same command"
            " goes on where it was."
        ),
    )
    command.add_argument(
        "families",
        nargs="+",
        metavar="FAMILY",
        help="vae, dcgan, diffusion, ..., or a variant such as dcgan-plain",
    )
    command.add_argument(
        "--dataset",
        default="auto",
        help="auto, mnist, fashion, strokes or folder:PATH (default: auto)",
    )
    command.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="side of the images of folder:PATH (default: COURSE_IMAGE_SIZE, or 28)",
    )
    command.add_argument(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="trainings of each family, seeds 0 to N - 1 (default: 3)",
    )
    command.add_argument(
        "--budget", help="smoke, laptop or gpu (default: by the device, or COURSE_BUDGET)"
    )
    command.add_argument(
        "--num",
        type=int,
        metavar="N",
        help="samples of each training (default: 10000, smoke: 300, or as many as there are)",
    )
    command.add_argument(
        "--features",
        help=(
            "classifier, pixels, inception, or a classifier's DIR (default: a classifier of these"
            " data if there is one, else pixels)"
        ),
    )
    command.add_argument(
        "--hold-out",
        type=int,
        default=0,
        metavar="N",
        help="train without N images and test for copies against them (default: 0)",
    )
    command.add_argument(
        "--no-shipped",
        dest="use_shipped",
        action="store_false",
        help="train even where equal weights ship with the course",
    )
    command.add_argument(
        "--out",
        type=path_argument,
        required=True,
        metavar="DIR",
        help="for rows.jsonl, comparison.json, .csv and .png",
    )
    command.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from course_utils.base.device import budget
    from course_utils.data import check_name, load_dataset
    from course_utils.studies.compare import compare_families, make_protocol
    from course_utils.training.presets import preset

    budget_name = options.budget or budget()
    for family in options.families:  # a misspelt name is told before the data are loaded
        preset(family, budget_name)
    check_name(options.dataset)
    dataset = load_dataset(options.dataset, image_size=options.image_size)
    protocol = make_protocol(dataset, budget_name, options.num, options.features, options.hold_out)
    result = compare_families(
        options.families,
        dataset,
        protocol,
        options.seeds,
        options.out,
        use_shipped=options.use_shipped,
    )
    print(result)
    print(f"{', '.join(map(str, result.save(options.out)))}: written")
    return 0


def add_data(command: argparse.ArgumentParser) -> None:
    """Adds `--data` to a command that loads the images which something was made with."""
    command.add_argument(
        "--data", metavar="PATH", help="folder of your own pictures, where you have moved them"
    )


def add_recover(commands: argparse._SubParsersAction) -> None:
    """Adds `course recover` to the commands."""
    command = commands.add_parser(
        "recover",
        help="solve an inverse problem: measure test images badly, recover them, write both",
    )
    command.add_argument("source", metavar="DIR|pretrained:FAMILY/DATASET")
    command.add_argument(
        "--problem",
        required=True,
        metavar="NAME",
        help="such as inpaint-half; an unknown name lists all",
    )
    command.add_argument(
        "--method",
        metavar="NAME",
        help="such as tweedie; an unknown name lists the family's (default: its favourite)",
    )
    command.add_argument(
        "--dataset", help="whose test images are measured (default: the one it was trained on)"
    )
    add_data(command)
    command.add_argument(
        "--num", type=int, default=8, metavar="N", help="how many test images (default: 8)"
    )
    command.add_argument(
        "--samples", type=int, default=8, metavar="N", help="solutions of each (default: 8)"
    )
    command.add_argument(
        "--noise-std",
        type=float,
        metavar="STD",
        help="of a measurement, pixels in [-1, 1] (default: the problem's own)",
    )
    command.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the choice of images, their noise and the solutions (default: 0)",
    )
    command.add_argument("--out", type=path_argument, required=True, metavar="FILE.png")
    command.set_defaults(run=recover_command)


def recover_command(options: argparse.Namespace) -> int:
    """Writes one row a test image: the image, what was measured, the mean of all solutions, the
    solutions. Prints how good they are.
    """
    import torch

    from course_utils.base.device import make_rng
    from course_utils.base.images import save_png, signed_to_uint8, uint8_to_signed
    from course_utils.cli.images import data_for
    from course_utils.inverse.problems import make_problem
    from course_utils.inverse.solve import check_method, score_recoveries
    from course_utils.inverse.solve import recover as solve
    from course_utils.training.runs import resolve

    _check(options)
    run = resolve(options.source)
    method = check_method(run.model.family, options.method)
    problem = make_problem(options.problem, run.model.config.image_shape, options.noise_std)
    dataset = data_for(run, options)
    if options.num > len(dataset.test_images):
        raise CourseError(
            f"--num: expected at most the {len(dataset.test_images):,} test images of"
            f" {dataset.name}, got {options.num:,}."
        )
    truths = uint8_to_signed(dataset.subset(num_test=options.num, seed=options.seed).test_images)
    measurements = problem.measure(truths, make_rng(options.seed, 6))
    solutions = solve(
        run.model,
        problem,
        measurements,
        options.samples,
        method=method,
        rng=make_rng(options.seed, 7),
    ).cpu()
    columns = torch.cat(
        [truths[None], problem.shown(measurements)[None], solutions.mean(0)[None], solutions]
    )
    save_png(
        signed_to_uint8(columns.transpose(0, 1).flatten(0, 1)),
        options.out,
        num_columns=len(columns),
    )
    print(
        f"{options.out}: {options.source}, {problem.name} by {method}; columns: image, measured,"
        f" mean, {options.samples} solutions"
    )
    for name, measured in score_recoveries(solutions, truths, problem, measurements).items():
        print(f"  {name}: {measured.number}")
    print(
        f"± is one standard error over {options.num} images; distances and the noise of"
        f" {problem.noise_std:g} are on the scale from -1 to 1"
    )
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuses at once what cannot be, before anything is loaded."""
    from course_utils.base.errors import unknown
    from course_utils.inverse.problems import PROBLEMS

    if options.out.suffix.lower() != ".png":
        raise CourseError(f"--out: expected a name that ends in .png, got {options.out}.")
    if options.problem not in PROBLEMS:
        raise unknown("problem", options.problem, PROBLEMS)
    for name, value, least in (
        ("num", options.num, 2),
        ("samples", options.samples, 1),
        ("seed", options.seed, 0),
    ):
        if value < least:
            raise CourseError(f"--{name}: expected at least {least}, got {value}.")
