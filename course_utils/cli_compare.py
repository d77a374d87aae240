"""The command `course compare`. `cli.py` imports this file for its options; whatever is heavy is imported when the command runs."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_command(commands: argparse._SubParsersAction) -> None:
    """Adds `compare` to the commands of `course`."""
    command = commands.add_parser(
        "compare",
        help="train families with several seeds and measure them by one protocol",
        description="Trains and measures each family with each seed. Stopped or repeated, the same command goes on where it was.",
    )
    command.add_argument("families", nargs="+", metavar="FAMILY", help="vae, dcgan, diffusion, ..., or a variant such as dcgan-plain")
    command.add_argument("--dataset", default="auto", help="auto, mnist, fashion, strokes or folder:PATH (default: auto)")
    command.add_argument("--image-size", type=int, default=28, metavar="PIXELS", help="side of the images of folder:PATH (default: 28)")
    command.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each family, seeds 0 to N - 1 (default: 3)")
    command.add_argument("--budget", help="smoke, laptop or gpu (default: by the device, or COURSE_BUDGET)")
    command.add_argument("--num", type=int, metavar="N", help="samples of each training (default: 10000, smoke: 300, or as many as there are)")
    command.add_argument("--features", default="classifier", help="classifier, pixels, inception, or a classifier's DIR (default: classifier)")
    command.add_argument("--hold-out", type=int, default=0, metavar="N", help="train without N images and test for copies against them (default: 0)")
    command.add_argument("--no-shipped", dest="use_shipped", action="store_false", help="train even where equal weights ship with the course")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="for rows.jsonl, comparison.json, .csv and .png")
    command.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from course_utils.data import check_name, load_dataset
    from course_utils.device import budget
    from course_utils.presets import preset
    from course_utils.protocol import compare, make_protocol

    budget_name = options.budget or budget()
    for family in options.families:  # a misspelt name is told before the data are loaded
        preset(family, budget_name)
    check_name(options.dataset)
    dataset = load_dataset(options.dataset, image_size=options.image_size)
    protocol = make_protocol(dataset, budget_name, options.num, options.features, options.hold_out)
    result = compare(options.families, dataset, protocol, options.seeds, options.out, use_shipped=options.use_shipped)
    print(result)
    print(f"{', '.join(map(str, result.save(options.out)))}: written")
    return 0
