"""How fast is the course's VAE? Time to a test -ELBO of 105.6 nats on MNIST's grey pixels, against
the well-known example protocol.

Reference: 784-400-20-400-784 with ReLU, DataLoader with ToTensor, Adam 1e-3, batch 128, 10 epochs
(the protocol of the VAE in PyTorch's example repository, written anew here). Both run in this
process, one after the other, on the same device; evaluation and imports are not timed.

    COURSE_DATA=../shared/data python benchmarks/vae_speed.py
"""

from __future__ import annotations

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import nn

from course_utils.base.config import override, parse_assignments
from course_utils.base.device import pick_device
from course_utils.base.files import data_root
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.models.vae import gaussian_kl, reparameterise
from course_utils.training.fit import fit, loss_terms
from course_utils.training.presets import preset
from course_utils.training.registry import build
from course_utils.training.runs import machine

TARGET_NATS = 105.6
FAST = ("train.num_epochs=4", "train.learning_rate=0.004")


class ReferenceVAE(nn.Module):
    """The example's network: one hidden layer of 400 units on each side, 20 latent dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mu, self.logvar = (
            nn.Linear(784, 400),
            nn.Linear(400, 20),
            nn.Linear(400, 20),
        )
        self.decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the -ELBO of each image in nats, `[B]`, for unit pixels `[B, 1, 28, 28]`."""
        x = x.flatten(1)
        hidden = F.relu(self.hidden(x))
        mu, logvar = self.mu(hidden), self.logvar(hidden)
        logits = self.decoder(reparameterise(mu, logvar))
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1) + gaussian_kl(
            mu, logvar
        ).sum(1)


def run_reference(
    dataset: Dataset, num_epochs: int, seed: int = 0, num_images: int | None = None
) -> tuple[float, float]:
    """Returns (seconds of training, test -ELBO in nats) of the example protocol; `num_images` are
    the first so many, None all.
    """
    from torchvision import datasets, transforms

    device = pick_device()
    torch.manual_seed(seed)
    digits = datasets.MNIST(str(data_root()), train=True, transform=transforms.ToTensor())
    few = digits if num_images is None else torch.utils.data.Subset(digits, range(num_images))
    loader = torch.utils.data.DataLoader(few, batch_size=128, shuffle=True)
    model = ReferenceVAE().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = time.perf_counter()
    for epoch in range(1, num_epochs + 1):
        for images, _ in loader:
            optimizer.zero_grad()
            loss = model(images.to(device)).sum()
            loss.backward()
            optimizer.step()
        print(f"  reference, epoch {epoch}: {time.perf_counter() - start:.1f} s", flush=True)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        return (
            seconds,
            torch.cat([model(chunk.to(device) / 255.0) for chunk in dataset.test_images.split(500)])
            .mean()
            .item(),
        )


def run_course(dataset: Dataset, settings: list[str], seed: int) -> tuple[float, float]:
    """Returns (seconds of training, test -ELBO in nats) of the course's VAE with the given
    settings.
    """
    experiment = override(
        preset("vae", "laptop"), parse_assignments([*settings, "train.num_validation_images=0"])
    ).fitted_to(dataset)
    model = build(experiment.model, seed)
    history = fit(model, dataset, experiment.train, seed=seed)
    return (
        history.seconds,
        loss_terms(model, dataset.test_images, dataset.test_labels)["negative_elbo"].mean().item(),
    )


def main() -> None:
    """Runs both and prints one line of JSON at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--set", dest="settings", nargs="*", default=list(FAST), help="settings of the fast run"
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="how many seeds of the fast run (default: 3)"
    )
    parser.add_argument("--reference-epochs", type=int, default=10, help="0 skips the reference")
    options = parser.parse_args()
    dataset = load_dataset("mnist")
    # warms up: torch imports its compiler with the first optimizer
    run_course(dataset.subset(2000, 200), options.settings, seed=0)
    fast = []
    for seed in range(options.seeds):
        fast.append(run_course(dataset, options.settings, seed))
        print(
            f"  course, seed {seed}: {fast[-1][0]:.1f} s, test -ELBO {fast[-1][1]:.2f} nats",
            flush=True,
        )
    result = {
        "machine": machine(),
        "settings": options.settings,
        "course": fast,
        "target_nats": TARGET_NATS,
    }
    if options.reference_epochs:
        seconds, nats = run_reference(dataset, options.reference_epochs)
        slowest = max(time for time, _ in fast)
        print(
            f"reference: {seconds:.1f} s, {nats:.2f} nats; slowest fast run: {slowest:.1f} s,"
            f" {seconds / slowest:.1f} times faster"
        )
        result |= {"reference": (seconds, nats), "ratio_to_slowest": seconds / slowest}
    result["all_reach_target"] = all(nats <= TARGET_NATS for _, nats in fast)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
