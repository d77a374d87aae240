"""Exercises of notebook 00, "Start here": pixel ranges, the loss of a batch, seeds, changes and
error bars.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_utils.base.config import override
from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake, Wrong
from course_utils.training.presets import preset


def to_levels(signed: Tensor) -> Tensor:
    unit = (signed + 1) / 2
    return (unit * 255).round().to(torch.uint8)


def _truncated(signed: Tensor) -> Tensor:
    return ((signed + 1) / 2 * 255).to(torch.uint8)


def _unshifted(signed: Tensor) -> Tensor:
    return (signed * 255).clamp(0, 255).round().to(torch.uint8)


def _times_256(signed: Tensor) -> Tensor:
    return ((signed + 1) / 2 * 256).clamp(0, 255).round().to(torch.uint8)


def batch_loss(terms: dict[str, Tensor], beta: float) -> Tensor:
    per_image = terms["reconstruction"] + beta * terms["kl"]
    return per_image.mean()


def _summed(terms: dict[str, Tensor], beta: float) -> Tensor:
    return (terms["reconstruction"] + beta * terms["kl"]).sum()


def _without_beta(terms: dict[str, Tensor], beta: float) -> Tensor:
    return (terms["reconstruction"] + terms["kl"]).mean()


def _kl_subtracted(terms: dict[str, Tensor], beta: float) -> Tensor:
    return (terms["reconstruction"] - beta * terms["kl"]).mean()


def _per_image(terms: dict[str, Tensor], beta: float) -> Tensor:
    return terms["reconstruction"] + beta * terms["kl"]


def _loss_cases() -> list[tuple]:
    rng = make_rng(0)
    terms = [
        {name: 50 * torch.rand(size, generator=rng) for name in ("reconstruction", "kl")}
        for size in (4, 7)
    ]
    return [(terms[0], 2.0), (terms[1], 0.5)]


def equal_batches(sample: Any, seed: int) -> tuple[Tensor, Tensor]:
    first = sample(4, make_rng(seed))
    second = sample(4, make_rng(seed))
    return first, second


def _one_generator(sample: Any, seed: int) -> tuple[Tensor, Tensor]:
    rng = make_rng(seed)
    return sample(4, rng), sample(4, rng)


def _next_seed(sample: Any, seed: int) -> tuple[Tensor, Tensor]:
    return sample(4, make_rng(seed)), sample(4, make_rng(seed + 1))


def _global_seed(sample: Any, seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    first = sample(4, None)
    torch.manual_seed(seed)
    return first, sample(4, None)


def _noise(num_images: int, rng: torch.Generator | None) -> Tensor:
    return torch.randn((num_images, 3), generator=rng)


CHANGES = {"model.latent_dim": 8, "train.num_epochs": 5}


def _check_changes(changes: Any) -> None:
    if not isinstance(changes, dict):
        raise Wrong(
            'Expected a dictionary from setting names to values, such as {"train.batch_size": 64}.'
        )
    # its error for a wrong name is the best message there is
    experiment = override(preset("vae", "laptop"), changes)
    if experiment.model.latent_dim != CHANGES["model.latent_dim"]:
        raise Wrong(
            f"This experiment has {experiment.model.latent_dim} latent dimensions; the question"
            " asks for another number."
        )
    if experiment.train.num_epochs != CHANGES["train.num_epochs"]:
        raise Wrong(
            f"This experiment trains for {experiment.train.num_epochs} epochs; the question asks"
            " for another number."
        )
    extra = sorted(set(changes) - set(CHANGES))
    if extra:
        raise Wrong(f"Only two settings should change; {', '.join(extra)} is one too many.")


def standard_error(values: Tensor) -> Tensor:
    return values.std() / len(values) ** 0.5


def _spread(values: Tensor) -> Tensor:
    return values.std()


def _over_n(values: Tensor) -> Tensor:
    return values.std() / len(values)


def _variance_over_root(values: Tensor) -> Tensor:
    return values.var() / len(values) ** 0.5


def _variance_over_n(values: Tensor) -> Tensor:
    return values.var() / len(values)


EXERCISES = (
    Exercise(
        id="00.toy",
        question="How many pixels has an image of 28 rows and 28 columns?",
        solution=784,
        why="An image is a point in a space with one axis for each pixel.",
        mistakes=(
            Mistake(28, "That is one row. Count the pixels of all rows."),
            Mistake(56, "You added rows and columns. Each row crosses each column once."),
        ),
        hints=("One row has 28 pixels.", "There are 28 such rows."),
        explanation="28 rows of 28 pixels: 28 * 28 = 784.",
    ),
    Exercise(
        id="00.levels",
        question="Turn signed pixels in [-1, 1] into the nearest grey levels from 0 to 255.",
        solution=to_levels,
        why=(
            "A wrong range makes no error message by itself; it only makes every later number"
            " wrong."
        ),
        cases=lambda: [
            (torch.tensor([-1.0, -0.5, 0.01, 0.5, 0.999, 1.0]),),
            (torch.linspace(-1, 1, 41).view(1, 1, 1, 41),),
        ],
        mistakes=(
            Mistake(
                _truncated,
                "You cut off what stands behind the point: 254.9 became 254. Round before you"
                " convert to uint8.",
            ),
            Mistake(
                _unshifted,
                "You read [-1, 1] as if it were [0, 1], so the darker half is black. Move to [0, 1]"
                " first.",
            ),
            Mistake(
                _times_256,
                "You stretched by 256. There are 256 levels, but the highest one is 255.",
            ),
        ),
        hints=(
            "Go in two steps: signed to unit, then unit to levels.",
            "unit = (signed + 1) / 2.",
            "`.round()` comes before `.to(torch.uint8)`.",
        ),
        explanation="Converting to uint8 truncates, so the rounding has to be asked for.",
    ),
    Exercise(
        id="00.loss",
        question=(
            "Return the one number that training minimises for a batch, from its per-image terms"
            " and beta."
        ),
        solution=batch_loss,
        why=(
            "A mean over images keeps its size when the batch grows, so learning rates and curves"
            " stay comparable."
        ),
        cases=_loss_cases,
        mistakes=(
            Mistake(
                _summed,
                "You summed over the images: a batch twice as large would give a loss twice as"
                " large. Average over the images.",
            ),
            Mistake(
                _without_beta, "beta has no effect in your answer. It weighs one of the two terms."
            ),
            Mistake(
                _kl_subtracted,
                "You subtracted the KL term. Both terms are costs, and training makes both small.",
            ),
            Mistake(
                _per_image,
                "This is still one value an image. Training needs one number for the whole batch.",
            ),
        ),
        hints=(
            "First write the loss of each image, then reduce it.",
            "Of one image: reconstruction + beta * kl.",
            "The last step is `.mean()`.",
        ),
    ),
    Exercise(
        id="00.seed",
        question="Draw the same batch of 4 twice, both times from `seed`.",
        solution=equal_batches,
        why=(
            "Who can draw the same images again can show that a change of the images came from a"
            " change of the model."
        ),
        cases=lambda: [(_noise, 0), (_noise, 7)],
        mistakes=(
            Mistake(
                _one_generator,
                "Your second batch goes on where the first one stopped: drawing uses a generator"
                " up. Make a new one.",
            ),
            Mistake(
                _next_seed, "Your second batch has another seed. Equal seeds give equal draws."
            ),
            Mistake(
                _global_seed,
                "You seeded torch's global generator, which the whole program shares. Pass one of"
                " your own: make_rng(seed).",
            ),
        ),
        hints=(
            "What does `sample` do to the generator that it is given?",
            "Make a generator for each of the two calls.",
            "make_rng(seed) twice.",
        ),
    ),
    Exercise(
        id="00.changes",
        question="Write the changes that give a VAE 8 latent dimensions and train it for 5 epochs.",
        solution=CHANGES,
        why=(
            "A change that is written down as data can be repeated, compared and stored with its"
            " result."
        ),
        check=_check_changes,
        mistakes=(
            Mistake(
                {"latent_dim": 8, "num_epochs": 5},
                "The group is missing. Each name starts with its group, then a dot.",
            ),
            Mistake(
                {"model.latent_dim": 8, "model.num_epochs": 5},
                "How long to train is no property of the model. Look for the other group.",
            ),
            Mistake(
                {"model.latent_dim": "8", "train.num_epochs": "5"},
                "You gave texts. Leave out the quotation marks around the numbers.",
            ),
        ),
        hints=(
            "The table above has both names in full.",
            'One of the two entries is "model.latent_dim": 8.',
        ),
    ),
    Exercise(
        id="00.standard_error",
        question="Return the standard error of the mean of `values`.",
        solution=standard_error,
        why="A mean without its error bar cannot be compared with anything.",
        cases=lambda: [
            (0.3 * torch.randn(200, generator=make_rng(1)) + 2,),
            (torch.rand(500, generator=make_rng(2)),),
        ],
        mistakes=(
            Mistake(
                _spread,
                "That is the spread of single values. The mean of many is known better than one of"
                " them: divide.",
            ),
            Mistake(
                _over_n,
                "You divided by N. Four times as many values halve the error, they do not"
                " quarter it.",
            ),
            Mistake(
                _variance_over_root,
                "You started from the variance, which has squared units. Start from the standard"
                " deviation.",
            ),
            Mistake(
                _variance_over_n,
                "This is the variance of the mean, the square of what was asked for. One root is"
                " missing.",
            ),
        ),
        hints=(
            "Divide the standard deviation by something that grows with N.",
            "Four times as many values halve the result.",
            "std / sqrt(N).",
        ),
        rtol=1e-2,  # dividing by N or by N - 1 inside the standard deviation is both fine
    ),
)
