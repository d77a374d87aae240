"""Exercises of notebook 00, "Start here": pixel ranges, a first generative model, error bars,
changes, seeds, and how unusual an image is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.base.config import override
from course_utils.base.device import make_rng
from course_utils.exercises.judge import (
    Exercise,
    Mistake,
    Wrong,
    describe_difference,
    require_attempt,
    require_repeatable,
    same,
    to_array,
)
from course_utils.training.presets import preset

RTOL, ATOL = 1e-4, 1e-6  # of comparisons with the solution


def _require_uint8(result: Any) -> None:
    """Raises `Wrong` unless an array or tensor holds uint8, the type of stored pixels."""
    dtype = str(getattr(result, "dtype", type(result).__name__)).removeprefix("torch.")
    if dtype != "uint8":
        raise Wrong(
            f"The values are right, but their type is {dtype}, which no picture is stored in:"
            " convert to uint8 at the end."
        )


# ---- 00.levels ----


def to_levels(signed: Tensor) -> Tensor:
    unit = (signed + 1) / 2
    return (unit * 255).round().to(torch.uint8)


def _level_cases() -> list[tuple]:
    """Returns signed pixels that lie clearly nearer to one level than to its neighbours: both ways
    of rounding a half are right, so no pixel is exactly between two levels.
    """
    levels = torch.tensor([0, 1, 2, 63, 127, 128, 200, 253, 254, 255.0])
    offsets = torch.tensor([[0.3], [0.0], [-0.3]])
    signed = ((levels + offsets) / 127.5 - 1).clamp(-1, 1)
    return [(torch.tensor([-1.0, -0.5, 0.01, 0.5, 0.999, 1.0]),), (signed.view(1, 1, 3, 10),)]


def _check_levels(answer: Callable) -> None:
    for (signed,), (untouched,) in zip(_level_cases(), _level_cases()):
        given, right = answer(signed), to_levels(untouched)
        if not torch.equal(signed, untouched):
            raise Wrong(
                "Your function changes the tensor that it is given, so whoever calls it loses the"
                " signed pixels. Work on a new tensor: no `+=` and no method that ends in `_`."
            )
        if not same(given, right, RTOL, ATOL):
            difference = describe_difference(given, right, RTOL, ATOL)
            raise Wrong(f"{difference[0].upper()}{difference[1:]}.")
        _require_uint8(given)


def _truncated(signed: Tensor) -> Tensor:
    return ((signed + 1) / 2 * 255).to(torch.uint8)


def _unshifted(signed: Tensor) -> Tensor:
    return (signed * 255).clamp(0, 255).round().to(torch.uint8)


def _times_256(signed: Tensor) -> Tensor:
    return ((signed + 1) / 2 * 256).clamp(0, 255).round().to(torch.uint8)


def _not_stretched(signed: Tensor) -> Tensor:
    return ((signed + 1) / 2).round().to(torch.uint8)


def _rounded_first(signed: Tensor) -> Tensor:
    return (((signed + 1) / 2).round() * 255).to(torch.uint8)


def _inverted(signed: Tensor) -> Tensor:
    return 255 - to_levels(signed)


def _not_halved(signed: Tensor) -> Tensor:
    return ((signed + 1) * 255).round().clamp(0, 255).to(torch.uint8)


LEVELS = Exercise(
    id="00.levels",
    question="Turn signed pixels in [-1, 1] into the nearest grey levels from 0 to 255, uint8.",
    solution=to_levels,
    why="A wrong range causes no error message; it only makes every later number wrong.",
    cases=_level_cases,
    check=_check_levels,
    mistakes=(
        Mistake(
            _truncated,
            "You cut off what stands behind the point: 254.9 became 254. Round before you convert"
            " to uint8.",
        ),
        Mistake(
            _unshifted,
            "You read [-1, 1] as if it were [0, 1], so the darker half is black. Move to [0, 1]"
            " first.",
        ),
        Mistake(
            _times_256, "You stretched by 256. There are 256 levels, but the highest one is 255."
        ),
        Mistake(_not_stretched, "Your levels are 0 and 1. Stretch [0, 1] to 0 ... 255 as well."),
        Mistake(
            _rounded_first,
            "You rounded before you stretched, so every pixel became black or white. Round last.",
        ),
        Mistake(_inverted, "Black and white are swapped: -1 is black, level 0."),
        Mistake(
            _not_halved,
            "[-1, 1] is two units wide. After adding 1, the pixels reach up to 2, not 1: halve"
            " them.",
        ),
    ),
    hints=(
        "Go in two steps: signed to unit, then unit to levels.",
        "unit = (signed + 1) / 2.",
        "`.round()` comes before `.to(torch.uint8)`.",
    ),
    explanation="Converting to uint8 truncates, so the rounding has to be asked for.",
)

# ---- 00.pixel_shares ----


def pixel_shares(images: Tensor) -> Tensor:
    return (images > 127).double().mean(0)


def _pixel_cases() -> list[tuple]:
    rng = make_rng(0, 1)
    shapes = (7, 1, 4, 5), (1, 1, 3, 3), (6, 3, 2, 4)  # several, a single one, colour
    cases = [(torch.randint(256, shape, generator=rng).to(torch.uint8),) for shape in shapes]
    at_the_edge = torch.tensor([[127, 128], [0, 255], [127, 127]], dtype=torch.uint8)
    return [*cases, (at_the_edge.view(3, 1, 1, 2),), (torch.zeros(2, 1, 2, 2, dtype=torch.uint8),)]


def _mean_level(images: Tensor) -> Tensor:
    return images.double().mean(0) / 255


def _all_pixels(images: Tensor) -> Tensor:
    return (images > 127).double().mean()


def _each_image(images: Tensor) -> Tensor:
    return (images > 127).double().mean((1, 2, 3))


def _over_channels(images: Tensor) -> Tensor:
    return (images > 127).double().mean(1)


def _counted(images: Tensor) -> Tensor:
    return (images > 127).double().sum(0)


def _any_ink(images: Tensor) -> Tensor:
    return (images > 0).double().mean(0)


def _dark(images: Tensor) -> Tensor:
    return (images <= 127).double().mean(0)


def _kept_axis(images: Tensor) -> Tensor:
    return (images > 127).double().mean(0, keepdim=True)


def _of_256(images: Tensor) -> Tensor:
    return (images > 127).double().sum(0) / 255


PIXEL_SHARES = Exercise(
    id="00.pixel_shares",
    question="For each pixel, return the share of the images in which it is bright (above 127).",
    solution=pixel_shares,
    why="Counting is learning: these numbers came from the images and from nowhere else.",
    cases=_pixel_cases,
    mistakes=(
        Mistake(
            _mean_level,
            "That is the mean grey level. Ask of each image whether the pixel is above 127, then"
            " count.",
        ),
        Mistake(
            _all_pixels,
            "You averaged over everything and got one number. Every pixel needs its own share.",
        ),
        Mistake(
            _each_image,
            "You averaged over the pixels of each image. Average over the images, which are the"
            " first axis.",
        ),
        Mistake(_over_channels, "You averaged over the channels. The images are axis 0."),
        Mistake(_counted, "These are counts. A share is a count over the number of images."),
        Mistake(
            _any_ink,
            "You counted every pixel that is not quite black. A pixel is bright above 127; the"
            " images are uint8.",
        ),
        Mistake(_dark, "You counted the dark pixels."),
        Mistake(
            _kept_axis,
            "There is an axis too many at the front: expected [C, H, W], without the images.",
        ),
        Mistake(
            _of_256, "You divided the count by 255. Divide it by the number of images instead."
        ),
    ),
    hints=(
        "`images > 127` is True where a pixel is bright.",
        "True counts as 1, once it has become a float: `.float()`.",
        "The mean over axis 0 is the mean over the images.",
    ),
    explanation="The mean of zeros and ones is the share of ones.",
)

# ---- 00.sample_pixels ----

MANY = 2500  # drawings; a share is then known to 0.01, one standard error
NOT_RANDOM = (
    "Your pixels are always bright where the share is above one half. A pixel with share 0.7 has to"
    " be dark in 30 % of the drawings, so compare the share with a random number."
)
MEAN_DRAWN = (
    "You painted the shares themselves, which gives grey levels. Each pixel is either 0 or 255, and"
    " chance decides which."
)
ZERO_ONE = "Your pixels are 0 and 1. A bright one has the grey level 255."
ONE_FOR_ALL_PIXELS = (
    "All pixels of one drawing share one random number, so they brighten together. Draw a number"
    " for each pixel."
)
ONE_FOR_ALL_IMAGES = (
    "All your drawings are the same, so the random numbers were drawn once and used again. Draw"
    " them for each image."
)
REVERSED = "Your pixels are bright where they should be dark: turn the comparison round."
RESEEDED = (
    "Two calls in a row with one generator gave the same drawings, so your function seeds the"
    " generator again. Only whoever calls it chooses the seed."
)


def sample_pixels(shares: Tensor, num_images: int, rng: torch.Generator) -> Tensor:
    noise = torch.rand((num_images, *shares.shape), generator=rng, dtype=shares.dtype)
    return 255 * (noise < shares).to(torch.uint8)


def _shares() -> Tensor:
    """Returns shares `[1, 2, 4]` with both edges among them."""
    return torch.tensor([[[0.0, 0.1, 0.3, 0.5], [0.6, 0.7, 0.9, 1.0]]])


def _draw_arguments(num_images: int = 5) -> tuple:
    return _shares(), num_images, make_rng(0, 2)


def _check_draw(answer: Callable) -> None:
    shares = _shares()
    for num_images in (1, 5):
        drawn = answer(*_draw_arguments(num_images))
        _require_shape(drawn, [num_images, *shares.shape])
    require_repeatable(answer, _draw_arguments)
    rng = make_rng(0, 3)
    drawn, more = (to_array(answer(shares, MANY, rng)) for _ in range(2))
    _check_levels_drawn(drawn)
    if (drawn == more).all():
        raise Wrong(RESEEDED if drawn.std(0).any() else NOT_RANDOM)
    if not drawn.std(0).any():
        raise Wrong(ONE_FOR_ALL_IMAGES)
    _check_shares_drawn(drawn / 255)
    _require_uint8(answer(*_draw_arguments()))


def _require_shape(drawn: Any, expected: list[int]) -> None:
    shape = list(to_array(drawn).shape)
    if shape != expected:
        raise Wrong(
            f"Expected drawings of shape {expected}, the number of images first, got {shape}."
        )


def _check_levels_drawn(drawn: Any) -> None:
    """Raises `Wrong` unless every pixel is 0 or 255."""
    levels = set(drawn.ravel().tolist())
    if levels <= {0.0, 255.0}:
        return
    if levels <= {0.0, 1.0}:
        raise Wrong(ZERO_ONE)
    if any(level != level for level in levels):  # NaN
        raise Wrong("Your drawings hold NaN.")
    if len(levels) <= 2 * _shares().numel():  # as many grey levels as there are shares
        raise Wrong(MEAN_DRAWN)
    raise Wrong(
        f"Each pixel is either 0 or 255, and yours take {len(levels):,} different values. Compare"
        " the random numbers with the shares."
    )


def _check_shares_drawn(bright: Any) -> None:
    """Raises `Wrong` unless pixels are bright as often as they should be, each by itself.

    Args:
        bright: 0 and 1, `[MANY, C, H, W]`.
    """
    right = to_array(_shares()).ravel()
    flat = bright.reshape(len(bright), -1)
    measured = flat.mean(0)
    if abs(measured - (1 - right)).max() < 0.05:
        raise Wrong(REVERSED)
    worst = abs(measured - right).argmax()
    if abs(measured[worst] - right[worst]) > 0.05:  # five standard errors
        raise Wrong(
            f"A pixel with the share {right[worst]:.1f} is bright in {measured[worst]:.0%} of your"
            " drawings. torch.rand gives numbers from 0 to 1, and one is below the share exactly"
            " as often as it should be."
        )
    both = (flat[:, 2] * flat[:, 5]).mean()  # 0.3 * 0.7 where they are independent
    if abs(both - 0.3 * 0.7) > 0.05:
        raise Wrong(ONE_FOR_ALL_PIXELS)


def _thresholded(shares: Tensor, num_images: int, rng: torch.Generator) -> Tensor:
    return (255 * (shares > 0.5)).to(torch.uint8).expand(num_images, *shares.shape)


def _painted(shares: Tensor, num_images: int, rng: torch.Generator) -> Tensor:
    return (255 * shares).round().to(torch.uint8).expand(num_images, *shares.shape)


def _zero_one(shares: Tensor, num_images: int, rng: torch.Generator) -> Tensor:
    return (torch.rand((num_images, *shares.shape), generator=rng) < shares).to(torch.uint8)


def _one_number_an_image(shares: Tensor, num_images: int, rng: torch.Generator) -> Tensor:
    noise = torch.rand((num_images, 1, 1, 1), generator=rng)
    return 255 * (noise < shares).to(torch.uint8)


def _one_drawing(shares: Tensor, num_images: int, rng: torch.Generator) -> Tensor:
    noise = torch.rand(shares.shape, generator=rng)
    return (255 * (noise < shares).to(torch.uint8)).expand(num_images, *shares.shape)


def _reversed(shares: Tensor, num_images: int, rng: torch.Generator) -> Tensor:
    noise = torch.rand((num_images, *shares.shape), generator=rng)
    return 255 * (noise > shares).to(torch.uint8)


def _reseeded(shares: Tensor, num_images: int, rng: torch.Generator) -> Tensor:
    return sample_pixels(shares, num_images, rng.manual_seed(0))


SAMPLE_PIXELS = Exercise(
    id="00.sample_pixels",
    question="Draw images in which each pixel is 255 as often as its share says, otherwise 0.",
    solution=sample_pixels,
    why="You have written a generative model: fit it by counting, then draw from it.",
    check=_check_draw,
    mistakes=(
        Mistake(_thresholded, NOT_RANDOM),
        Mistake(_painted, MEAN_DRAWN),
        Mistake(_zero_one, ZERO_ONE),
        Mistake(_one_number_an_image, ONE_FOR_ALL_PIXELS),
        Mistake(_one_drawing, ONE_FOR_ALL_IMAGES),
        Mistake(_reversed, REVERSED),
        Mistake(_reseeded, RESEEDED),
    ),
    hints=(
        "A random number between 0 and 1 is below 0.7 in 70 % of all cases.",
        "torch.rand((num_images, *shares.shape), generator=rng) is one number for each pixel of"
        " each image.",
        "Compare, multiply by 255, convert to uint8.",
    ),
)

# ---- 00.standard_error ----


def standard_error(values: Tensor) -> Tensor:
    return values.std() / len(values) ** 0.5


def _error_cases() -> list[tuple]:
    rng = make_rng(1)
    return [
        (0.3 * torch.randn(200, generator=rng) + 2,),
        (torch.rand(500, generator=rng),),
        (-4 * torch.rand(900, generator=rng).double(),),
        (torch.full((50,), 0.7, dtype=torch.float64),),  # equal values: no scatter at all
    ]


STANDARD_ERROR = Exercise(
    id="00.standard_error",
    question="Predict from `values` alone how far their mean scatters: its standard error.",
    solution=standard_error,
    why="A mean without its error bar cannot be compared with anything.",
    cases=_error_cases,
    mistakes=(
        Mistake(
            lambda values: values.std(),
            "That is the spread of single values. The mean of many is known better than one of"
            " them: divide.",
        ),
        Mistake(
            lambda values: values.std() / len(values),
            "You divided by N. Four times as many values halve the error, they do not quarter it.",
        ),
        Mistake(
            lambda values: values.var() / len(values) ** 0.5,
            "You started from the variance, which has squared units. Start from the standard"
            " deviation.",
        ),
        Mistake(
            lambda values: values.var() / len(values),
            "This is the variance of the mean, the square of what was asked for. One root is"
            " missing.",
        ),
        Mistake(
            lambda values: values.std() * len(values) ** 0.5,
            "You multiplied by the root of N. More values make a mean more certain: divide.",
        ),
        Mistake(
            lambda values: values.std() / 2,
            "Your result does not depend on how many values there are, but four times as many"
            " halve the scatter of their mean.",
        ),
        Mistake(lambda values: values.mean(), "That is the mean itself, not its scatter."),
        Mistake(
            lambda values: values.mean() / len(values) ** 0.5,
            "You divided the mean. What scatters is measured by the standard deviation.",
        ),
        Mistake(
            lambda values: values.square().mean().sqrt() / len(values) ** 0.5,
            "The root of the mean square counts the mean itself as scatter. Measure from the mean:"
            " that is the standard deviation.",
        ),
        Mistake(
            lambda values: 1.96 * values.std() / len(values) ** 0.5,
            "That is half of a 95 % interval, 1.96 standard errors. Return one standard error.",
        ),
    ),
    hints=(
        "Divide the standard deviation by something that grows with N.",
        "Four times as many values halve the result.",
        "std / sqrt(N).",
    ),
    rtol=1e-2,  # dividing by N or by N - 1 inside the standard deviation is both fine
)

# ---- 00.changes ----

CHANGES = {"model.latent_dim": 8, "train.num_epochs": 1, "train.num_train_images": 6000}


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
    if experiment.train.num_train_images != CHANGES["train.num_train_images"]:
        given = experiment.train.num_train_images
        raise Wrong(
            f"This experiment trains on {'all' if given is None else f'{given:,}'} images; the"
            " question asks for another number."
        )
    extra = sorted(set(changes) - set(CHANGES))
    if extra:
        raise Wrong(f"Only three settings should change; {', '.join(extra)} is one too many.")


SETTINGS = Exercise(
    id="00.changes",
    question=(
        "Write the changes that give a VAE 8 latent dimensions and train it for 1 epoch on 6,000"
        " images."
    ),
    solution=CHANGES,
    why=(
        "A change that is written down as data can be repeated, compared and stored with its"
        " result."
    ),
    check=_check_changes,
    mistakes=(
        Mistake(
            {"latent_dim": 8, "num_epochs": 1, "num_train_images": 6000},
            "The group is missing. Each name starts with its group, then a dot.",
        ),
        Mistake(
            {"model.latent_dim": 8, "model.num_epochs": 1, "model.num_train_images": 6000},
            "How long to train, and on how much, is no property of the model. Look for the other"
            " group.",
        ),
        Mistake(
            {"model.latent_dim": "8", "train.num_epochs": "1", "train.num_train_images": "6000"},
            "You gave texts. Leave out the quotation marks around the numbers.",
        ),
        Mistake(
            {"model": {"latent_dim": 8}, "train": {"num_epochs": 1, "num_train_images": 6000}},
            "You nested one dictionary in another. Write the group and the name as one text with a"
            " dot between them.",
        ),
    ),
    hints=(
        "The table above has all three names in full.",
        'One of the three entries is "model.latent_dim": 8.',
    ),
)

# ---- 00.seed ----

ONE_GENERATOR = (
    "Your second batch goes on where the first one stopped, because drawing uses a generator up."
    " Make a new one."
)
NEXT_SEED = "Your second batch has another seed. Equal seeds give equal draws."
GLOBAL_SEED = (
    "You passed no generator, so the numbers came from torch's global one, which the whole program"
    " shares. Pass one of your own: make_rng(seed)."
)
DRAWN_ONCE = (
    "You drew once and returned the batch twice. Draw a second time: the point is that another"
    " call, perhaps on another day, gives the same images."
)
FIXED_SEED = "Your batches do not depend on `seed`: other seeds have to give other images."


def equal_batches(sample: Any, seed: int) -> tuple[Tensor, Tensor]:
    first = sample(4, make_rng(seed))
    second = sample(4, make_rng(seed))
    return first, second


class _Recorder:
    """Draws noise as a model would, and remembers how it was called."""

    def __init__(self) -> None:
        self.generators: list[Any] = []
        self.seeds: list[Any] = []
        self.numbers: list[int] = []

    def __call__(self, num_images: int, rng: Any = None) -> Tensor:
        self.generators.append(rng)
        self.seeds.append(getattr(rng, "initial_seed", lambda: None)())
        self.numbers.append(num_images)
        generator = rng if isinstance(rng, torch.Generator) else None
        return torch.randn((num_images, 3), generator=generator)


def _check_seed(answer: Callable) -> None:
    firsts = []
    for seed in (0, 7):
        sample = _Recorder()
        batches = answer(sample, seed)
        if not isinstance(batches, (tuple, list)) or len(batches) != 2:
            raise Wrong("Expected two batches: return first, second.")
        for batch in batches:
            require_attempt(batch)
        _check_calls(sample, batches)
        firsts.append(batches[0])
    if torch.equal(*firsts):
        raise Wrong(FIXED_SEED)


def _check_calls(sample: _Recorder, batches: Any) -> None:
    """Raises `Wrong` unless two equal batches of 4 were drawn, each from a generator of its own."""
    if len(sample.numbers) < 2:
        raise Wrong(DRAWN_ONCE if sample.numbers else "Your function never calls `sample`.")
    if any(number != 4 for number in sample.numbers):
        raise Wrong(f"Expected batches of 4, got {sample.numbers}.")
    for rng in sample.generators:
        if rng is None:
            raise Wrong(GLOBAL_SEED)
        if not isinstance(rng, torch.Generator):
            kind = f"{type(rng).__module__}.{type(rng).__name__}"
            raise Wrong(f"Expected a torch generator, such as make_rng(seed), got a {kind}.")
    if not torch.equal(torch.as_tensor(batches[0]), torch.as_tensor(batches[1])):
        raise Wrong(ONE_GENERATOR if len(set(sample.seeds)) == 1 else NEXT_SEED)


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


def _drawn_once(sample: Any, seed: int) -> tuple[Tensor, Tensor]:
    first = sample(4, make_rng(seed))
    return first, first


def _fixed_seed(sample: Any, seed: int) -> tuple[Tensor, Tensor]:
    return sample(4, make_rng(0)), sample(4, make_rng(0))


SEED = Exercise(
    id="00.seed",
    question="Draw the same batch of 4 twice, both times from `seed`.",
    solution=equal_batches,
    why=(
        "If you can draw the same noise again, every change of the images comes from a change of"
        " the model."
    ),
    check=_check_seed,
    mistakes=(
        Mistake(_one_generator, ONE_GENERATOR),
        Mistake(_next_seed, NEXT_SEED),
        Mistake(_global_seed, GLOBAL_SEED),
        Mistake(_drawn_once, DRAWN_ONCE),
        Mistake(_fixed_seed, FIXED_SEED),
    ),
    hints=(
        "What does `sample` do to the generator that it is given?",
        "Make a generator for each of the two calls.",
        "make_rng(seed) twice.",
    ),
)

# ---- 00.share_above ----


def share_above(losses: Tensor, reference: Tensor) -> Tensor:
    return (reference[None, :] >= losses[:, None]).double().mean(1)


def _loss_cases() -> list[tuple]:
    rng = make_rng(4)
    reference = 80 + 20 * torch.randn(40, generator=rng)
    ends = torch.stack([reference.min() - 5, reference.max() + 5, reference[3]])  # a tie as well
    return [
        (torch.tensor([60.0, 85.0, 110.0, 80.5]), reference),
        (ends, reference),
        (torch.tensor([3.0]), torch.tensor([3.0, 3.0, 2.0, 9.0])),  # one image
        (torch.arange(5.0), torch.arange(5.0)),  # as many as there are references
    ]


def _share_below(losses: Tensor, reference: Tensor) -> Tensor:
    return (reference[None, :] < losses[:, None]).double().mean(1)


def _strictly_above(losses: Tensor, reference: Tensor) -> Tensor:
    return (reference[None, :] > losses[:, None]).double().mean(1)


def _number_above(losses: Tensor, reference: Tensor) -> Tensor:
    return (reference[None, :] >= losses[:, None]).double().sum(1)


def _of_mean(losses: Tensor, reference: Tensor) -> Tensor:
    return (reference[None, :] >= losses.mean()).double().mean(1).expand(len(losses))


def _for_each_reference(losses: Tensor, reference: Tensor) -> Tensor:
    return (reference[None, :] >= losses[:, None]).double().mean(0)


def _all_pairs(losses: Tensor, reference: Tensor) -> Tensor:
    return (reference[None, :] >= losses[:, None]).double().mean()


def _paired(losses: Tensor, reference: Tensor) -> Tensor:
    return (reference >= losses).double().mean()


def _standardised(losses: Tensor, reference: Tensor) -> Tensor:
    return (losses - reference.mean()) / reference.std()


SHARE_ABOVE = Exercise(
    id="00.share_above",
    question=(
        "For each of your losses, return the share of the reference losses that are at least as"
        " high."
    ),
    solution=share_above,
    why=(
        "A loss has no meaning by itself. Its place among the losses of ordinary images has one,"
        " and no curve has to be assumed."
    ),
    cases=_loss_cases,
    mistakes=(
        Mistake(
            _share_below,
            "You counted the references that are lower. A high loss is unusual, so its share has"
            " to be small.",
        ),
        Mistake(_strictly_above, "Equal losses count as well: 'at least as high' includes them."),
        Mistake(_number_above, "These are counts. Divide by the number of references."),
        Mistake(
            _of_mean,
            "You compared with the mean of your losses. Each image has a share of its own.",
        ),
        Mistake(
            _for_each_reference,
            "You averaged over your own losses and got one share for each reference. Average over"
            " the references.",
        ),
        Mistake(
            _all_pairs, "You averaged over all pairs. Keep one number for each of your losses."
        ),
        Mistake(
            _paired,
            "You compared the two lists item by item. Each of your losses is compared with all"
            " references.",
        ),
        Mistake(
            _standardised,
            "That is the distance from the mean in standard deviations. Count instead: losses do"
            " not follow a bell-shaped curve.",
        ),
    ),
    hints=(
        "For one loss: (reference >= loss).float().mean().",
        "For several at once, put them along another axis: losses[:, None].",
        "The mean over axis 1 is the mean over the references.",
    ),
)

# ---- all of them ----

TOY = Exercise(
    id="00.toy",
    question="How many pixels has an image of 28 rows and 28 columns?",
    solution=784,
    why="An image is a point in a space with one axis for each pixel.",
    mistakes=(
        Mistake(28, "That is one row. Count the pixels of all rows."),
        Mistake(56, "You added rows and columns. Each row crosses each column once."),
        Mistake(756, "28 * 27: the last row is missing."),
        Mistake(27 * 27, "You counted the gaps between the lines. There are 28 pixels a row."),
        Mistake(28 * 28 * 3, "Those are the numbers of a colour image. Count each place once."),
        Mistake("784", "That is a text. Leave out the quotation marks."),
        Mistake("28 * 28", "Leave out the quotation marks, and Python multiplies for you."),
        Mistake(256, "That is the number of grey levels of one pixel."),
    ),
    hints=("One row has 28 pixels.", "There are 28 such rows."),
    explanation="28 rows of 28 pixels: 28 * 28 = 784.",
)

EXERCISES = (TOY, LEVELS, PIXEL_SHARES, SAMPLE_PIXELS, STANDARD_ERROR, SETTINGS, SEED, SHARE_ABOVE)
