"""The settings of the class's models, in words: meaning, unit, sensible range, and whether a change counts for the assignment.

What counts: how the model is built (`model.*`) and how it is optimised (`train.learning_rate` and its fellows).
What may be changed but does not count: the length of the training and its bookkeeping; longer training is no other model.
What may not be changed: data, seeds, and what follows from the data; the homework sets them itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from course_utils.errors import unknown
from course_utils.homework.budgets import FAMILIES

Bound = float | None


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        meaning: in a few words.
        unit: "" where it is a number without one, or a choice.
        low, high: what the homework accepts; None where the choices are listed by the type.
        why_not: why a change does not count; "" where it does.
        longest: of a list, most entries.
    """

    meaning: str
    unit: str = ""
    low: Bound = None
    high: Bound = None
    why_not: str = ""
    longest: int = 1

    @property
    def counts(self) -> bool:
        return not self.why_not


_BUDGET = "it is the length of the training, not the model"
_KEEPING = "it is bookkeeping and leaves the model as it is"

_TRAINING = {
    "train.learning_rate": Setting("highest learning rate of the schedule", "", 1e-5, 0.1),
    "train.batch_size": Setting("images that one step sees", "images", 8, 1024),
    "train.schedule": Setting("how the learning rate changes during the training"),
    "train.warmup_fraction": Setting("share of the training in which one_cycle climbs", "", 0.01, 0.9),
    "train.adam_betas": Setting("how long Adam remembers gradients and their squares", "", 0.0, 0.99999, longest=2),
    "train.weight_decay": Setting("decoupled weight decay", "", 0.0, 1.0),
    "train.max_grad_norm": Setting("gradients longer than this are shortened to it", "", 1e-3, 1e3),
    "train.ema_decay": Setting("decay of the moving average of the weights", "a step", 0.5, 0.99999),
    "train.augmentation": Setting("random changes of the training images"),
    "train.num_epochs": Setting("passes over the training images", "epochs", 1, 200, _BUDGET),
    "train.num_train_images": Setting("training images, a random subset", "images", 500, 1_000_000, _BUDGET),
    "train.num_validation_images": Setting("test images measured after each epoch", "images", 0, 100_000, _KEEPING),
    "train.channels_last": Setting("memory layout", "", None, None, _KEEPING),
    "train.precision": Setting("of the arithmetic", "", None, None, _KEEPING),
}
_MODELS: dict[str, dict[str, Setting]] = {
    "vae": {
        "model.network": Setting("kind of encoder and decoder"),
        "model.hidden_dims": Setting("units a layer (mlp), channels a resolution (conv, two of them)", "units", 4, 1024, longest=4),
        "model.latent_dim": Setting("dimensions of z", "", 1, 128),
        "model.likelihood": Setting("distribution of a pixel given z"),
        "model.binarisation": Setting("whether pixels are drawn black or white at every step"),
        "model.noise_std": Setting("standard deviation of the Gaussian likelihood", "of the range of pixels", 0.01, 1.0),
        "model.beta": Setting("weight of the KL term", "", 0.0, 100.0),
        "model.free_bits": Setting("KL that a latent dimension may use for free", "nats", 0.0, 10.0),
        "model.num_prior_components": Setting("Gaussians of a learned prior; 0: N(0, I)", "", 0, 500),
        "model.num_importance_samples": Setting("draws of z an image in the loss", "", 1, 20),
    },
    "dcgan": {
        "model.conditional": Setting("whether both networks are told the class"),
        "model.latent_dim": Setting("dimensions of the noise z", "", 1, 256),
        "model.generator_width": Setting("channels of the generator's last hidden layer", "channels", 4, 96),
        "model.discriminator_width": Setting("channels of the discriminator's first layer", "channels", 4, 96),
        "model.loss": Setting("what the two networks minimise"),
        "model.discriminator_norm": Setting("normalisation in the discriminator"),
        "model.discriminator_lr_factor": Setting("the discriminator's learning rate", "of the generator's", 0.02, 50.0),
        "model.r1_weight": Setting("weight of the penalty on gradients at real images", "", 0.0, 100.0),
        "model.gradient_penalty_weight": Setting("weight of the penalty on gradients between real and fake", "", 0.0, 100.0),
        "model.penalty_share": Setting("share of a batch on which penalties are computed", "", 0.01, 1.0),
        "model.instance_noise_std": Setting("noise on all that the discriminator sees", "pixels in [-1, 1]", 0.0, 2.0),
        "model.minibatch_std": Setting("whether the discriminator sees how much the images of a batch differ"),
        "model.label_smoothing": Setting("by how much the label of a real image is less than 1", "", 0.0, 0.4),
    },
    "diffusion": {
        "model.channels": Setting("channels of each resolution of the U-Net", "channels", 4, 128, longest=3),
        "model.num_blocks": Setting("blocks a resolution, on each side", "", 1, 4),
        "model.patch_size": Setting("side of the squares that are folded into channels; 28 must be a multiple of it", "pixels", 1, 2),
        "model.embed_dim": Setting("dimensions of the code of time and class", "", 8, 512),
        "model.attention": Setting("whether the lowest resolution has self-attention"),
        "model.schedule": Setting("how image and noise are mixed at each time"),
        "model.target": Setting("what the network predicts"),
        "model.time_sampling": Setting("how often the training sees each time"),
        "model.loss_weighting": Setting("how much each time counts"),
        "model.label_dropout": Setting("share of the training images whose label is hidden", "", 0.0, 1.0),
        "model.unlabelled": Setting("what sampling without labels does"),
        "model.sampler": Setting("how an image is made from noise"),
        "model.num_steps": Setting("of the sampler", "steps", 1, 250),
        "model.guidance_scale": Setting("strength of classifier-free guidance; 1 is none", "", 0.0, 10.0),
    },
}
# Why these are not the student's to change. The homework takes them from homework.json and from the data.
FIXED = {
    "seed": "both models are trained with the seeds of homework.json; a seed is no parameter of a model",
    "dataset": "both models are trained on the dataset of homework.json; the data are no parameter of a model",
    "family": "it names the model itself",
    "budget": "both models are trained with the budget of homework.json",
    "model.image_size": "it is taken from the data",
    "model.image_channels": "it is taken from the data",
    "model.num_classes": "it is taken from the data",
}
# Of these the distance from 1 is what matters: 0.9 and 0.99 are far apart.
MEMORIES = ("train.adam_betas", "train.ema_decay")


def settings_of(family: str) -> dict[str, Setting]:
    """Returns `{dotted name: setting}` of everything that a student may change in a family; the model's own settings come first.

    Raises:
        CourseError: no such family in the homework.
    """
    if family not in FAMILIES:
        raise unknown("family of the homework", family, FAMILIES)
    return {**_MODELS[family], **_TRAINING}


def meaning(family: str, name: str) -> str:
    """Returns what a setting means, in a few words; "" for a name or family that the homework does not know."""
    known = _MODELS.get(family, {}).get(name) or _TRAINING.get(name)
    return known.meaning if known else ""
