"""What the exercises of notebook 06 accept and refuse beyond their listed mistakes: other styles of
right answers, and wrong ones with the words that name the error.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from messages import message, passes
from torch import nn

from course_utils.exercises import core, nb06
from course_utils.exercises.judge import NOT_ATTEMPTED, judge

# ------------------------------------------------------------------ generator


class Upsampling(nn.Module):
    """A generator that enlarges by repeating pixels, with other norms and activations."""

    def __init__(self, image_shape, latent_dim, width):
        super().__init__()
        channels, self.height, self.width = image_shape[0], image_shape[1] // 4, image_shape[2] // 4
        self.start = nn.Linear(latent_dim, width * self.height * self.width)
        self.norm = nn.BatchNorm2d(width)
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.end = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, z):
        h = self.start(z).view(len(z), -1, self.height, self.width)
        h = F.interpolate(F.leaky_relu(self.norm(h), 0.2), scale_factor=2)
        h = F.interpolate(F.leaky_relu(self.middle(h), 0.2), scale_factor=2)
        return torch.tanh(self.end(h))


def perceptron_generator(image_shape, latent_dim, width):
    return nn.Sequential(
        nn.Linear(latent_dim, 4 * width),
        nn.BatchNorm1d(4 * width),
        nn.ReLU(),
        nn.Linear(4 * width, math.prod(image_shape)),
        nn.Tanh(),
        nn.Unflatten(1, image_shape),
    )


@pytest.mark.parametrize("answer", [Upsampling, perceptron_generator])
def test_other_generators_pass(answer):
    assert passes("06.generator", answer)


def generator_layers(image_shape, latent_dim, width):
    return list(nb06.GENERATOR.solution(image_shape, latent_dim, width))


TANH = (nn.Tanh(),)


def generator_with(last=TANH, drop=()):
    def make(image_shape, latent_dim, width):
        layers = generator_layers(image_shape, latent_dim, width)[:-1]
        return nn.Sequential(*(x for x in layers if not isinstance(x, drop)), *last)

    return make


class OneImage(nn.Module):
    """A generator that ignores its noise."""

    def __init__(self, image_shape, latent_dim, width):
        super().__init__()
        self.network = nb06.GENERATOR.solution(image_shape, latent_dim, width)

    def forward(self, z):
        return self.network(0 * z)


class OverTheBatch(nn.Module):
    """A generator that subtracts the mean of the batch, in evaluation mode too."""

    def __init__(self, image_shape, latent_dim, width):
        super().__init__()
        self.network = nb06.GENERATOR.solution(image_shape, latent_dim, width)

    def forward(self, z):
        return self.network(z - 0.5 * z.mean(0))


class Cut(nn.Module):
    def __init__(self, network, unused=False):
        super().__init__()
        self.network, self.unused = network, unused
        self.spare = nn.Linear(2, 2) if unused else None

    def forward(self, x):
        return self.network(x) if self.unused else self.network(x).detach()


def norm_at_the_end(image_shape, latent_dim, width):
    layers = generator_layers(image_shape, latent_dim, width)
    return nn.Sequential(*layers[:-1], nn.InstanceNorm2d(image_shape[0], affine=True), layers[-1])


def solved_generator(*arguments):
    return nb06.GENERATOR.solution(*arguments)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (generator_with(last=(nn.Sigmoid(),)), "a sigmoid is at the end"),
        (generator_with(last=()), "Its images leave [-1, 1]"),
        (generator_with(last=(nn.Hardtanh(-2, 2),)), "Its images leave [-1, 1]"),
        (generator_with(last=(nn.ReLU(), nn.Tanh())), "no pixel gets clearly below 0"),
        (generator_with(last=(nn.ReLU(),)), "Its images leave [-1, 1]"),
        (generator_with(drop=(nn.ReLU,)), "linear in z"),
        (norm_at_the_end, "Batch norm follows the last convolution"),
        (OneImage, "Every z gives the same image"),
        (OverTheBatch, "depends on what else is in the batch"),
        (lambda s, d, w: solved_generator(s, d, 8), "does not change with width"),
        (lambda s, d, w: solved_generator(s, 64, w), "does not take z of shape [B, latent_dim]"),
        (lambda s, d, w: solved_generator((1, 28, 28), d, w), "images should have the shape"),
        (lambda s, d, w: solved_generator((s[0], s[2], s[1]), d, w), "got [7, 3, 12, 8]"),
        (lambda s, d, w: generator_layers(s, d, w), "Expected a network"),
        (lambda s, d, w: Cut(solved_generator(s, d, w)), "No gradient reaches the network"),
        (lambda s, d, w: Cut(solved_generator(s, d, w), unused=True), "spare"),
        (lambda s, d, w: print(end=""), "Is the `return` missing"),
        (torch.zeros(7, 1, 28, 28), "Expected a function"),
    ],
)
def test_wrong_generators_are_named(answer, words):
    assert words in message("06.generator", answer)


# ------------------------------------------------------------------ discriminator


class Pooling(nn.Module):
    """A discriminator with a squeeze in place of nn.Flatten(0), and batch norm inside."""

    def __init__(self, image_shape, width):
        super().__init__()
        self.first = nn.Conv2d(image_shape[0], width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 4, stride=2, padding=1)
        self.norm, self.head = nn.BatchNorm2d(width), nn.Linear(width, 1)

    def forward(self, x):
        h = F.leaky_relu(self.first(x), 0.2)
        h = F.leaky_relu(self.norm(self.second(h)), 0.2)
        return self.head(h.mean((2, 3))).squeeze(1)


def perceptron_discriminator(image_shape, width):
    layers = [nn.Flatten(), nn.Linear(math.prod(image_shape), 4 * width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(4 * width, 1), nn.Flatten(0))


@pytest.mark.parametrize("answer", [Pooling, perceptron_discriminator])
def test_other_discriminators_pass(answer):
    assert passes("06.discriminator", answer)


def solved_discriminator(*arguments):
    return nb06.DISCRIMINATOR.solution(*arguments)


def discriminator_with(last=(), drop=(), start=None, end=True):
    def make(image_shape, width):
        layers = list(solved_discriminator(image_shape, width))
        kept = [x for x in layers if not isinstance(x, drop)]
        first = [start(image_shape[0])] if start else []
        return nn.Sequential(*first, *(kept if end else kept[:-1]), *last)

    return make


def norm_after_the_first_layer(image_shape, width):
    layers = list(solved_discriminator(image_shape, width))
    return nn.Sequential(layers[0], nn.BatchNorm2d(width), *layers[1:])


class EveryOtherPixel(nn.Module):
    def __init__(self, image_shape, width):
        super().__init__()
        channels, height, image_width = image_shape
        half = (channels, height // 2, image_width // 2)
        self.network = perceptron_discriminator(half, width)

    def forward(self, x):
        return self.network(x[:, :, ::2, ::2])


class ByBatch(nn.Module):
    def __init__(self, image_shape, width):
        super().__init__()
        self.network = solved_discriminator(image_shape, width)

    def forward(self, x):
        scores = self.network(x)
        return scores - 0.5 * scores.mean()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (discriminator_with(last=(nn.Sigmoid(),)), "Return the logit"),
        (discriminator_with(last=(nn.Tanh(),)), "A logit may be any number"),
        (discriminator_with(last=(nn.ReLU(),)), "A logit may be any number"),
        (discriminator_with(last=(nn.LogSigmoid(),)), "A logit may be any number"),
        (discriminator_with(end=False), "scores of shape [B, 1]"),
        (discriminator_with(start=nn.BatchNorm2d), "before the second layer with weights"),
        (norm_after_the_first_layer, "before the second layer with weights"),
        (discriminator_with(drop=(nn.LeakyReLU,)), "linear in the pixels"),
        (EveryOtherPixel, "Some pixels do not change any score"),
        (ByBatch, "depends on what else is in the batch"),
        (lambda s, w: solved_discriminator(s, 8), "does not change with width"),
        (lambda s, w: solved_discriminator((1, 28, 28), w), "does not take images"),
        (lambda s, w: Cut(solved_discriminator(s, w)), "No gradient reaches the network"),
        (lambda s, w: Cut(solved_discriminator(s, w), unused=True), "spare"),
        (lambda s, w: nn.Sequential(nn.Flatten(), nn.Linear(math.prod(s), 2)), "got the shape"),
        (lambda s, w: list(solved_discriminator(s, w)), "Expected a network"),
        (lambda s, w: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_discriminators_are_named(answer, words):
    assert words in message("06.discriminator", answer)


# ------------------------------------------------------------------ losses and slopes


def with_logits(real, fake):
    loss = F.binary_cross_entropy_with_logits
    is_real = loss(real, torch.ones_like(real), reduction="none")
    return is_real + loss(fake, torch.zeros_like(fake), reduction="none")


def by_logsigmoid(real, fake):
    return -F.logsigmoid(real) - F.logsigmoid(-fake)


def by_logaddexp(real, fake):
    zero = torch.zeros_like(real)
    return torch.logaddexp(zero, -real) + torch.logaddexp(zero, fake)


@pytest.mark.parametrize("answer", [with_logits, by_logsigmoid, by_logaddexp])
def test_other_losses_of_the_discriminator_pass(answer):
    assert passes("06.d_losses", answer)


def solved_d(real, fake):
    return nb06.D_LOSSES.solution(real, fake)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda r, f: solved_d(f, r), "The labels are swapped"),
        (lambda r, f: -solved_d(r, f), "turn the sign"),
        (lambda r, f: solved_d(r, f).sum(), "got a number"),
        (lambda r, f: solved_d(r, f).mean(), "You averaged over the images"),
        (lambda r, f: solved_d(r, f)[:, None] + 0 * r, "got numbers of shape"),
        (lambda r, f: solved_d(r, f) / 2, "You halved the sum"),
        (lambda r, f: solved_d(r.detach(), f), "no gradient reaches `real`"),
        (lambda r, f: solved_d(r, f.detach()), "no gradient reaches `fake`"),
        (lambda r, f: solved_d(r, f) * math.nan, "NaN or infinity"),
        (lambda r, f: solved_d(r.sigmoid(), f.sigmoid()), "applied twice"),
        (
            lambda r, f: -(r.sigmoid().log() + (1 - f.sigmoid()).log()),
            "it becomes infinite in float32",
        ),
        (lambda r, f: F.relu(1 - r) + F.relu(1 + f), "values differ"),
        (lambda r, f: F.softplus(-r) - F.softplus(f), "values differ"),
        (lambda r, f: torch.zeros_like(r), "Every value is 0"),
        (lambda r, f: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_losses_of_the_discriminator_are_named(answer, words):
    assert words in message("06.d_losses", answer)


@pytest.mark.parametrize(
    "answer",
    [
        lambda s: -F.logsigmoid(s),
        lambda s: torch.logaddexp(torch.zeros_like(s), -s),
        lambda s: F.binary_cross_entropy_with_logits(s, torch.ones_like(s), reduction="none"),
    ],
)
def test_other_losses_of_the_generator_pass(answer):
    assert passes("06.g_losses", answer)


def by_numpy(scores):
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.log1p(np.exp(-scores.numpy())))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda s: -F.softplus(s), "minimax loss"),
        (lambda s: F.softplus(s), "helps the discriminator"),
        (lambda s: F.logsigmoid(s), "The sign is wrong"),
        (lambda s: -s.sigmoid().log(), "its float32 form is infinite"),
        (lambda s: torch.log1p(torch.exp(-s)), "its float32 form is infinite"),
        (lambda s: F.softplus(-s).mean(), "You averaged over the images"),
        (lambda s: F.softplus(-s).sum(), "got a number"),
        (lambda s: F.softplus(-s.sigmoid()), "applied twice"),
        (lambda s: F.softplus(-s.detach()), "no gradient reaches `fake`"),
        (by_numpy, "its float32 form is infinite"),
        (lambda s: F.softplus(-s) / 2, "0.5 times what it should be"),
        (lambda s: -s.sigmoid(), "values differ"),
        (lambda s: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_losses_of_the_generator_are_named(answer, words):
    assert words in message("06.g_losses", answer)


@pytest.mark.parametrize(
    "answer",
    [lambda d: [-d, -(1 - d)], lambda d: (-d.numpy(), d.numpy() - 1), lambda d: (d * -1.0, d - 1)],
)
def test_slopes_in_other_styles_pass(answer):
    assert passes("06.slopes", answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda d: (d - 1, -d), "swapped"),
        (lambda d: (d, 1 - d), "Both signs are wrong"),
        (lambda d: (-1 / (1 - d), -1 / d), "derivatives by D"),
        (lambda d: (-d, 1 - d), "second slope is wrong"),
        (lambda d: (-d, -d), "Item 1"),
        (lambda d: (1 - d, -d), "Item 0"),
        (lambda d: -d * (1 - d), "got numbers of shape"),
        (lambda d: (-d * (1 - d), d - 1), "Item 0"),
        (lambda d: (-d * math.nan, d - 1), "NaN"),
        (lambda d: (-0.5 + 0 * d, -0.5 + 0 * d), "Item 0"),
        (lambda d: print(end=""), "Is the `return` missing"),
        (lambda d: (..., d - 1), None),
    ],
)
def test_wrong_slopes_are_named(answer, words):
    if words is None:
        assert judge(core.find("06.slopes"), answer).status == NOT_ATTEMPTED
    else:
        assert words in message("06.slopes", answer)


# ------------------------------------------------------------------ the step


def step_without_graph(gan, d_optimizer, g_optimizer, images, rng):
    """D's images are drawn without a graph, G's anew."""
    with torch.no_grad():
        fake = gan.generator(torch.randn(len(images), gan.latent_dim, generator=rng))
    d_loss = with_logits(gan.discriminator(images), gan.discriminator(fake)).mean()
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    fake = gan.generator(torch.randn(len(images), gan.latent_dim, generator=rng))
    g_loss = -F.logsigmoid(gan.discriminator(fake)).mean()
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
    return [float(d_loss.detach()), g_loss.detach()]


def step_with_one_batch(gan, d_optimizer, g_optimizer, images, rng):
    """Real and generated images go through D together; gradients are cleared at the start."""
    d_optimizer.zero_grad()
    g_optimizer.zero_grad()
    fake = gan.generator(torch.randn(len(images), gan.latent_dim, generator=rng))
    real, known = gan.discriminator(torch.cat([images, fake.detach()])).chunk(2)
    d_loss = (F.softplus(-real) + F.softplus(known)).mean()
    d_loss.backward()
    d_optimizer.step()
    g_loss = F.softplus(-gan.discriminator(fake)).mean()
    g_loss.backward()
    g_optimizer.step()
    return d_loss.item(), g_loss.item()


@pytest.mark.parametrize("answer", [step_without_graph, step_with_one_batch])
def test_other_steps_pass(answer):
    assert passes("06.step", answer)


def first_half(gan, d_optimizer, images, fake):
    d_loss = solved_d(gan.discriminator(images), gan.discriminator(fake)).mean()
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    return d_loss


def second_half(gan, g_optimizer, fake):
    g_loss = F.softplus(-gan.discriminator(fake)).mean()
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
    return g_loss


def drawn(gan, images, rng):
    return gan.generator(torch.randn(len(images), gan.latent_dim, generator=rng))


def not_detached(gan, d_optimizer, g_optimizer, images, rng):
    fake = drawn(gan, images, rng)
    d_loss = first_half(gan, d_optimizer, images, fake)
    return d_loss.item(), second_half(gan, g_optimizer, fake).item()


def not_detached_but_drawn_anew(gan, d_optimizer, g_optimizer, images, rng):
    d_loss = first_half(gan, d_optimizer, images, drawn(gan, images, rng))
    return d_loss.item(), second_half(gan, g_optimizer, drawn(gan, images, rng)).item()


def leaking(gan, d_optimizer, g_optimizer, images, rng):
    for optimizer in (d_optimizer, g_optimizer):
        optimizer.zero_grad()
    d_loss = solved_d(gan.discriminator(images), gan.discriminator(drawn(gan, images, rng))).mean()
    d_loss.backward()
    d_optimizer.step()
    g_loss = F.softplus(-gan.discriminator(drawn(gan, images, rng))).mean()
    g_loss.backward()
    g_optimizer.step()
    return d_loss.item(), g_loss.item()


def stale(gan, d_optimizer, g_optimizer, images, rng):
    fake = drawn(gan, images, rng)
    known = gan.discriminator(fake)
    d_loss = solved_d(gan.discriminator(images), gan.discriminator(fake.detach())).mean()
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    g_loss = F.softplus(-known).mean()
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
    return d_loss.item(), g_loss.item()


def own_noise(gan, d_optimizer, g_optimizer, images, rng):
    return nb06.STEP.solution(gan, d_optimizer, g_optimizer, images, None)


def same_noise(gan, d_optimizer, g_optimizer, images, rng):
    fixed = torch.Generator().manual_seed(0)
    return nb06.STEP.solution(gan, d_optimizer, g_optimizer, images, fixed)


def swapped_optimizers(gan, d_optimizer, g_optimizer, images, rng):
    return nb06.STEP.solution(gan, g_optimizer, d_optimizer, images, rng)


def returning(change):
    def step(*arguments):
        return change(*nb06.STEP.solution(*arguments))

    return step


def graph_kept(gan, d_optimizer, g_optimizer, images, rng):
    fake = drawn(gan, images, rng)
    d_loss = first_half(gan, d_optimizer, images, fake.detach())
    return d_loss, second_half(gan, g_optimizer, fake)


def exploding(gan, d_optimizer, g_optimizer, images, rng):
    losses = nb06.STEP.solution(gan, d_optimizer, g_optimizer, images, rng)
    with torch.no_grad():
        next(gan.generator.parameters()).fill_(math.nan)
    return losses


def only_half_of_the_batch(gan, d_optimizer, g_optimizer, images, rng):
    return nb06.STEP.solution(gan, d_optimizer, g_optimizer, images[:2], rng)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (not_detached, "torch refuses to go through G's graph twice"),
        (not_detached_but_drawn_anew, "runs through G as well"),
        (leaking, "G learns from D's loss as well"),
        (stale, "scores from before D's step"),
        (own_noise, "the noise z does not come from rng"),
        (same_noise, "Every call uses the same z"),
        (swapped_optimizers, "not where they should be"),
        (only_half_of_the_batch, "not where they should be"),
        (exploding, "NaN or infinity"),
        (graph_kept, "with their whole graph"),
        (returning(lambda d, g: (g, d)), "the two losses are swapped"),
        (returning(lambda d, g: d + g), "not the pair"),
        (returning(lambda d, g: (d, math.nan)), "NaN or infinity"),
        (returning(lambda d, g: (d, 2 * g)), "not the pair"),
        (returning(lambda d, g: None), "Is the `return` missing"),
    ],
)
def test_wrong_steps_are_named(answer, words):
    assert words in message("06.step", answer)


# ------------------------------------------------------------------ the average


def in_place(average, weights, decay):
    return average.mul_(decay).add_(weights, alpha=1 - decay)


@pytest.mark.parametrize(
    "answer",
    [
        in_place,
        lambda a, w, decay: torch.lerp(w, a, decay),
        lambda a, w, decay: a + (1 - decay) * (w - a),
        lambda a, w, decay: decay * a.numpy() + (1 - decay) * w.numpy(),
    ],
)
def test_other_averages_pass(answer):
    assert passes("06.ema", answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda a, w, k: (1 - k) * a + k * w, "stands at the wrong one"),
        (lambda a, w, k: k * a + w, "have to add up to 1"),
        (lambda a, w, k: (a + w) / 2, "plain mean"),
        (lambda a, w, k: k * (a + w), "Both have the same share"),
        (lambda a, w, k: a, "never moves"),
        (lambda a, w, k: w, "nothing is averaged"),
        (lambda a, w, k: 0.99 * a + 0.01 * w, "test input 2 of 4"),
        (lambda a, w, k: (k * a + (1 - k) * w).mean(), "got a number"),
        (lambda a, w, k: (k * a + (1 - k) * w) * math.nan, "NaN or infinity"),
        (lambda a, w, k: k * a - (1 - k) * w, "are subtracted"),
        (lambda a, w, k: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_averages_are_named(answer, words):
    assert words in message("06.ema", answer)


# ------------------------------------------------------------------ modes and gradients


def modes_by_numpy(points, centres, radius):
    points, centres = points.numpy(), centres.numpy()
    distances = np.linalg.norm(points[:, None] - centres[None], axis=2)
    counts = (distances <= radius).sum(axis=0)
    return (counts >= len(points) / len(centres) / 10).sum()


def modes_by_loops(points, centres, radius):
    hit = 0
    for centre in centres:
        near = sum(math.dist(point, centre) <= radius for point in points.tolist())
        hit += 10 * near * len(centres) >= len(points)
    return hit


@pytest.mark.parametrize(
    "answer", [modes_by_numpy, modes_by_loops, lambda *a: torch.tensor(nb06.MODES.solution(*a))]
)
def test_modes_counted_in_another_way_pass(answer):
    assert passes("06.modes", answer)


def counts_near(points, centres, radius):
    return (torch.cdist(points, centres) <= radius).sum(0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda p, c, r: int((counts_near(p, c, r) > 0).sum()), "Stray points are no mode"),
        (lambda p, c, r: len(c), "Every mode counts for you"),
        (lambda p, c, r: int(counts_near(p, c, r).sum()), "You counted points"),
        (lambda p, c, r: int((counts_near(p, c, r) >= 0.1 * len(p)).sum()), "a tenth of all"),
        (lambda p, c, r: int((counts_near(p, c, r) > 0.1 * len(p) / len(c)).sum()), "use >="),
        (
            lambda p, c, r: int(
                ((p[:, None] - c).square().sum(2) <= r).sum(0).ge(0.1 * len(p) / len(c)).sum()
            ),
            "squared distance",
        ),
        (lambda p, c, r: len(c) - nb06.MODES.solution(p, c, r), "the modes that are missing"),
        (lambda p, c, r: nb06.MODES.solution(p, c, r) / len(c), "is too small"),
        (lambda p, c, r: counts_near(p, c, r) >= 0.1 * len(p) / len(c), "Expected a number"),
        (lambda p, c, r: 4, "test input 2 of 4"),
        (lambda p, c, r: nb06.MODES.solution(p, c, 0.15), "test input"),
        (lambda p, c, r: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_counts_of_modes_are_named(answer, words):
    assert words in message("06.modes", answer)


def by_vmap(critic, images):
    one = torch.func.grad(lambda image: critic(image[None])[0])
    return torch.func.vmap(one)(images).flatten(1).norm(dim=1)


def one_by_one(critic, images):
    norms = []
    for image in images:
        image = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(image), image, create_graph=True)
        norms.append(gradient.square().sum().sqrt())
    return torch.stack(norms)


def by_grad_outputs(critic, images):
    images = images.clone().requires_grad_()
    scores = critic(images)
    ones = torch.ones_like(scores)
    found = torch.autograd.grad(scores, images, grad_outputs=ones, create_graph=True)[0]
    return found.reshape(len(found), -1).pow(2).sum(1).sqrt()


@pytest.mark.parametrize("answer", [by_vmap, one_by_one, by_grad_outputs])
def test_other_gradient_norms_pass(answer):
    assert passes("06.gradient_norms", answer)


def norms(reduce=lambda g: g.norm(dim=1), total=torch.sum, **how):
    def answer(critic, images):
        images = images.clone().requires_grad_()
        found = torch.autograd.grad(total(critic(images)), images, **{"create_graph": True, **how})
        return reduce(found[0].flatten(1))

    return answer


def by_backward(critic, images):
    images = images.clone().requires_grad_()
    critic(images).sum().backward()
    return images.grad.flatten(1).norm(dim=1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (norms(create_graph=False), "create_graph=True"),
        (by_backward, "create_graph=True"),
        (norms(lambda g: g.norm(dim=1).detach()), "create_graph=True"),
        (norms(total=torch.mean), "mean of the scores"),
        (norms(lambda g: g.square().sum(1)), "Take the root"),
        (norms(lambda g: g.norm()), "one length for the whole batch"),
        (norms(lambda g: g.norm(dim=1).mean()), "You averaged over the images"),
        (norms(lambda g: g.square().mean(1).sqrt()), "You averaged over the pixels"),
        (norms(lambda g: g.abs().sum(1)), "You added up absolute values"),
        (norms(lambda g: g.abs().amax(1)), "largest slope by a single pixel"),
        (norms(lambda g: g), "got [5, 16]"),
        (norms(lambda g: 2 * g.norm(dim=1)), "The first length should be"),
        (norms(lambda g: g.norm(dim=1) * math.nan), "NaN or infinity"),
        (lambda critic, images: [1.0, 2.0], "Expected a tensor of lengths"),
        (lambda critic, images: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_gradient_norms_are_named(answer, words):
    assert words in message("06.gradient_norms", answer)


# ------------------------------------------------------------------ the whole


class Small(nn.Module):
    """A GAN as a learner may write it, with linear layers, to be broken one part at a time."""

    def __init__(self, image_shape):
        super().__init__()
        self.latent_dim = 12
        self.generator = perceptron_generator(image_shape, 12, 32)
        self.discriminator = perceptron_discriminator(image_shape, 32)

    @torch.no_grad()
    def sample(self, n, rng):
        return self.generator(torch.randn(n, self.latent_dim, generator=rng))


@pytest.mark.parametrize("model_class", [nb06._ReferenceGAN, Small])
def test_a_gan_whose_players_can_learn_passes(model_class, capsys):
    nb06.duel(model_class)
    assert capsys.readouterr().out.startswith("✓ 60 steps each: D tells")


def with_part(name, part):
    """Returns a class with one part replaced by what `part` makes of it."""

    def init(self, image_shape):
        Small.__init__(self, image_shape)
        setattr(self, name, part(getattr(self, name)))

    return type("Broken", (Small,), {"__init__": init})


def with_method(**methods):
    return type("Broken", (Small,), methods)


class Constant(nn.Module):
    """A discriminator that hardly looks at its images."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(torch.zeros_like(x)) + 0 * self.network(x)


BROKEN = {
    "D is blind": (with_part("discriminator", Constant), "Look at the discriminator"),
    "G is cut off": (with_part("generator", Cut), "Look at the generator"),
    "scores [B, 1]": (
        with_part("discriminator", lambda d: nn.Sequential(d, nn.Unflatten(0, (-1, 1)))),
        "should return scores [4]",
    ),
    "flat images": (
        with_part("generator", lambda g: nn.Sequential(g, nn.Flatten())),
        "should return images",
    ),
    "own noise": (
        with_method(
            sample=torch.no_grad()(lambda self, n, rng: self.generator(torch.randn(n, 12)))
        ),
        "does not come from rng",
    ),
    "fixed noise": (
        with_method(sample=torch.no_grad()(lambda self, n, rng: self.generator(torch.ones(n, 12)))),
        "do not depend on rng",
    ),
    "sample with a gradient": (
        with_method(sample=lambda self, n, rng: self.generator(torch.randn(n, 12, generator=rng))),
        "without a gradient",
    ),
}


@pytest.mark.parametrize(("model_class", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_gan_is_named(model_class, words, capsys):
    nb06.duel(model_class)
    out = capsys.readouterr().out
    assert out.startswith("✗ The whole does not work yet.") and words in out
