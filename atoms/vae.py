"""A variational autoencoder (VAE): `python atoms/vae.py` or `... mnist`.

An encoder maps an image to a Gaussian over a few latent numbers, and a decoder maps latent numbers
back to an image. Both are trained to maximise a lower bound on log p(image), the ELBO. Latent
numbers that are drawn from N(0, I) then decode to new images.

Measured on MNIST (seed 0, 2 cores of an Intel Xeon, no GPU, torch 2.15; another job ran beside
it): trained in 46 s; test -ELBO 98.4 ± 0.3 nats an image. Pixels are grey, and binary cross-entropy
is a log-probability of black and white ones only, so this number is no bound on log p(image).

Source: Kingma & Welling 2014, arXiv:1312.6114.
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.utils import save_image

SEED = 0
SHAPE = (1, 28, 28)  # channels, height, width of an image
PIXELS = 28 * 28
HIDDEN = 400  # units of a hidden layer
LATENT = 20  # numbers that describe an image; more than that the digits do not use
EPOCHS, BATCH, LEARNING_RATE = 10, 128, 3e-3


def mlp(inputs, outputs):
    hidden = [nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU()]
    return nn.Sequential(nn.Linear(inputs, HIDDEN), *hidden, nn.Linear(HIDDEN, outputs))


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = mlp(PIXELS, 2 * LATENT)
        self.decoder = mlp(LATENT, PIXELS)

    def forward(self, x):  # pixels in [0, 1], [B, 784]
        # The logarithm of the variance may take any value, so the network needs no constraint.
        mu, logvar = self.encoder(x).chunk(2, dim=1)  # each [B, 20]
        logits = self.decoder(reparameterise(mu, logvar))  # log-odds of a white pixel, [B, 784]
        return logits, mu, logvar


def reparameterise(mu, logvar):
    """Draws z from N(mu, exp(logvar)). Gradients pass through, because the noise is an input."""
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def elbo_terms(x, logits, mu, logvar):
    """Returns -log p(x | z) and KL(q(z | x) || N(0, I)) in nats, each [B]. Their sum is -ELBO."""
    # The sum over pixels matters: a mean would weigh the KL term 784 times too much.
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    # Between two Gaussians the KL divergence has a closed form, so no sampling noise enters here.
    kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)
    return reconstruction, kl


@torch.no_grad()
def sample(model, num):
    """Returns `num` new images, [num, 1, 28, 28] in [0, 1]: the decoder's mean for z ~ N(0, I)."""
    z = torch.randn(num, LATENT, device=next(model.parameters()).device)
    return torch.sigmoid(model.decoder(z)).view(num, *SHAPE)


def train(images, epochs=EPOCHS):  # images uint8, [N, 1, 28, 28]
    """Returns the trained model and its loss at every step."""
    model, losses = VAE().to(images.device), []
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.95))
    steps = len(images) // BATCH  # an epoch; the last, incomplete batch is left out
    # The learning rate climbs to its peak and falls to zero, which allows a peak this high.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, epochs * steps, cycle_momentum=False
    )
    for epoch in range(1, epochs + 1):
        order, sums = torch.randperm(len(images), device=images.device), torch.zeros(2)
        for batch in order[: steps * BATCH].split(BATCH):
            x = images[batch].flatten(1) / 255  # [B, 784] in [0, 1]
            reconstruction, kl = elbo_terms(x, *model(x))
            loss = (reconstruction + kl).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            sums += torch.tensor([reconstruction.mean().item(), kl.mean().item()])
        reconstruction, kl = sums / steps
        print(f"epoch {epoch}/{epochs}: {reconstruction:.1f} reconstruction + {kl:.1f} KL nats")
    return model, losses


def main(name="strokes"):
    from course_utils import load_dataset  # only to have digits

    torch.manual_seed(SEED)
    dataset, start = load_dataset(name), time.perf_counter()
    model, _ = train(dataset.train_images)
    print(f"trained for {time.perf_counter() - start:.0f} s")
    test = dataset.test_images.flatten(1) / 255
    with torch.no_grad():
        logits, mu, logvar = model(test)
    reconstruction, kl = elbo_terms(test, logits, mu, logvar)
    nats = reconstruction + kl
    error = nats.std() / len(nats) ** 0.5
    print(f"test -ELBO: {nats.mean():.1f} ± {error:.1f} nats an image")
    rows = [test[:10].view(-1, *SHAPE), torch.sigmoid(logits[:10]).view(-1, *SHAPE)]
    save_image(torch.cat([*rows, sample(model, 60)]), __file__.replace(".py", ".png"), nrow=10)


if __name__ == "__main__":
    main(*sys.argv[1:2])
