"""What the exercises of notebook 07 accept and refuse beyond their listed mistakes: other styles of
right answers, wrong ones with the words that name the error, and the solutions against the library.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from messages import message, passes
from torch import nn

from course_utils.base.device import make_rng
from course_utils.exercises import nb07
from course_utils.exercises.judge import NOT_ATTEMPTED, judge
from course_utils.models.diffusion.samplers import (
    Guided,
    Level,
    State,
    ddim_step,
    sample,
    straight_step,
    velocity_of,
)
from course_utils.models.diffusion.schedules import (
    cosine_schedule,
    flow_schedule,
    from_target,
    linear_schedule,
    make_target,
    score_of,
)
from course_utils.models.diffusion.unet import FiLMBlock, time_features

IMAGE_SHAPE = (4, 1, 4, 4)
NAN = math.nan


@pytest.fixture
def images():
    """x0, eps and more noise."""
    return torch.randn(3, *IMAGE_SHAPE, generator=make_rng(0), dtype=torch.float64).unbind()


def test_the_notebook_has_seven_core_parts_two_deeper_ones_and_the_hunt():
    ids = [exercise.id for exercise in nb07.EXERCISES]
    assert ids[:7] == [f"07.{name}" for name in (
        "noising", "time_embedding", "film", "route", "loss", "sampler", "guide"
    )]  # fmt: skip
    assert ids[7:9] == ["07.score", "07.ddim"] and len(ids) == 19


# ------------------------------------------------------------------ noising


def along(t):
    return t[:, None, None, None]


def test_noising_is_the_flow_schedule_with_its_target(images):
    x0, eps, _ = images
    t, schedule = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float64), flow_schedule()
    xt, velocity = nb07.NOISING.solution(x0, eps, t)
    torch.testing.assert_close(xt, schedule.noised(x0, eps, t))
    torch.testing.assert_close(velocity, make_target("velocity", schedule, x0, eps, t))


def by_lerp(x0, noise, t):
    return torch.lerp(x0, noise, t.view(-1, 1, 1, 1)), noise - x0


def image_by_image(x0, noise, t):
    rows = [(1 - s) * x + s * n for x, n, s in zip(x0, noise, t)]
    return torch.stack(rows), noise - x0


def by_numpy(x0, noise, t):
    t = t.numpy()[:, None, None, None]
    return (1 - t) * x0.numpy() + t * noise.numpy(), noise.numpy() - x0.numpy()


@pytest.mark.parametrize("answer", [by_lerp, image_by_image, by_numpy])
def test_other_noising_passes(answer):
    assert passes("07.noising", answer)


def pair(x0, noise, t):
    return nb07.NOISING.solution(x0, noise, t)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, n, t: pair(x, n, t)[::-1], "swapped"),
        (lambda x, n, t: (pair(x, n, t)[0], x - n), "sign of the velocity"),
        (lambda x, n, t: (pair(x, n, t)[0], n), "the noise alone"),
        (lambda x, n, t: pair(n, x, t), "runs from the noise at t = 0"),
        (lambda x, n, t: ((1 - t) * x + t * n, n - x), "columns of pixels"),
        (lambda x, n, t: pair(x, n, t[:1].expand(len(t))), "expected|values differ"),
        (lambda x, n, t: pair(x, n, t)[0], "velocity, which is what the network learns"),
        (lambda x, n, t: (pair(x, n, t)[0], (n - x) * along(t)), "Item 1"),
        (lambda x, n, t: (x + along(t) * n, n - x), "Item 0"),
        (lambda x, n, t: (pair(x, n, t)[0] * NAN, n - x), "NaN"),
        (lambda x, n, t: (pair(x, n, t)[0].flatten(1), n - x), "shape"),
        (lambda x, n, t: print(end=""), "Is the `return` missing"),
        (lambda x, n, t: ((1 - t[:, None]) * x + t[:, None] * n, n - x), "rows of pixels"),
    ],
)
def test_wrong_noising_is_named(answer, words):
    found = message("07.noising", answer)
    assert any(word in found for word in words.split("|")), found


# ------------------------------------------------------------------ time embedding


def test_the_library_tells_times_by_the_same_frequencies():
    t = torch.linspace(0, 1, 7)
    found = nb07.TIME_EMBEDDING.solution(t, 16)
    torch.testing.assert_close(found, time_features(t, 16), rtol=0, atol=1e-3)
    assert passes("07.time_embedding", time_features)


def waves(frequencies, parts=("sin", "cos")):
    def answer(t, dim):
        angles = t[:, None] * torch.as_tensor(frequencies(dim // 2), dtype=torch.float32)
        return torch.cat([getattr(angles, part)() for part in parts], dim=1)

    return answer


def interleaved(t, dim):
    angles = t[:, None] * 1000 * torch.logspace(0, -4, dim // 2)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


@pytest.mark.parametrize(
    "answer",
    [
        interleaved,
        waves(lambda num: 1000 * 10_000 ** (-torch.arange(num) / num)),
        waves(lambda num: np.geomspace(0.5, 500, num)),
        waves(lambda num: torch.linspace(1, 200, num)),
        waves(lambda num: 1000 * torch.logspace(0, -4, num), ("cos", "sin")),
    ],
    ids=["interleaved", "without the end point", "numpy", "evenly spaced", "cosines first"],
)
def test_other_frequencies_pass(answer):
    assert passes("07.time_embedding", answer)


RIGHT = 1000 * torch.logspace(0, -4, 32)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (waves(lambda num: torch.logspace(0, -4, num)), "could not tell them apart"),
        (waves(lambda num: torch.ones(num)), "could not tell them apart"),
        (waves(lambda num: 500 * torch.ones(num)), "columns are equal|same numbers"),
        (waves(lambda num: 2 * math.pi * 50 * torch.arange(1, num + 1)), "come back to where"),
        (waves(lambda num: 1000 * torch.logspace(0, -4, num), ("sin",)), "side by side"),
        (waves(lambda num: 1000 * torch.logspace(0, -4, num), ("sin", "sin")), "columns are equal"),
        (waves(lambda num: 1000 * torch.logspace(0, -4, num), ("neg", "abs")), "no sines"),
        (waves(lambda num: 1000 * torch.rand(num)), "different numbers"),
        (lambda t, dim: torch.zeros(len(t), dim), "do not depend on t"),
        (lambda t, dim: t[:, None].expand(-1, dim), "could not tell them apart"),
        (lambda t, dim: time_features(t, dim).T, "Rows and columns are swapped"),
        (lambda t, dim: time_features(t, dim + 2), "got [5, 66]"),
        (lambda t, dim: time_features(t, dim)[0], "got [64]"),
        (lambda t, dim: time_features(t, dim) * NAN, "NaN or infinity"),
        (lambda t, dim: time_features(t / t.max().clamp(min=0.01), dim), "depend on the other"),
        (lambda t, dim: time_features(t, dim).numpy(), "Expected a tensor"),
        (lambda t, dim: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_time_embeddings_are_named(answer, words):
    found = message("07.time_embedding", answer)
    assert any(word in found for word in words.split("|")), found


# ------------------------------------------------------------------ FiLM


def test_film_is_that_of_the_library():
    block = FiLMBlock(8, 8, 6)
    x, embedding = torch.randn(3, 8, 4, 4), torch.randn(3, 6)
    h = nb07.FILM.solution(
        block.norm_mid(block.conv_in(F.silu(block.norm_in(x)))), block.film(embedding)
    )
    torch.testing.assert_close(x + block.conv_out(F.silu(h)), block(x, embedding))


def by_einsum(h, numbers):
    scale, shift = numbers.split(h.shape[1], dim=1)
    return h + torch.einsum("bchw,bc->bchw", h, scale) + shift.unsqueeze(-1).unsqueeze(-1)


def by_view(h, numbers):
    scale, shift = numbers.view(len(h), 2, -1, 1, 1).unbind(1)
    return torch.addcmul(shift, h, 1 + scale)


@pytest.mark.parametrize("answer", [by_einsum, by_view])
def test_other_film_passes(answer):
    assert passes("07.film", answer)


def halves(numbers):
    return numbers[:, :, None, None].chunk(2, dim=1)


def film(h, numbers):
    return nb07.FILM.solution(h, numbers)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda h, n: halves(n)[0] * h + halves(n)[1], "multiply by 1 + scale"),
        (lambda h, n: film(h, n.roll(h.shape[1], 1)), "halves are swapped"),
        (lambda h, n: h + halves(n)[1], "scale is missing"),
        (lambda h, n: (1 + halves(n)[0]) * h, "shift is missing"),
        (lambda h, n: (1 + n.chunk(2, 1)[0]) * h + n.chunk(2, 1)[1], "two more axes"),
        (lambda h, n: film(h, n).mean((2, 3)), "shape"),
        (lambda h, n: film(h.detach(), n), "no gradient reaches `h`"),
        (lambda h, n: film(h, n.detach()), "no gradient reaches `scale_and_shift`"),
        (lambda h, n: film(h, n) * NAN, "NaN"),
        (lambda h, n: film(h, n).clamp(min=0), "values differ"),
        (lambda h, n: 2 * film(h, n), "2 times what it should be"),
        (lambda h, n: -film(h, n), "sign"),
        (lambda h, n: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_film_is_named(answer, words):
    assert words in message("07.film", answer)


# ------------------------------------------------------------------ the way through the U-Net


def skip_first(net, x, embedding):
    """The channels of the skip in front of the others: as good an order."""
    skip = net.down(net.stem(x), embedding)
    h = net.shrink(skip)
    for block in (net.deep1, net.deep2):
        h = block(h, embedding)
    return net.out(net.up(torch.cat((skip, net.grow(h)), 1), embedding))


def test_the_skip_may_come_first():
    assert passes("07.route", skip_first)


def way(skip=lambda s: s, grown=lambda g: g, told=lambda e: e, last=lambda y: y):
    def answer(net, x, embedding):
        down = net.down(net.stem(x), told(embedding))
        h = net.deep2(net.deep1(net.shrink(down), told(embedding)), told(embedding))
        h = torch.cat([grown(net.grow(h)), skip(down)], dim=1)
        return last(net.out(net.up(h, told(embedding))))

    return answer


def without_out(net, x, embedding):
    skip = net.down(net.stem(x), embedding)
    h = net.deep2(net.deep1(net.shrink(skip), embedding), embedding)
    return net.up(torch.cat([net.grow(h), skip], dim=1), embedding)


def added(net, x, embedding):
    skip = net.down(net.stem(x), embedding)
    h = net.deep2(net.deep1(net.shrink(skip), embedding), embedding)
    return net.out(net.up(net.grow(h) + skip, embedding))


def not_grown(net, x, embedding):
    skip = net.down(net.stem(x), embedding)
    h = net.deep2(net.deep1(net.shrink(skip), embedding), embedding)
    return net.out(net.up(torch.cat([h, skip], dim=1), embedding))


def embedding_forgotten(net, x, embedding):
    return net.out(net.up(net.down(net.stem(x))))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (way(skip=torch.zeros_like), "values differ"),
        (way(skip=lambda s: s.detach()), "the gradient that reaches `x` is not"),
        (way(grown=torch.zeros_like), "values differ"),
        (way(told=torch.zeros_like), "neither time nor label"),
        (way(told=lambda e: e.detach()), "no gradient reaches `embedding`"),
        (way(last=torch.tanh), "squash the result"),
        (way(last=lambda y: y * NAN), "NaN"),
        (way(last=lambda y: -y), "sign"),
        (way(last=lambda y: y.flatten(1)), "shape"),
        (without_out, "shape"),
        (added, "`up` takes what `grow` returns and the skip side by side"),
        (not_grown, "Sizes of tensors must match"),
        (embedding_forgotten, "missing 1 required positional argument: 'embedding'"),
        (way(last=lambda y: print(end="")), "Is the `return` missing"),
    ],
)
def test_wrong_ways_are_named(answer, words):
    assert words in message("07.route", answer)


# ------------------------------------------------------------------ the loss


def uniform_times(network, x0, labels, rng):
    """Other draws in another order, and other means."""
    hidden = torch.rand(labels.shape, generator=rng).lt(0.1)
    eps = torch.empty_like(x0).normal_(generator=rng)
    t = torch.rand(x0.shape[0], generator=rng)
    xt, velocity = pair(x0, eps, t)
    told = labels.masked_fill(hidden, network.num_classes)
    return F.mse_loss(network(xt, t, told), velocity, reduction="none").flatten(1).mean(1)


def exact_tenth(network, x0, labels, rng):
    chosen = torch.randperm(len(labels), generator=rng)[: round(0.1 * len(labels))]
    told = labels.index_fill(0, chosen, network.num_classes)
    t, eps = torch.rand(len(x0), generator=rng), torch.randn(x0.shape, generator=rng)
    error = network(along(1 - t) * x0 + along(t) * eps, t, told) - eps + x0
    return torch.einsum("bchw,bchw->b", error, error) / x0[0].numel()


@pytest.mark.parametrize("answer", [uniform_times, exact_tenth])
def test_other_losses_pass(answer):
    assert passes("07.loss", answer)


def loss_with(**parts):
    return nb07._loss_with(**parts)


def twice(network, x0, labels, rng):
    network(x0, torch.ones(len(x0)), labels)
    return nb07.LOSS.solution(network, x0, labels, rng)


def own_seed(network, x0, labels, rng):
    return nb07.LOSS.solution(network, x0, labels, make_rng(0))


def global_noise(network, x0, labels, rng):
    return loss_with(noise_of=lambda x, rng: torch.randn_like(x))(network, x0, labels, rng)


def never(network, x0, labels, rng):
    return x0.flatten(1).mean(1)


def graphless(network, x0, labels, rng):
    with torch.no_grad():
        return nb07.LOSS.solution(network, x0, labels, rng)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (loss_with(time=lambda n, rng: torch.rand(1, generator=rng).expand(n)), "the same t"),
        (loss_with(time=lambda n, rng: torch.randn(n, generator=rng)), "outside 0 to 1"),
        (loss_with(time=lambda n, rng: torch.full((n,), 0.5)), "the same t"),
        (
            loss_with(noise_of=lambda x, rng: torch.rand(x.shape, generator=rng)),
            "mean 0.50 and the standard deviation 0.29",
        ),
        (
            loss_with(noise_of=lambda x, rng: 2 * torch.randn(x.shape, generator=rng)),
            "standard deviation 2.0",
        ),
        (
            loss_with(noise_of=lambda x, rng: torch.randn(x[0].shape, generator=rng)),
            "get the same noise. It has the shape of x0",
        ),
        (loss_with(told=lambda t: 1 - t), "Here t counts the noise"),
        (loss_with(told=lambda t: t / 2), "is not (1 - t) x0"),
        (loss_with(told=lambda t: along(t)), "should get t of the shape [3000]"),
        (loss_with(mix=lambda x, n, t: t * x + (1 - t) * n), "Here t counts the noise"),
        (loss_with(mix=lambda x, n, t: (1 - t**2).sqrt() * x + t * n), "by another formula"),
        (loss_with(mix=lambda x, n, t: n), "is not (1 - t) x0"),
        (loss_with(hide=nb07._hide_with(0.5)), "One in ten was asked for"),
        (loss_with(hide=nb07._hide_with(1.0)), "Every label was hidden"),
        (loss_with(hide=nb07._hide_with(null=10)), "other classes"),
        (loss_with(hide=lambda labels, null, rng: labels.float()), "whole numbers"),
        (
            loss_with(hide=lambda labels, null, rng: labels[torch.rand(len(labels)) > 0.1]),
            "should get labels",
        ),
        (loss_with(target=lambda x, n, xt: x - n), "wrong sign"),
        (loss_with(reduce=lambda e: e.square()), "one loss for each pixel"),
        (loss_with(reduce=lambda e: e.square().mean()), "one loss for each image"),
        (loss_with(reduce=lambda e: e.square().mean(0).flatten()), "one loss for each"),
        (
            loss_with(reduce=lambda e: 0.5 * e.square().mean((1, 2, 3))),
            "not the mean squared error",
        ),
        (loss_with(reduce=lambda e: e.square().mean((1, 2, 3)) * NAN), "NaN"),
        (
            loss_with(reduce=lambda e: e.square().mean().expand(len(e))),
            "You averaged over the images too",
        ),
        (loss_with(reduce=lambda e: print(end="")), "Is the `return` missing"),
        (loss_with(reduce=lambda e: e.square().mean((1, 2, 3)).detach()), "No gradient reaches"),
        (graphless, "No gradient reaches"),
        (twice, "You ask the network 2 times"),
        (own_seed, "the same for every rng"),
        (global_noise, "do not come from the generator"),
        (never, "never ask the network"),
    ],
)
def test_wrong_losses_are_named(answer, words):
    assert words in message("07.loss", answer)


# ------------------------------------------------------------------ the sampler


def test_the_walk_is_the_library_s_euler():
    x = torch.randn(3, 1, 2, 2, generator=make_rng(1), dtype=torch.float64)

    def velocity(x, t):
        return x * t[:, None, None, None].to(x) + 0.3

    def denoise(x, t):
        return x - t[:, None, None, None].to(x) * velocity(x, t)

    expected = sample(denoise, flow_schedule(), x, 5).x
    torch.testing.assert_close(
        nb07.SAMPLER.solution(velocity, x, 5), expected, rtol=1e-5, atol=1e-6
    )


def by_linspace(velocity, x, num_steps):
    times = torch.linspace(1, 0, num_steps + 1)
    for t, s in zip(times[:-1], times[1:]):
        x = x + (s - t) * velocity(x, t.expand(len(x)))
    return x


def by_while(velocity, x, num_steps):
    done = 0
    while done < num_steps:
        t = 1 - done / num_steps
        x = x - velocity(x, t * torch.ones(len(x))) * (1 / num_steps)
        done += 1
    return x


@pytest.mark.parametrize("answer", [by_linspace, by_while])
def test_other_walks_pass(answer):
    assert passes("07.sampler", answer)


def walk(**parts):
    return nb07._walk_with(**parts)


def all_places(velocity, x, num_steps):
    return [x, nb07.SAMPLER.solution(velocity, x, num_steps)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (walk(step=lambda x, u, n, t: x + u / n), "leads to more noise"),
        (walk(step=lambda x, u, n, t: x - u / (n + 1)), "values differ"),
        (walk(step=lambda x, u, n, t: x - u * NAN), "NaN"),
        (walk(step=lambda x, u, n, t: (x - u / n).clamp(-1, 1)), "values differ"),
        (walk(times=lambda n: [1 - (k + 0.5) / n for k in range(n)]), "values differ"),
        (walk(times=lambda n: [(k + 1) / n for k in range(n)]), "off by the same amount"),
        (walk(times=lambda n: torch.linspace(1, 0, n).tolist()), "Your last question is about t"),
        (walk(ask_at=lambda x, start: start), "Ask about where you are now"),
        (lambda v, x, n: x, "values differ"),
        (lambda v, x, n: x - v(x, torch.ones(len(x))), "in one step"),
        (lambda v, x, n: x - v(x, 1.0), "you gave a plain number"),
        (lambda v, x, n: x - v(x), "missing 1 required positional argument: 't'"),
        (lambda v, x, n: x - v(x, torch.ones(2, 1)), "your tensor has another shape"),
        (all_places, "a list of 2 items"),
        (lambda v, x, n: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_walks_are_named(answer, words):
    assert words in message("07.sampler", answer)


# ------------------------------------------------------------------ guidance


@pytest.mark.parametrize("w", [0.0, 1.0, 2.5])
def test_guidance_is_that_of_the_library(images, w):
    told, plain, xt = images
    labels = torch.arange(len(xt))

    def denoise(xt, t, given):
        both = (seen.repeat(len(given) // len(labels), 1, 1, 1) for seen in (told, plain))
        with_label, without = both
        return torch.where((given == 10)[:, None, None, None], without, with_label)

    guided = Guided(denoise, labels, null_label=10, scale=w)(xt, torch.full((4,), 0.5))
    torch.testing.assert_close(nb07.GUIDE.solution(plain, told, w), guided)


@pytest.mark.parametrize(
    "answer",
    [
        lambda plain, told, w: w * told + (1 - w) * plain,
        lambda plain, told, w: told + (w - 1) * (told - plain),
        lambda plain, told, w: torch.lerp(plain, told, w),
        lambda plain, told, w: plain.numpy() + w * (told - plain).numpy(),
    ],
)
def test_other_guidance_passes(answer):
    assert passes("07.guide", answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda p, t, w: t + w * (p - t), "swapped"),
        (lambda p, t, w: t + w * (t - p), "Ho & Salimans"),
        (lambda p, t, w: p + w * t, "whole told velocity"),
        (lambda p, t, w: w * t, "never used the plain one"),
        (lambda p, t, w: (1 - w) * t + w * p, "swapped"),
        (lambda p, t, w: p - w * (t - p), "look at the sign"),
        (lambda p, t, w: (p + w * (t - p)) * NAN, "NaN"),
        (lambda p, t, w: (p + w * (t - p)).mean(), "got a number"),
        (lambda p, t, w: p + w**2 * (t - p), "values differ"),
        (lambda p, t, w: p, "values differ"),
        (lambda p, t, w: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_guidance_is_named(answer, words):
    assert words in message("07.guide", answer)


# ------------------------------------------------------------------ score and DDIM


@pytest.mark.parametrize(
    "schedule",
    [linear_schedule(), cosine_schedule(), flow_schedule()],
    ids=lambda schedule: schedule.name,
)
def test_steps_and_score_are_those_of_the_library(images, schedule):
    xt, eps, _ = images
    times = torch.tensor([0.8, 0.5], dtype=torch.float64)
    rows = zip(*(row.tolist() for row in (times, schedule.alpha(times), schedule.sigma(times))))
    here, there = (Level(*values) for values in rows)
    x0 = from_target("eps", schedule, eps, xt, times[:1]).x0
    torch.testing.assert_close(
        nb07.SCORE.solution(eps, here.sigma), score_of(x0, schedule, xt, times[:1])
    )
    now = State(xt, x0, here)
    jumped = nb07.DDIM.solution(xt, eps, *here[1:], *there[1:])
    torch.testing.assert_close(jumped, ddim_step(now, there))
    if schedule.name == "flow":
        torch.testing.assert_close(jumped, straight_step(now, velocity_of(now), there))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda eps, sigma: eps / sigma, "minus is missing"),
        (lambda eps, sigma: -eps, "Sigma is missing"),
        (lambda eps, sigma: -eps / sigma**2, "One of the two cancels"),
        (lambda eps, sigma: -2 * eps / sigma, "factor 1/2"),
        (lambda eps, sigma: (-eps / sigma).sum(), "got a number"),
        (lambda eps, sigma: -eps / sigma * NAN, "NaN"),
        (lambda eps, sigma: print(end=""), "Is the `return` missing"),
        (lambda eps, sigma: -(eps**2) / sigma, "values differ"),
    ],
)
def test_wrong_scores_are_named(answer, words):
    assert words in message("07.score", answer)


def test_ddim_may_rescale_x_t_instead():
    assert passes(
        "07.ddim",
        lambda xt, eps, a_t, s_t, a_s, s_s: a_s / a_t * xt + (s_s - a_s * s_t / a_t) * eps,
    )


def by_bars(xt, eps, a_t, s_t, a_s, s_s):
    x0 = (xt - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    return a_s**0.5 * x0 + (1 - a_s) ** 0.5 * eps


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (by_bars, "alpha-bar of DDPM"),
        (lambda xt, e, a, s, b, r: (b * (xt - s * e) / a + r * e) * NAN, "NaN"),
        (lambda xt, e, a, s, b, r: (xt - s * e) / a, "image that is seen"),
        (lambda xt, e, a, s, b, r: a * (xt - r * e) / b + s * e, "two times are swapped"),
        (lambda xt, e, a, s, b, r: b * (xt - s * e) / a - r * e, "wrong sign"),
        (lambda xt, e, a, s, b, r: b * xt + r * e, "as if it were the image"),
        (lambda xt, e, a, s, b, r: b * xt / a + r * e, "values differ"),
        (lambda xt, e, a, s, b, r: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_ddim_is_named(answer, words):
    assert words in message("07.ddim", answer)


# ------------------------------------------------------------------ the whole


class Block(nn.Module):
    def __init__(self, before, after, embed_dim):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, after), nn.Conv2d(after, after, 3, padding=1)
        self.told, self.shortcut = nn.Linear(embed_dim, 2 * after), nn.Conv2d(before, after, 1)

    def forward(self, x, embedding):
        h = self.conv1(F.silu(self.norm1(x)))
        h = film(self.norm2(h), self.told(embedding))
        return self.shortcut(x) + self.conv2(F.silu(h))


class Whole(nn.Module):
    """The notebook's model, to be broken one part at a time."""

    def __init__(self, channels, num_classes):
        super().__init__()
        self.num_classes = num_classes
        self.label = nn.Embedding(num_classes + 1, 64)
        self.time = nn.Sequential(nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64))
        self.stem, self.down = nn.Conv2d(4 * channels, 32, 3, padding=1), Block(32, 32, 64)
        self.shrink, self.grow = nn.Conv2d(32, 64, 2, 2), nn.ConvTranspose2d(64, 32, 2, 2)
        self.deep1, self.deep2 = Block(64, 64, 64), Block(64, 64, 64)
        self.up, self.out = Block(64, 32, 64), nn.Conv2d(32, 4 * channels, 3, padding=1)

    def embedding(self, t, labels):
        return self.time(nb07.TIME_EMBEDDING.solution(t, 64)) + self.label(labels)

    def forward(self, xt, t, labels):
        told = F.silu(self.embedding(t, labels))
        return F.pixel_shuffle(nb07.ROUTE.solution(self, F.pixel_unshuffle(xt, 2), told), 2)


@torch.no_grad()
def draw(model, labels, image_shape, rng):
    x = torch.randn(len(labels), *image_shape, generator=rng)
    return nb07.SAMPLER.solution(lambda x, t: model(x, t, labels), x, 10).clamp(-1, 1)


def broken(**members):
    return type("Broken", (Whole,), members)


BROKEN = {
    "no label": (
        broken(embedding=lambda self, t, y: Whole.embedding(self, t, 0 * y)),
        nb07.LOSS.solution,
        draw,
        "does not depend on the label",
    ),
    "labels hidden": (
        Whole,
        loss_with(hide=nb07._hide_with(1.0)),
        draw,
        "does not depend on the label|nearest to the image",
    ),
    "no time": (
        broken(embedding=lambda self, t, y: Whole.embedding(self, 0 * t, y)),
        nb07.LOSS.solution,
        draw,
        "does not depend on t",
    ),
    "unused part": (
        broken(embedding=lambda self, t, y: self.label(y)),
        nb07.LOSS.solution,
        draw,
        "No gradient reaches time.0.weight",
    ),
    "no num_classes": (
        broken(num_classes=property(lambda self: None, lambda self, value: None)),
        nb07.LOSS.solution,
        draw,
        "attribute num_classes",
    ),
    "folded result": (
        broken(forward=lambda self, xt, t, y: F.pixel_unshuffle(Whole.forward(self, xt, t, y), 2)),
        nb07.LOSS.solution,
        draw,
        "should return [6, 1, 16, 16]",
    ),
    "walks the wrong way": (
        Whole,
        nb07.LOSS.solution,
        lambda model, y, shape, rng: draw(lambda x, t, labels: -model(x, t, labels), y, shape, rng),
        "drawings are nearest to the image that was ordered",
    ),
    "drawn with other labels": (
        Whole,
        nb07.LOSS.solution,
        lambda model, y, shape, rng: draw(model, y.roll(1), shape, rng),
        "drawings are nearest to the image that was ordered",
    ),
    "target with the wrong sign": (
        Whole,
        loss_with(target=lambda x0, noise, xt: x0 - noise),
        draw,
        "drawings are nearest to the image that was ordered",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_whole_is_traced_to_its_part(name, capsys):
    model, loss, own_draw, words = BROKEN[name]
    nb07.overfit(model, loss, own_draw)
    found = capsys.readouterr().out
    assert found.startswith("✗ The whole does not work yet."), found
    assert any(word in found for word in words.split("|")), found


def test_the_right_whole_learns(capsys):
    nb07.overfit(Whole, nb07.LOSS.solution, draw)
    found = capsys.readouterr().out
    assert found.startswith("✓ 6 images, 100 steps") and "The whole learns." in found


def test_a_class_stub_is_not_attempted():
    for exercise in nb07.EXERCISES[:9]:
        assert judge(exercise, lambda *arguments: ...).status == NOT_ATTEMPTED
