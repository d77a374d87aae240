"""What the exercises of notebook 04 accept and refuse beyond their listed mistakes: other styles of
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

from course_utils.base.device import make_rng
from course_utils.exercises import core, hunt_04, nb04
from course_utils.exercises.judge import NOT_ATTEMPTED, PASSED, WRONG, judge


def with_layers(*layers_of):
    """Returns a builder of nn.Sequential from functions of (image shape, hidden, latent)."""

    def make(image_shape, hidden_dim, latent_dim):
        return nn.Sequential(
            *(layer(math.prod(image_shape), hidden_dim, latent_dim) for layer in layers_of)
        )

    return make


# ------------------------------------------------------------------ encoder


class TwoHeads(nn.Module):
    """An encoder with one head for mu and one for logvar."""

    def __init__(self, shape, hidden, latent, after=None):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(math.prod(shape), hidden), nn.Tanh())
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.after = after or nn.Identity()

    def forward(self, x):
        h = self.body(x.reshape(len(x), -1))
        return torch.cat([self.mu(h), self.after(self.logvar(h))], dim=1)


class Convolutional(nn.Module):
    def __init__(self, shape, hidden, latent):
        super().__init__()
        self.conv = nn.Conv2d(shape[0], 3, 3, padding=1)
        self.hidden = nn.Linear(3 * shape[1] * shape[2], hidden)
        self.out = nn.Linear(hidden, 2 * latent)

    def forward(self, x):
        return self.out(F.relu(self.hidden(F.relu(self.conv(x)).flatten(1))))


@pytest.mark.parametrize(
    "answer",
    [
        TwoHeads,
        Convolutional,
        with_layers(
            lambda p, h, d: nn.Flatten(),
            lambda p, h, d: nn.Linear(p, h),
            lambda p, h, d: nn.ReLU(),
            lambda p, h, d: nn.Linear(h, h),
            lambda p, h, d: nn.ReLU(),
            lambda p, h, d: nn.Linear(h, 2 * d),
        ),
    ],
    ids=["two heads", "convolution", "two hidden layers"],
)
def test_other_encoders_pass(answer):
    assert passes("04.encoder", answer)


def changed_encoder(last=None, drop=(), outputs=2):
    def make(shape, hidden, latent):
        layers = [
            nn.Flatten(),
            nn.Linear(math.prod(shape), hidden),
            nn.SiLU(),
            nn.Linear(hidden, outputs * latent),
        ]
        kept = [layer for place, layer in enumerate(layers) if place not in drop]
        return nn.Sequential(*kept, *([last] if last else []))

    return make


class Cut(nn.Module):
    """A network whose output carries no gradient, or one that leaves a layer unused."""

    def __init__(self, network, unused=False):
        super().__init__()
        self.network, self.unused = network, unused
        self.spare = nn.Linear(2, 2) if unused else None

    def forward(self, x):
        out = self.network(x)
        return out if self.unused else out.detach()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (changed_encoder(outputs=1), "twice as many"),
        (changed_encoder(outputs=3), r"\[7, 40\], got \[7, 60\]"),
        (changed_encoder(drop=(0,)), r"begin with nn\.Flatten"),
        (changed_encoder(drop=(2,)), "The network is linear"),
        (changed_encoder(nn.ReLU()), "never get clearly negative"),
        (changed_encoder(nn.Softplus()), "never get clearly negative"),
        (changed_encoder(nn.Sigmoid()), "stay between -1 and 1"),
        (changed_encoder(nn.Tanh()), "stay between -1 and 1"),
        (lambda s, h, d: TwoHeads(s, h, d, nn.Softplus()), "never get clearly negative"),
        (lambda s, h, d: TwoHeads(s, h, d, nn.Tanh()), "stay between -1 and 1"),
        (lambda s, h, d: changed_encoder()(s, 64, d), "does not change with hidden_dim"),
        (lambda s, h, d: changed_encoder()((1, 28, 28), h, d), "does not take images"),
        (lambda s, h, d: list(changed_encoder()(s, h, d)), "Expected a network"),
        (lambda s, h, d: Cut(changed_encoder()(s, h, d)), "No gradient reaches the network"),
        (lambda s, h, d: Cut(changed_encoder()(s, h, d), unused=True), "spare.* never used"),
        (lambda s, h, d: print(end=""), "Is the `return` missing"),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 40)), "Checking your answer raised"),
    ],
)
def test_wrong_encoders_are_named(answer, words):
    import re

    assert re.search(words, message("04.encoder", answer))


# ------------------------------------------------------------------ decoder


class ReshapingDecoder(nn.Module):
    def __init__(self, shape, hidden, latent):
        super().__init__()
        self.shape = shape
        self.layers = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, math.prod(shape))
        )

    def forward(self, z):
        return self.layers(z).view(-1, *self.shape)


def test_a_decoder_that_reshapes_passes():
    assert passes("04.decoder", ReshapingDecoder)


def changed_decoder(last=None, drop=(), turn=False, inputs=1):
    def make(shape, hidden, latent):
        size = (shape[0], shape[2], shape[1]) if turn else tuple(shape)
        layers = [
            nn.Linear(inputs * latent, hidden),
            nn.SiLU(),
            nn.Linear(hidden, math.prod(shape)),
            nn.Unflatten(1, size),
        ]
        kept = [layer for place, layer in enumerate(layers) if place not in drop]
        return nn.Sequential(*kept, *([last] if last else []))

    return make


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (changed_decoder(nn.Sigmoid()), "a sigmoid is at the end"),
        (changed_decoder(nn.Tanh()), "an activation follows the last layer"),
        (changed_decoder(nn.ReLU()), "an activation follows the last layer"),
        (changed_decoder(nn.LogSigmoid()), "an activation follows the last layer"),
        (changed_decoder(drop=(3,)), "Give each image its shape again"),
        (changed_decoder(drop=(1,)), "The network is linear"),
        (changed_decoder(turn=True), "got [7, 3, 4, 6]"),
        (changed_decoder(inputs=2), "does not take z of shape [B, latent_dim]"),
        (lambda s, h, d: changed_decoder()(s, 64, d), "does not change with hidden_dim"),
        (lambda s, h, d: Cut(changed_decoder()(s, h, d)), "No gradient reaches the network"),
        (lambda s, h, d: torch.zeros(7, *s), "Expected a network"),
        (lambda s, h, d: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_decoders_are_named(answer, words):
    assert words in message("04.decoder", answer)


# ------------------------------------------------------------------ reparameterisation


@pytest.mark.parametrize(
    "answer",
    [
        lambda mu, logvar, rng: mu + logvar.exp().sqrt() * torch.randn(mu.shape, generator=rng),
        lambda mu, logvar, rng: torch.addcmul(
            mu, (logvar / 2).exp(), torch.empty_like(mu).normal_(generator=rng)
        ),
        lambda mu, logvar, rng: mu + logvar.mul(0.5).exp() * torch.randn(*mu.shape, generator=rng),
        lambda mu, logvar, rng: mu + (0.5 * logvar).exp() * torch.randn_like(mu, generator=rng),
    ],
)
def test_other_draws_pass(answer):
    assert passes("04.reparameterise", answer)


def sigma(logvar):
    return torch.exp(0.5 * logvar)


def noise(mu, rng):
    return torch.randn(mu.shape, generator=rng)


def without_graph(mu, logvar, rng):
    with torch.no_grad():
        return mu + sigma(logvar) * noise(mu, rng)


def by_numpy(mu, logvar, rng):
    std = np.exp(0.5 * logvar.detach().numpy())
    return torch.from_numpy(mu.detach().numpy() + std * noise(mu, rng).numpy())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda m, v, rng: m + sigma(v).detach() * noise(m, rng), "no gradient reaches `logvar`"),
        (lambda m, v, rng: m.detach() + sigma(v) * noise(m, rng), "no gradient reaches `mu`"),
        (lambda m, v, rng: (m + sigma(v) * noise(m, rng)).detach(), "no gradient reaches `mu`"),
        (lambda m, v, rng: torch.normal(m, sigma(v), generator=rng), "The values are right, but"),
        (without_graph, "no gradient reaches `mu`"),
        (by_numpy, "no gradient reaches `mu`"),
        (lambda m, v, rng: m + v.exp() * noise(m, rng), "scaled the noise by the variance"),
        (lambda m, v, rng: m + v * noise(m, rng), "by logvar itself"),
        (lambda m, v, rng: m + sigma(v) * noise(m[0], rng), "used it for every image"),
        (lambda m, v, rng: m + sigma(v) * noise(m[:, :1], rng), "one number for each image"),
        (lambda m, v, rng: m + sigma(v) * torch.randn_like(m), "does not come from rng"),
        (
            lambda m, v, rng: torch.distributions.Normal(m, sigma(v)).rsample(),
            "does not come from rng",
        ),
        (lambda m, v, rng: noise(m, rng), "draw from the prior"),
        (lambda m, v, rng: m, "the noise is missing"),
        (lambda m, v, rng: m + sigma(v), "which is no draw"),
        (lambda m, v, rng: (m + sigma(v) * noise(m, rng)) * math.nan, "NaN or infinity"),
        (lambda m, v, rng: (m + sigma(v) * noise(m, rng)).sum(1), "got numbers of shape [3]"),
        (lambda m, v, rng: m + noise(m, rng), "noise of the prior's width"),
        (lambda m, v, rng: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_draws_are_named(answer, words):
    assert words in message("04.reparameterise", answer)


# ------------------------------------------------------------------ loss


def stable_by_hand(logits, x, mu, logvar):
    """Returns the terms without the library's cross-entropy."""
    costs = F.softplus(logits) - x * logits
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=-1)
    return costs.flatten(start_dim=1).sum(-1), kl


def one_line(logits, x, mu, logvar):
    cost = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return [
        torch.einsum("bchw->b", cost),
        0.5 * torch.einsum("bd->b", mu * mu + logvar.exp() - logvar - 1),
    ]


def by_distributions(logits, x, mu, logvar):
    q = torch.distributions.Normal(mu, sigma(logvar))
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    cost = -torch.distributions.Bernoulli(logits=logits, validate_args=False).log_prob(x)
    return cost.sum((1, 2, 3)), kl


@pytest.mark.parametrize("answer", [stable_by_hand, by_distributions])
def test_other_losses_pass(answer):
    assert passes("04.loss", answer)


def test_a_list_of_the_two_terms_is_told_apart_from_wrong_terms():
    assert passes("04.loss", lambda *arguments: tuple(one_line(*arguments)))


def terms(logits, x, mu, logvar):
    return nb04.LOSS.solution(logits, x, mu, logvar)


def cost(logits, x):
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            lambda lo, x, m, v: (cost(lo, x).mean((1, 2, 3)), terms(lo, x, m, v)[1]),
            "averaged over the pixels",
        ),
        (
            lambda lo, x, m, v: (terms(lo, x, m, v)[0], terms(lo, x, m, v)[1] / m.shape[1]),
            "averaged over the latent dimensions",
        ),
        (
            lambda lo, x, m, v: (cost(lo, x).sum(), terms(lo, x, m, v)[1].sum()),
            "one value for each",
        ),
        (lambda lo, x, m, v: (-terms(lo, x, m, v)[0], terms(lo, x, m, v)[1]), "wrong sign"),
        (lambda lo, x, m, v: (terms(lo, x, m, v)[0], -terms(lo, x, m, v)[1]), "never negative"),
        (lambda lo, x, m, v: (terms(lo, x, m, v)[0], 2 * terms(lo, x, m, v)[1]), "factor 1/2"),
        (
            lambda lo, x, m, v: (cost(lo.sigmoid(), x).sum((1, 2, 3)), terms(lo, x, m, v)[1]),
            "twice",
        ),
        (lambda lo, x, m, v: terms(lo, x, m, v)[::-1], "swapped"),
        (lambda lo, x, m, v: sum(terms(lo, x, m, v)), "Return both"),
        (lambda lo, x, m, v: (cost(lo, x).sum(1), terms(lo, x, m, v)[1]), "shape"),
        (lambda lo, x, m, v: (cost(lo, x).sum((2, 3)), terms(lo, x, m, v)[1]), "shape"),
        (lambda lo, x, m, v: (cost(lo, x).sum((1, 2, 3)), terms(lo, x, m, v)[1].sum()), "a number"),
        (lambda lo, x, m, v: terms(lo.detach(), x, m, v), "no gradient reaches `logits`"),
        (lambda lo, x, m, v: terms(lo, x, m, v.detach()), "no gradient reaches `logvar`"),
        (lambda lo, x, m, v: terms(lo, x, m.detach(), v), "no gradient reaches `mu`"),
        (lambda lo, x, m, v: (terms(lo, x, m, v)[0] * math.nan, terms(lo, x, m, v)[1]), "NaN"),
        (lambda lo, x, m, v: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_losses_are_named(answer, words):
    assert words in message("04.loss", answer)


@pytest.mark.parametrize(
    "answer",
    [
        lambda num_pixels, latent_dim: [num_pixels, 1 / latent_dim],
        lambda num_pixels, latent_dim: np.array([num_pixels, 1 / latent_dim]),
        lambda num_pixels, latent_dim: torch.tensor([num_pixels, 1 / latent_dim]),
    ],
)
def test_the_two_betas_as_list_array_or_tensor_pass(answer):
    assert passes("04.silent_betas", answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda p, d: (784, 0.05), "test input 2 of 4"),
        (lambda p, d: (p, d), "Loss B is the other way round"),
        (lambda p, d: p, "got a number"),
        (lambda p, d: (p, 1 / d, 1), "got"),
        (lambda p, d: (-p, -1 / d), "sign"),
        (lambda p, d: (p, math.nan), "NaN"),
        (lambda p, d: print(end=""), "Is the `return` missing"),
        ((784, 0.05), "Expected a function"),
    ],
)
def test_wrong_betas_are_named(answer, words):
    assert words in message("04.silent_betas", answer)


# ------------------------------------------------------------------ one step


def zero_at_the_end(model, optimizer, x, rng):
    reconstruction, kl = model(x, rng)
    loss = reconstruction.mean() + kl.mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    return float(loss.detach())


def with_a_detached_tensor(model, optimizer, x, rng):
    optimizer.zero_grad()
    loss = sum(model(x, rng)).mean()
    loss.backward()
    optimizer.step()
    return loss.detach()


@pytest.mark.parametrize("answer", [zero_at_the_end, with_a_detached_tensor])
def test_other_steps_pass(answer):
    assert passes("04.step", answer)


def step_with(model_call=lambda model, x, rng: model(x, rng), returned=lambda loss: loss.item()):
    def step(model, optimizer, x, rng):
        loss = sum(model_call(model, x, rng)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return returned(loss)

    return step


def without_graph_step(model, optimizer, x, rng):
    with torch.no_grad():
        loss = sum(model(x, rng)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (step_with(lambda model, x, rng: model(x)), "the noise does not come from rng"),
        (step_with(lambda model, x, rng: model(x, None)), "the noise does not come from rng"),
        (step_with(lambda model, x, rng: model(x[:1], rng)), "not where they should be"),
        (step_with(returned=lambda loss: loss), "with its whole graph"),
        (step_with(returned=lambda loss: 2 * loss.item()), "not the loss of this batch"),
        (step_with(returned=lambda loss: math.nan), "NaN or infinity"),
        (step_with(returned=lambda loss: None), "Is the `return` missing"),
        (without_graph_step, "does not require grad"),
    ],
)
def test_wrong_steps_are_named(answer, words):
    assert words in message("04.step", answer)


# ------------------------------------------------------------------ the whole


class Whole(nb04.WHOLE.solution):
    """The reference class, to be broken one part at a time."""

    def draw(self, mu, logvar, rng):
        return mu + sigma(logvar) * noise(mu, rng)

    def terms(self, logits, x, mu, logvar):
        return nb04.LOSS.solution(logits, x, mu, logvar)

    def forward(self, x, rng):
        mu, logvar = self.encode(x)
        return self.terms(self.decode(self.draw(mu, logvar, rng)), x, mu, logvar)


class Flat(nn.Module):
    """A VAE as a learner may write it from an empty cell, without the parts."""

    def __init__(self, image_shape):
        super().__init__()
        self.image_shape, num = image_shape, math.prod(image_shape)
        self.hidden, self.mu, self.logvar = (
            nn.Linear(num, 200),
            nn.Linear(200, 8),
            nn.Linear(200, 8),
        )
        self.up, self.out = nn.Linear(8, 200), nn.Linear(200, num)

    def encode(self, x):
        h = torch.relu(self.hidden(x.flatten(1)))
        return self.mu(h), self.logvar(h)

    def decode(self, z):
        return self.out(torch.relu(self.up(z))).view(-1, *self.image_shape)

    def forward(self, x, rng):
        mu, logvar = self.encode(x)
        z = mu + (logvar / 2).exp() * torch.randn(mu.shape, generator=rng)
        cost = F.binary_cross_entropy_with_logits(self.decode(z), x, reduction="none")
        return cost.flatten(1).sum(1), 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)


def test_a_class_from_an_empty_cell_passes():
    assert passes("04.vae", Flat)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_parts_run_where_their_generator_is():
    model = nb04.WHOLE.solution((1, 28, 28)).to("cuda")
    reconstruction, kl = model(torch.rand(3, 1, 28, 28, device="cuda"), make_rng(0, device="cuda"))
    assert reconstruction.device.type == kl.device.type == "cuda"


def broken(**methods):
    return type("Broken", (Whole,), methods)


def ends_with(part, last):
    """Returns a class whose encoder or decoder has one more layer."""

    def init(self, image_shape):
        Whole.__init__(self, image_shape)
        setattr(self, part, nn.Sequential(getattr(self, part), last))

    return broken(__init__=init)


def encoder_without_gradient(self, x):
    with torch.no_grad():
        return self.encoder(x).chunk(2, dim=1)


class WithProbabilities(Flat):
    """A right VAE whose decoder ends in the sigmoid."""

    def decode(self, z):
        return super().decode(z).sigmoid()

    def forward(self, x, rng):
        mu, logvar = self.encode(x)
        p = self.decode(mu + sigma(logvar) * noise(mu, rng))
        reconstruction = F.binary_cross_entropy(p, x, reduction="none").flatten(1).sum(1)
        return reconstruction, 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)


class WithSigma(Flat):
    """A right VAE whose encoder returns the standard deviation."""

    power = 0.5

    def encode(self, x):
        mu, logvar = super().encode(x)
        return mu, torch.exp(self.power * logvar)

    def forward(self, x, rng):
        mu, width = self.encode(x)
        logvar = width.log() / self.power
        z = mu + sigma(logvar) * noise(mu, rng)
        return terms(self.decode(z), x, mu, logvar)


class WithVariance(WithSigma):
    power = 1.0


BROKEN = {
    "no draw": (broken(draw=lambda self, m, v, rng: m), "z is no draw"),
    "own noise": (
        broken(draw=lambda self, m, v, rng: m + sigma(v) * torch.randn_like(m)),
        "does not come from rng",
    ),
    "shared noise": (
        broken(draw=lambda self, m, v, rng: m + sigma(v) * noise(m[0], rng)),
        "eps is shared by the batch",
    ),
    "detached z": (
        broken(draw=lambda self, m, v, rng: (m + sigma(v) * noise(m, rng)).detach()),
        "No gradient of the reconstruction reaches encoder",
    ),
    "encoder without gradient": (broken(encode=encoder_without_gradient), "no gradient"),
    "logvar as sigma": (
        broken(draw=lambda self, m, v, rng: m + v * noise(m, rng)),
        "another standard deviation",
    ),
    "prior": (broken(draw=lambda self, m, v, rng: noise(m, rng)), "reaches encoder"),
    "pixel mean": (
        broken(
            terms=lambda self, lo, x, m, v: (cost(lo, x).mean((1, 2, 3)), terms(lo, x, m, v)[1])
        ),
        "a mean over the pixels",
    ),
    "latent mean": (
        broken(terms=lambda self, lo, x, m, v: (terms(lo, x, m, v)[0], terms(lo, x, m, v)[1] / 20)),
        "Look at the KL term",
    ),
    "negative": (
        broken(terms=lambda self, lo, x, m, v: (terms(lo, x, m, v)[0], -terms(lo, x, m, v)[1])),
        "Look at the KL term",
    ),
    "sum over images": (
        broken(terms=lambda self, *args: tuple(term.sum() for term in terms(*args))),
        "one reconstruction for each image",
    ),
    "sigmoid": (ends_with("decoder", nn.Sigmoid()), "returns probabilities"),
    "softplus": (ends_with("decoder", nn.Softplus()), "an activation follows the decoder"),
    "probabilities": (WithProbabilities, "leave the sigmoid to the loss"),
    "sigma": (WithSigma, "returns mu and sigma. Return mu and logvar"),
    "variance": (WithVariance, "returns mu and sigma^2. Return mu and logvar"),
    "swapped": (
        broken(terms=lambda self, *args: tuple(reversed(terms(*args)))),
        "returns the KL first",
    ),
    "relu": (ends_with("encoder", nn.ReLU()), "No mu is ever below 0"),
    "no decode": (broken(decode=None), "no method `decode`"),
    "flat": (broken(decode=lambda self, z: self.decoder(z).flatten(1)), "the shape of the images"),
    "one code": (broken(encode=lambda self, x: self.encoder(x)), "should return mu and logvar"),
    "no return": (broken(encode=lambda self, x: None), "Is the `return` missing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_whole_is_traced_to_its_part(name, capsys):
    cls, words = BROKEN[name]
    found = message("04.vae", cls)
    assert words.casefold() in found.casefold()


def test_overfit_prints_what_was_learned_or_what_is_wrong(capsys):
    nb04.overfit(Whole)
    printed = capsys.readouterr().out
    assert printed.startswith("✓ 32 images, 200 steps: reconstruction 5")
    assert "The whole learns." in printed
    nb04.overfit(BROKEN["shared noise"][0])
    assert capsys.readouterr().out.startswith("✗ The whole does not work yet. Eight copies")


def test_a_class_of_stubs_is_not_attempted():
    class Stub(nn.Module):
        def __init__(self, image_shape):
            super().__init__()

        def encode(self, x):
            return ...

        def decode(self, z):
            return ...

    assert judge(core.find("04.vae"), Stub).status == NOT_ATTEMPTED


# ------------------------------------------------------------------ importance weights


def shifted(w):
    top = w.max(0).values
    return (w - top).exp().mean(0).log() + top


@pytest.mark.parametrize("answer", [shifted, lambda w: w.double().exp().mean(0).log()])
def test_the_bound_by_hand(answer):
    verdict = judge(core.find("04.iwae"), answer)
    # in float64 the weights of -150 are fine, those of -900 are not
    assert verdict.status == (PASSED if answer is shifted else WRONG)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda w: w.mean(0), "the ELBO"),
        (lambda w: torch.logsumexp(w, 1), "shape"),
        (lambda w: shifted(w).sum(), "got a number"),
        (lambda w: shifted(w) * math.nan, "NaN"),
        (lambda w: w[0], "values differ"),
        (lambda w: print(end=""), "Is the `return` missing"),
    ],
)
def test_wrong_bounds_are_named(answer, words):
    assert words in message("04.iwae", answer)


# ------------------------------------------------------------------ the bug hunt


def changed_script(*changes):
    """Returns the healthy script with some texts replaced."""
    import inspect

    source = inspect.getsource(hunt_04.healthy)
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    names: dict = {"torch": torch, "nn": nn, "F": F}
    exec(source, names)  # noqa: S102 (our own text)
    return names["healthy"]


OTHER_MENDS = {
    1: [("torch.exp(0.5 * logvar)", "logvar.exp() ** 0.5")],
    2: [("nn.SiLU()", "nn.GELU()")],
    3: [('reduction="none").sum(1)', 'reduction="none").mean(1) * x.shape[1]')],
    4: [
        ("nn.Linear(128, num_pixels))", "nn.Linear(128, num_pixels), nn.Sigmoid())"),
        ("F.binary_cross_entropy_with_logits(", "F.binary_cross_entropy("),
    ],
    5: [("encoder(x)", "encoder(2 * x - 1)")],  # signed pixels in, unit pixels in the loss
}


@pytest.mark.parametrize("number", OTHER_MENDS)
def test_other_mended_scripts_pass(number):
    assert passes(f"04.mend_{number}", changed_script(*OTHER_MENDS[number]))


@pytest.mark.parametrize(
    ("number", "changes", "words"),
    [
        (1, [("torch.exp(0.5 * logvar)", "torch.exp(logvar).clamp(max=0)")], "does not compute"),
        (3, [('reduction="none").sum(1)', 'reduction="none").mean(1)')], "still a mean"),
        (3, [("- logvar).sum(1)", "- logvar).mean(1)")], "reports a KL"),
        (5, [("/ 255", "/ 1.0")], "look at the range of x"),
        (2, [("loss.backward()", "loss.item()")], "something is still wrong"),
        (2, [("(reconstruction + kl).mean()", "reconstruction.mean() * math.nan")], "math"),
        (4, [("return encoder, decoder, terms", "return encoder, decoder")], "Expected encoder"),
        (4, [("return encoder, decoder, terms", "pass")], "Is the `return` missing"),
        (4, [("num_steps)", "10)")], "one pair of terms for each of the 100 steps"),
    ],
)
def test_half_mended_scripts_are_refused(number, changes, words):
    assert words in message(f"04.mend_{number}", changed_script(*changes))


def test_each_script_is_the_healthy_one_but_for_its_fault():
    images = hunt_04._trial_images()[:40]
    runs = hunt_04.run_hunts(images, num_steps=2)
    first = {number: run.terms[0] for number, run in runs.items()}
    assert first[1] != first[0] and first[2] == first[0] and first[2][1] == runs[2].terms[0][1]
    assert first[3][0] == pytest.approx(first[0][0] / 784, rel=1e-4)
    assert first[4][0] > first[0][0] and set(runs) == {0, 1, 2, 3, 4, 5}


def test_the_symptoms_are_what_the_texts_say():
    """Each sentence of `seen` about a curve, measured."""
    images = hunt_04._trial_images()
    runs = hunt_04.run_hunts(images[:600], num_steps=150)
    ends = {number: torch.tensor(run.terms[-10:]).mean(0) for number, run in runs.items()}
    assert (ends[1] < ends[0]).all()  # both terms below the dashed lines
    kl = torch.tensor(runs[2].terms)[:, 1]
    assert kl.std() < 0.05 * kl.mean() and ends[2][0] > 1.2 * ends[0][0]
    reconstruction, kl = torch.tensor(runs[3].terms).T
    assert reconstruction.max() < 1 and kl[-1] < 0.01
    decoded = hunt_04._pictures(runs[4], images[600:606], signed=False)[1]
    assert decoded.min() >= 127
    assert torch.tensor(runs[5].terms)[-1, 0] < 0


def test_the_picture_of_a_hunt_carries_its_numbers():
    images = hunt_04._trial_images()
    runs = hunt_04.run_hunts(images[:100], num_steps=3)
    figure = hunt_04.symptoms(runs, 3, images[600:606])
    assert figure.alt_text.startswith("Two curves of broken script 3")
    assert f"reconstruction {runs[3].terms[0][0]:.2g} to" in figure.alt_text


def test_a_rising_kl_is_not_denied_where_it_rises():
    found = message("04.hunt_5", "KL left out")
    assert "rises far above that of the healthy run here, too" in found
    assert "If it were that" not in found
