"""What a good student plans and writes, her own code, what a cheat makes of her submission, how a
command is killed, and the small models and data that stand for those of the class.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from materials import make_dataset

from course_utils.base.config import override
from course_utils.data.dataset import Dataset
from course_utils.homework.own import own_experiment
from course_utils.homework.parameters import homework_preset
from course_utils.homework.schema import OwnCode, Results, check_results
from course_utils.training.runs import experiment_key

CHANGES = {"model.latent_dim": 3, "model.beta": 4.0, "train.learning_rate": 1e-3}
PREDICTION = (
    "Fewer latent dimensions and a larger beta will blur the samples, so FID rises in every seed."
)
OBSERVATION = (
    "FID rose in all three seeds, and the samples of the changed model look thicker and greyer."
)
EXPLANATION = (
    "Three dimensions hold less about an image, and beta makes the encoder pay more for each nat."
)


def few_images() -> Dataset:
    """Returns blobs under the name and with the ten classes of strokes."""
    return replace(make_dataset(name="strokes", num_test=210), class_names=tuple("0123456789"))


def small_preset(family: str, budget_name: str):
    """Returns a class model that trains at once, in the place of `homework_preset`."""
    experiment = homework_preset(family, budget_name)
    train = replace(experiment.train, num_train_images=128, batch_size=64, num_validation_images=10)
    return override(
        replace(experiment, train=train), {"model.hidden_dims": (8, 8)} if family == "vae" else {}
    )


# A VAE in plain PyTorch, as notebook 04 builds it, for pictures of any size and colour.
OWN_VAE = '''"""My VAE: two layers each, a Gaussian decoder of unit variance."""

import torch
from torch import nn

LATENT_DIM, HIDDEN, NUM_STEPS = 16, 128, 60


class VAE(nn.Module):
    def __init__(self, num_pixels):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(num_pixels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT_DIM)
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENT_DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_pixels), nn.Tanh()
        )

    def loss(self, x, rng):
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        z = mu + (0.5 * logvar).exp() * torch.randn(mu.shape, generator=rng)
        error = 0.5 * (self.decoder(z) - x).square().sum(1)
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1)
        return (error + kl).mean()


def train(dataset, seed):
    rng = torch.Generator().manual_seed(seed)
    x = dataset.train_images.flatten(1).float() / 127.5 - 1
    model = VAE(x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(NUM_STEPS):
        batch = x[torch.randint(len(x), (32,), generator=rng)]
        loss = model.loss(batch, rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    def draw(n, rng):
        z = torch.randn(n, LATENT_DIM, generator=rng)
        return model.decoder(z).view(n, *dataset.image_shape)

    return draw, losses
'''
# The program of a command that kills itself with half of a file written: the one of the given
# number whose partial version begins as given.
CUT_OFF = """
import os, signal, sys
from course_utils.base import files

beginning, number, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
whole, written = files._to_disk, []

def cut(path):
    if path.name.startswith(beginning):
        written.append(path)
        if len(written) == number:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    whole(path)

files._to_disk = cut
from course_utils.cli.main import main
sys.exit(main(words))
"""

OWN_TEXTS = (  # prediction, observation, explanation
    "A code of one number holds hardly more than one direction in which pictures differ, so samples"
    " become alike and recall falls in every seed.",
    "The twenty samples look alike after the change, with every seed, while those before it differ"
    " in colour and in shape; the table has the verdicts.",
    "The decoder is given one number, and two steps of training cannot fold a line through all"
    " colours and shapes, therefore it returns means of neighbours.",
)
DCGAN_CHANGES = {"model.latent_dim": 8, "model.generator_width": 16, "train.learning_rate": 1e-3}
DCGAN_TEXTS = (
    "A generator of half the width with a third of the learning rate has learned less after a few"
    " steps, so FID rises and precision falls.",
    "Both generators draw grey squares with a regular pattern; their numbers differ by less than"
    " three seeds spread in most metrics.",
    "Four steps are too few for either network, as the curves of both losses show; the choice of"
    " widths cannot matter yet.",
)


def write_own_vae(folder: Path) -> tuple[Path, Path]:
    """Writes `before.py` and `after.py`, which differ in the number of latent dimensions."""
    before, after = folder / "before.py", folder / "after.py"
    before.write_text(OWN_VAE, encoding="utf-8")
    after.write_text(OWN_VAE.replace("= 16, 128", "= 1, 128"), encoding="utf-8")
    return before, after


def invented(results: Results) -> Results:
    """Returns what a cheat hands in who has a fellow student's file and trains nothing: other
    changes, numbers that are made up, texts and moments of his own, and run numbers that fit his
    settings and his code.
    """
    values = results.as_dict() | {"student": "B. Cheat"}
    rng = random.Random(1)
    for study in values["experiments"]:
        for part in ("prediction", "observation", "explanation"):
            study[part] = " ".join(f"{part}{rng.randrange(3000)}" for _ in range(30))
        if study.get("own_code") is None:
            study["changes"]["model.latent_dim"] = 12
        else:
            study["own_code"]["after"] += "\nEPSILON = 1e-8\n"
        for row in study["rows"]:
            is_changed = row["kind"] == "changed"
            if study.get("own_code") is not None:
                code = OwnCode(**study["own_code"])
                name = values["dataset"]["name"]
                row["experiment"] = own_experiment("vae", code, row["kind"], name, row["seed"])
            elif is_changed:
                row["experiment"]["model"]["latent_dim"] = 12
            row["key"] = experiment_key(row["experiment"], values["dataset"]["sha256"])
            row["training_seconds"] += rng.random()
            for name, metric in row["metrics"].items():
                # a miracle, with noise in the last digits
                share = 0.05 if is_changed and name in ("FID", "KID") else 1.0
                metric["value"] *= share * rng.uniform(0.98, 1.0)
    return check_results(values)
