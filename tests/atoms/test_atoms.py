"""Each one-file model: its size and imports, its loss against the library's, a few steps of
training, and its samples.
"""

from __future__ import annotations

import ast
import sys

import pytest
import torch
from materials import PROJECT, blobs

from atoms import flow, gan, vae
from course_utils.models import dcgan
from course_utils.models import vae as library_vae
from course_utils.models.diffusion.schedules import flow_schedule, make_target

FILES = sorted((PROJECT / "atoms").glob("[!_]*.py"))
MOST_LINES, MOST_COLUMNS = 120, 100
ALLOWED = {"torch", "torchvision", "course_utils"} | set(sys.stdlib_module_names)


@pytest.fixture(autouse=True)
def same_draws():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def images():
    return blobs(512, (1, 28, 28), 1)


def test_there_are_three_files():
    assert [path.stem for path in FILES] == ["flow", "gan", "vae"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_short_and_needs_torch_alone(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert max(map(len, text.splitlines())) <= MOST_COLUMNS
    names = set()
    for node in ast.parse(text).body:  # at the top of the file
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module.partition(".")[0])
    assert "torch" in names and names <= ALLOWED


def test_the_vae_loss_is_the_librarys():
    x, logits = torch.rand(6, 784), 8 * torch.randn(6, 784)
    mu, logvar = 2 * torch.randn(6, 20), torch.randn(6, 20)
    reconstruction, kl = vae.elbo_terms(x, logits, mu, logvar)
    torch.testing.assert_close(reconstruction, -library_vae.bernoulli_log_likelihood(x, logits))
    torch.testing.assert_close(kl, library_vae.gaussian_kl(mu, logvar).sum(1))


def test_the_vae_draws_latents_with_the_right_spread_and_passes_gradients():
    mu, logvar = (
        torch.tensor([[2.0, -1.0]]).expand(20_000, 2),
        torch.tensor([[0.0, 1.4]]).expand(20_000, 2),
    )
    z = vae.reparameterise(mu, logvar)
    torch.testing.assert_close(z.mean(0), mu[0], atol=0.05, rtol=0)
    torch.testing.assert_close(z.std(0), (0.5 * logvar[0]).exp(), atol=0.05, rtol=0)
    leaf = torch.zeros(3, 2, requires_grad=True)
    vae.reparameterise(leaf, leaf).sum().backward()
    assert leaf.grad.abs().min() > 0


def test_the_gan_losses_are_the_librarys():
    real, fake = 4 * torch.randn(9), 4 * torch.randn(9)
    torch.testing.assert_close(
        gan.discriminator_loss(real, fake),
        dcgan.discriminator_loss("non-saturating", real, fake).mean(),
    )
    torch.testing.assert_close(
        gan.generator_loss(fake), dcgan.generator_loss("non-saturating", fake).mean()
    )


def test_the_gan_penalty_is_the_librarys_and_teaches_the_discriminator():
    discriminator, real = gan.make_discriminator(), torch.rand(4, 1, 28, 28) * 2 - 1
    for weight in discriminator.parameters():
        weight.data.mul_(4)  # far from the start, where the penalty is nearly 0
    penalty = gan.r1_penalty(discriminator, real)
    torch.testing.assert_close(penalty, dcgan.real_penalty(discriminator, real))
    penalty.backward()
    assert penalty > 1e-3 and discriminator[0].weight.grad.abs().sum() > 0 and real.grad is None


def test_the_flow_loss_is_the_librarys():
    schedule, x0, eps = flow_schedule(), torch.randn(5, 1, 28, 28), torch.randn(5, 1, 28, 28)
    t, labels = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0]), torch.tensor([3, 1, 10, 0, 9])
    seen = {}

    def network(xt, times, given):
        seen.update(xt=xt, times=times, labels=given)
        return torch.sin(3 * xt)  # any prediction that depends on the input

    loss = flow.flow_loss(network, x0, eps, t, labels)
    xt = schedule.noised(x0, eps, t)
    torch.testing.assert_close(seen["xt"], xt)
    torch.testing.assert_close(seen["times"], t)
    assert torch.equal(seen["labels"], labels)
    target = make_target("velocity", schedule, x0, eps, t)
    torch.testing.assert_close(loss, (torch.sin(3 * xt) - target).square().mean())


def test_the_flow_sampler_follows_a_straight_path_exactly_and_guides():
    """With one image for each label the velocity is known: (x_t - image) / t. Guidance moves on
    past the image of the label.
    """
    told, plain = 0.5, 0.1

    def network(xt, t, labels):
        image = torch.where(labels == flow.CLASSES, plain, told)
        return (xt - image[:, None, None, None]) / t[:, None, None, None]

    labels = torch.tensor([0, 7])
    for guidance, expected in (
        (0.0, plain),
        (1.0, told),
        (1.5, plain + 1.5 * (told - plain)),
        (9.0, 1.0),
    ):
        drawn = flow.sample(network, labels, steps=7, guidance=guidance)
        torch.testing.assert_close(drawn, torch.full((2, 1, 28, 28), expected), atol=1e-4, rtol=0)


def test_the_flow_network_sees_time_and_label():
    network, x = flow.UNet(), torch.randn(2, 1, 28, 28)
    t, labels = torch.full((2,), 0.5), torch.tensor([1, 2])
    before = network(x, t, labels)
    assert before.shape == x.shape
    assert not torch.allclose(before, network(x, t + 0.4, labels))
    assert not torch.allclose(before, network(x, t, labels.flip(0)))


def mean(values):
    values = torch.tensor(values)
    assert values.isfinite().all()
    return values.mean(0)


def test_the_vae_learns_and_samples(images):
    model, losses = vae.train(images[0], epochs=6)
    tenth = max(1, len(losses) // 10)
    assert mean(losses[-tenth:]) < 0.8 * mean(losses[:tenth])
    drawn = vae.sample(model, 3)
    assert drawn.shape == (3, 1, 28, 28) and 0 <= drawn.min() and drawn.max() <= 1


def test_the_gan_learns_and_samples(images):
    generator, losses = gan.train(images[0], steps=30)
    assert len(losses) == 30
    undecided = 2 * torch.tensor(2.0).log()  # the discriminator's loss where it knows nothing
    mean(losses)  # finite
    assert min(d_loss for _, d_loss in losses) < 0.95 * undecided
    drawn = gan.sample(generator, 3)
    assert drawn.shape == (3, 1, 28, 28) and -1 <= drawn.min() and drawn.max() <= 1
    assert not generator.training


def test_the_flow_learns_and_samples(images):
    network, losses = flow.train(*images, steps=30)
    assert mean(losses[-6:]) < 0.7 * mean(losses[:6])
    drawn = flow.sample(network, torch.tensor([0, 1, 2]), steps=3)
    assert drawn.shape == (3, 1, 28, 28) and -1 <= drawn.min() and drawn.max() <= 1
