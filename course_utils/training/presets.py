"""The settings that the course uses: `PRESETS[family][budget]`, an `Experiment` each.

`smoke` takes a few steps and proves only that the code runs; `laptop` is measured on 2 CPU cores
without a GPU; `gpu` trains longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from course_utils.base.config import convert, from_dict, override, require, to_dict
from course_utils.base.device import BUDGETS, budget
from course_utils.base.errors import CourseError, unknown
from course_utils.data.captions import vocabulary_of
from course_utils.data.dataset import Dataset
from course_utils.inverse.problems import PROBLEMS
from course_utils.inverse.regressor import RegressorConfig
from course_utils.models.classifier import ClassifierConfig
from course_utils.models.dcgan import DCGANConfig
from course_utils.models.diffusion.model import DiffusionConfig
from course_utils.models.gaussian import GaussianConfig
from course_utils.models.student import StudentConfig
from course_utils.models.text_to_image import TextToImageConfig
from course_utils.models.vae import VAEConfig
from course_utils.training.config import TrainConfig
from course_utils.training.registry import REGISTRY, config_class, takes_muon

# Presets are tuned on 60,000 images. Passed over as often as those, a folder of 60 pictures would
# be one step an epoch, and the model would learn nothing.
SMALL_EPOCH_STEPS = 50
SMOKE_STEPS, SMOKE_PAIRS = 4, 100


@dataclass(frozen=True)
class Experiment:
    """Everything that decides the outcome of a training, besides the pixels: equal experiments on
    equal data are the same run.

    `dataset` is `Dataset.key`: the name of a dataset, or what the learner's own pictures are
    recognised by.
    """

    family: str
    dataset: str
    seed: int
    model: Any  # the family's config
    train: TrainConfig

    def __post_init__(self) -> None:
        expected = config_class(self.family)
        if type(self.model) is not expected:
            raise CourseError(
                f"experiment: family {self.family!r} needs a {expected.__name__}, got"
                f" {type(self.model).__name__}."
            )
        require(self.seed >= 0, "seed", "0 or more", self.seed)
        fits = self.train.optimizer != "muon" or takes_muon(self.family)
        require(fits, "train.optimizer", f"'adamw' for a {self.family}", self.train.optimizer)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Experiment:
        """Returns the experiment that `to_dict` wrote.

        Raises:
            CourseError: an unknown family, setting or type.
        """
        names = {"family", "dataset", "seed", "model", "train"}
        if not isinstance(values, dict) or set(values) != names:
            got = sorted(values) if isinstance(values, dict) else values
            raise CourseError(
                f"experiment: expected an object with {', '.join(sorted(names))}, got {got!r}."
            )
        family = convert(values["family"], str, "family")
        model = from_dict(config_class(family), values["model"])
        train = from_dict(TrainConfig, values["train"])
        return cls(
            family,
            convert(values["dataset"], str, "dataset"),
            convert(values["seed"], int, "seed"),
            model,
            train,
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns nested dicts and lists that JSON can hold."""
        return to_dict(self)

    def changed(self, **changes: Any) -> Experiment:
        """Returns a copy with dotted settings changed, dots written as double underscores:
        `changed(model__latent_dim=2)`.
        """
        return override(self, {name.replace("__", "."): value for name, value in changes.items()})

    def fitted_to(self, dataset: Dataset) -> Experiment:
        """Returns a copy whose model takes this dataset's image size, channels, number of
        classes and words. Few pictures of the learner's own are passed over again in each
        epoch, until it has as many steps as the experiment asks for, `SMALL_EPOCH_STEPS` at most.
        """
        channels, height, width = dataset.image_shape
        if height != width:
            raise CourseError(f"expected square images, got {height} by {width} pixels.")
        fields: dict[str, Any] = {"image_channels": channels, "image_size": height}
        if hasattr(self.model, "num_classes"):
            fields["num_classes"] = dataset.num_classes
        if hasattr(self.model, "vocabulary"):
            words = vocabulary_of(dataset.train_captions + dataset.test_captions)
            fields["vocabulary"] = " ".join(words)
        train = self.train
        if dataset.content_id and train.min_epoch_steps is None:
            num_steps = steps_for_few_pictures(train)
            if len(dataset.train_images) < num_steps * train.batch_size:
                train = replace(train, min_epoch_steps=num_steps)
        model = replace(self.model, **fields)
        return replace(self, dataset=dataset.key, model=model, train=train)


def steps_for_few_pictures(train: TrainConfig) -> int:
    """Returns how many steps an epoch has that is fitted to a folder of few pictures: as many as
    the settings ask for, `SMALL_EPOCH_STEPS` at most.
    """
    num_images = train.num_train_images or SMALL_EPOCH_STEPS * train.batch_size
    return max(1, min(SMALL_EPOCH_STEPS, num_images // train.batch_size))


def smoke_version(experiment: Experiment) -> Experiment:
    """Returns the experiment cut down to four steps of one epoch."""
    num_images = SMOKE_STEPS * experiment.train.batch_size
    repeated = experiment.train.min_epoch_steps is not None
    model = experiment.model
    if getattr(model, "teacher", ""):  # it takes minutes for all pairs
        model = replace(model, num_pairs=min(model.num_pairs, SMOKE_PAIRS))
    return replace(
        experiment,
        model=model,
        train=replace(
            experiment.train,
            num_epochs=1,
            num_train_images=num_images,
            num_validation_images=200,
            min_epoch_steps=SMOKE_STEPS if repeated else None,
        ),
    )


def _experiment(family: str, model: Any, train: TrainConfig) -> Experiment:
    return Experiment(family, "auto", 0, model, train)


def _budgets(
    family: str, model: Any, laptop: TrainConfig, gpu: TrainConfig, gpu_model: Any = None
) -> dict[str, Experiment]:
    trained = {
        "laptop": _experiment(family, model, laptop),
        "gpu": _experiment(family, model if gpu_model is None else gpu_model, gpu),
    }
    return {"smoke": smoke_version(trained["laptop"]), **trained}


_VAE = TrainConfig(num_epochs=8, batch_size=128, learning_rate=3e-3, adam_betas=(0.9, 0.95))
_CLASSIFIER = TrainConfig(
    num_epochs=8,
    batch_size=128,
    learning_rate=4e-3,
    weight_decay=1e-2,
    augmentation="affine",
    ema_decay=0.995,
    channels_last=True,
)
# bf16 rounds the density away
_GAUSSIAN = TrainConfig(
    num_epochs=5, batch_size=128, learning_rate=1e-2, adam_betas=(0.9, 0.95), precision="no"
)
_DCGAN = TrainConfig(
    num_epochs=2,
    batch_size=64,
    learning_rate=3e-3,
    warmup_fraction=0.1,
    adam_betas=(0.5, 0.99),
    ema_decay=0.995,
    channels_last=True,
)
_STUDENT = replace(_DCGAN, num_epochs=3)
# Ten calls of the network: 7 steps, three of which are guided. Guidance at the noisiest step costs
# recall and guidance near the image changes little (on held-out training images of MNIST, FID and
# recall: 3.4 and 0.75 where 5 steps are guided with 1.2; 2.9 and 0.76 so).
_DIFFUSION_MODEL = DiffusionConfig(num_steps=7, guidance_scale=1.5, guidance_interval=(0.5, 0.9))
_DIFFUSION = TrainConfig(
    num_epochs=4,
    batch_size=128,
    learning_rate=4e-3,
    optimizer="muon",
    adam_betas=(0.9, 0.99),
    ema_decay=0.99,
    channels_last=True,
    precision="native",
)
# Smaller than the shipped model, for six minutes on two cores. On 1,000 captions outside the test
# set, one training each, equally long: all words right in 60 % of the pictures, and in 50 % with
# twice the channels and half the steps. Eight latent channels pay only in longer trainings: 32 %
# of 2,000 test captions here, 92 % in the shipped model.
_TEXT_TO_IMAGE_MODEL = TextToImageConfig(latent_channels=4, channels=32, autoencoder_share=0.1)
_TEXT_TO_IMAGE = TrainConfig(
    num_epochs=16,
    batch_size=64,
    learning_rate=3e-3,
    optimizer="muon",
    warmup_fraction=0.1,
    adam_betas=(0.9, 0.99),
    max_grad_norm=1.0,
    ema_decay=0.995,
    channels_last=True,
)
# one for each problem, so each is cheap
_REGRESSOR = TrainConfig(
    num_epochs=1,
    batch_size=64,
    learning_rate=6e-3,
    adam_betas=(0.9, 0.99),
    ema_decay=0.99,
    num_train_images=30_000,
    channels_last=True,
)

PRESETS: dict[str, dict[str, Experiment]] = {
    "vae": _budgets("vae", VAEConfig(), _VAE, replace(_VAE, num_epochs=60)),
    "classifier": _budgets(
        "classifier", ClassifierConfig(), _CLASSIFIER, replace(_CLASSIFIER, num_epochs=20)
    ),
    "dcgan": _budgets("dcgan", DCGANConfig(), _DCGAN, replace(_DCGAN, num_epochs=20)),
    "diffusion": _budgets(
        "diffusion", _DIFFUSION_MODEL, _DIFFUSION, replace(_DIFFUSION, num_epochs=60)
    ),
    "student": _budgets("student", StudentConfig(), _STUDENT, replace(_STUDENT, num_epochs=20)),
    "regressor": _budgets(
        "regressor",
        RegressorConfig(),
        _REGRESSOR,
        replace(_REGRESSOR, num_epochs=20, num_train_images=None),
    ),
    "text-to-image": _budgets(
        "text-to-image",
        _TEXT_TO_IMAGE_MODEL,
        _TEXT_TO_IMAGE,
        replace(_TEXT_TO_IMAGE, num_epochs=60),
        replace(_TEXT_TO_IMAGE_MODEL, latent_channels=8, channels=64),
    ),
    "gaussian": _budgets(
        "gaussian", GaussianConfig(), _GAUSSIAN, replace(_GAUSSIAN, num_epochs=20)
    ),
}


# name: family and what changes in its preset. `course train NAME`, `train_or_load(NAME, ...)` and
# the shipped weights share these names. Both model black and white pixels, as the published
# likelihoods do, and differ in training time: the first takes 5 minutes at most.
_BINARY = {
    "model.binarisation": "dynamic",
    "model.num_prior_components": 100,
    "model.num_importance_samples": 5,
    "model.hidden_dims": (300, 300),
    "model.latent_dim": 40,
    "train.batch_size": 256,
    "train.warmup_fraction": 0.05,
    "train.adam_betas": (0.9, 0.99),
}
# The recipe of the DCGAN paper (Radford et al. 2016, sec. 4), on networks of the same shape.
_PLAIN_DCGAN = {
    "model.conditional": False,
    "model.discriminator_norm": "batch",
    "model.r1_weight": 0.0,
    "train.batch_size": 128,
    "train.learning_rate": 2e-4,
    "train.adam_betas": (0.5, 0.999),
    "train.schedule": "constant",
    "train.ema_decay": None,
}
# A small GAN without any help, trained with large steps and a long memory of gradients: it loses
# most classes within seconds.
_BROKEN_DCGAN = {
    **dict.fromkeys(("model.generator_width", "model.discriminator_width"), 16),
    "model.conditional": False,
    "model.r1_weight": 0.0,
    "train.num_epochs": 2,
    "train.num_train_images": 16_000,
    "train.learning_rate": 5e-3,
    "train.adam_betas": (0.9, 0.999),
    "train.schedule": "constant",
    "train.ema_decay": None,
}
# name: what it changes in "dcgan-broken". Which of them help is measured by
# benchmarks/gan_collapse.py and in notebook 06.
GAN_MITIGATIONS: dict[str, dict[str, Any]] = {
    "R1": {"model.r1_weight": 1.0, "model.penalty_share": 1.0},
    "short memory": {"train.adam_betas": (0.5, 0.99)},
    "WGAN-GP": {
        "model.loss": "wasserstein",
        "model.gradient_penalty_weight": 10.0,
        "model.penalty_share": 1.0,
    },
    "spectral norm": {"model.discriminator_norm": "spectral"},
    "instance noise": {"model.instance_noise_std": 0.5},
    "minibatch statistics": {"model.minibatch_std": True},
    "two time-scales": {"model.discriminator_lr_factor": 0.25},
    "label smoothing": {"model.label_smoothing": 0.1},
    "moving average": {"train.ema_decay": 0.99},
}
# The diffusion model goes on with the pairs that it draws itself: a fifth of its steps, at half its
# rate. The teacher's guidance is in its pairs, so that one call a step is enough.
_REFLOW = {
    "model.teacher": "diffusion",
    "model.label_dropout": 0.0,
    "model.guidance_scale": 1.0,
    "model.num_steps": 4,
    "train.num_epochs": 1,
    "train.num_train_images": 48_000,
    "train.learning_rate": 2e-3,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "reflow": ("diffusion", _REFLOW),
    "dcgan-unconditional": ("dcgan", {"model.conditional": False}),
    "dcgan-plain": ("dcgan", _PLAIN_DCGAN),
    "dcgan-broken": ("dcgan", _BROKEN_DCGAN),
    "vae-binary": ("vae", {**_BINARY, "train.num_epochs": 28, "train.learning_rate": 3e-3}),
    "vae-binary-long": ("vae", {**_BINARY, "train.num_epochs": 150, "train.learning_rate": 2e-3}),
    "diffusion-long": ("diffusion", {"train.num_epochs": 10}),
    **{
        f"regressor-{name}": ("regressor", {"model.problem": name})
        for name in PROBLEMS
        if name != "colourise"
    },
    "regressor-colourise": ("regressor", {"model.problem": "colourise", "model.image_channels": 3}),
}


def preset(name: str, budget_name: str | None = None) -> Experiment:
    """Returns the preset of a family, or of a variant of one, for a budget (None: the current one).

    Args:
        name: a key of `PRESETS`, such as "vae", or of `VARIANTS`, such as "vae-binary".
        budget_name: "smoke", "laptop" or "gpu".

    Raises:
        CourseError: an unknown name or budget.
    """
    if name not in PRESETS and name not in VARIANTS:
        raise unknown("family", name, [*REGISTRY, *VARIANTS])
    budget_name = budget_name or budget()
    if budget_name not in BUDGETS:
        raise unknown("budget", budget_name, BUDGETS)
    if name in PRESETS:
        return PRESETS[name][budget_name]
    family, changes = VARIANTS[name]
    experiment = override(
        PRESETS[family]["laptop" if budget_name == "smoke" else budget_name], changes
    )
    return smoke_version(experiment) if budget_name == "smoke" else experiment
