"""Diffusion: a network that sees the image in a noisy one, trained at all noise levels at once, and
sampled from noise to image.

Time t runs from 0 (the image) to 1 (noise); see `schedules`. The defaults are rectified flow with a
class label that is dropped now and then.

Source: Ho et al. 2020 (arXiv:2006.11239), alg. 1-2; rectified flow: Liu et al. 2023
(arXiv:2209.03003); guidance: Ho & Salimans 2022 (arXiv:2207.12598).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from course_utils.base.config import check_settings, require, setting
from course_utils.base.device import ImageNoise, own_rows, rand, randn
from course_utils.base.errors import CourseError, unknown
from course_utils.base.images import check_signed
from course_utils.models.base import Batch, Model, check_num_samples
from course_utils.models.diffusion.flows import FlowPairs, draw_pairs, optimal_transport_pairing
from course_utils.models.diffusion.samplers import (
    Denoiser,
    Guided,
    Sampled,
    joined,
    sample,
    time_grid,
)
from course_utils.models.diffusion.schedules import (
    Estimate,
    Schedule,
    from_target,
    make_schedule,
    make_target,
    weights_of,
)
from course_utils.models.diffusion.unet import UNet


@dataclass(frozen=True)
class DiffusionConfig:
    """Settings of a diffusion model, explained beside each. The defaults are the laptop model;
    its preset says how it is sampled.
    """

    image_channels: int = setting(
        1, "channels of the images: 1 is grey, 3 is colour", choices=(1, 3)
    )
    image_size: int = setting(28, "side of the images; a multiple of patch_size", unit="pixels")
    num_classes: int = setting(10, "classes of the images", minimum=1)
    # The first resolution is image_size / patch_size, each next one half of it.
    channels: tuple[int, ...] = setting(
        (32, 64, 64),
        "channels of each resolution of the U-Net",
        unit="channels",
        above=0,
        sensible=(4, 128),
        longest=3,
    )
    num_blocks: int = setting(1, "blocks a resolution, on each side", minimum=1, sensible=(1, 4))
    patch_size: int = setting(
        2,
        "side of the squares that are folded into channels; 28 must be a multiple of it",
        unit="pixels",
        minimum=1,
        sensible=(1, 2),
    )
    embed_dim: int = setting(
        128, "dimensions of the code of time and class", minimum=2, even=True, sensible=(8, 512)
    )
    attention: bool = setting(True, "whether the lowest resolution has self-attention")
    schedule: Literal["flow", "cosine", "linear"] = setting(
        "flow", "how image and noise are mixed at each time"
    )
    target: Literal["velocity", "eps", "x0", "v"] = setting("velocity", "what the network predicts")
    time_sampling: Literal["uniform", "logit-normal"] = setting(
        "logit-normal", "how often the training sees each time"
    )
    loss_weighting: Literal["none", "min-snr"] = setting("none", "how much each time counts")
    # Hidden labels teach the network p(x) as well, which guidance needs.
    label_dropout: float = setting(
        0.1,
        "share of the training images whose label is hidden",
        minimum=0,
        maximum=1,
        sensible=(0.0, 1.0),
    )
    # uniform: it draws labels; null: it tells the network that there is none
    unlabelled: Literal["uniform", "null"] = setting("uniform", "what sampling without labels does")
    sampler: Literal["ddpm", "ddim", "euler", "heun", "ab2", "dpm++2m"] = setting(
        "euler", "how an image is made from noise"
    )
    num_steps: int = setting(
        10, "steps that the sampler takes", unit="steps", minimum=1, sensible=(1, 250)
    )
    # 1 costs half as much as any other value.
    guidance_scale: float = setting(
        1.65, "strength of classifier-free guidance; 1 is none", minimum=0, sensible=(0.0, 10.0)
    )

    # Elsewhere a step costs one call. Kynkäänniemi et al. 2024 (arXiv:2404.07724)
    guidance_interval: tuple[float, float] = setting(
        (0.0, 1.0),
        "times between which guidance acts, the first one not included",
        minimum=0,
        maximum=1,
        length=2,
        added=True,
    )
    # optimal_transport: within each batch, and within a class
    pairing: Literal["independent", "optimal_transport"] = setting(
        "independent", "how noise and image are paired in training", added=True
    )
    teacher: str = setting(
        "",
        "preset of the trained flow whose own pairs are learned (reflow); empty: none",
        added=True,
    )
    num_pairs: int = setting(
        10_000,
        "noises that the teacher turns into images",
        minimum=1,
        sensible=(100, 100_000),
        added=True,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        flow = self.schedule == "flow"
        require(flow or not self.teacher, "teacher", "none with this schedule", self.teacher)
        free = self.pairing == "independent" or not self.teacher
        expected = "'independent' with a teacher, whose pairs are learned"
        require(free, "pairing", expected, self.pairing)
        rising = self.guidance_interval[0] <= self.guidance_interval[1]
        require(rising, "guidance_interval", "two rising times", self.guidance_interval)
        smallest = self.patch_size * 2 ** len(self.channels)
        expected = f"at least {smallest} pixels with this patch_size and these channels"
        require(self.image_size >= smallest, "image_size", expected, self.image_size)
        expected = f"a multiple of patch_size ({self.patch_size}); 1 suits all"
        require(self.image_size % self.patch_size == 0, "image_size", expected, self.image_size)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_channels, self.image_size, self.image_size

    @property
    def null_label(self) -> int:
        """The label that stands for none."""
        return self.num_classes

    @property
    def first_time(self) -> float:
        """Where sampling starts. An eps-prediction says nothing of the image where there is none,
        so it starts a thousandth below 1.
        """
        return 0.999 if self.target == "eps" else 1.0


TIME_SAMPLINGS = ("uniform", "logit-normal")
LOSS_WEIGHTINGS = ("none", "min-snr")
MARGIN = 1e-5  # times stay this far from 0 and 1, where ratios of alpha and sigma are infinite
MAX_SNR = 5.0  # gamma of min-SNR


def draw_times(num: int, distribution: str, rng: torch.Generator | None, like: Tensor) -> Tensor:
    """Returns times in (0, 1) for a batch, `[num]`, with the dtype and device of `like`.

    One time falls into each num-th part of the distribution: that keeps it, and takes noise from
    the mean loss of a batch.

    Args:
        num: size of the batch.
        distribution: "uniform", or "logit-normal": t = sigmoid(z) with z ~ N(0, 1), most often near
            1/2, where there is most to learn.
        rng: source of the draws.

    Source: strata: Kingma et al. 2021 (arXiv:2107.00630), app. I.1; logit-normal: Esser et al. 2024
    (arXiv:2403.03206), sec. 3.1.
    """
    if distribution not in TIME_SAMPLINGS:
        raise unknown("time_sampling", distribution, TIME_SAMPLINGS)
    device = like.device if rng is None else rng.device

    def draw(shape: tuple[int, ...]) -> Tensor:
        within = torch.rand(shape, generator=rng, device=device, dtype=torch.float32)
        return (torch.arange(shape[0], device=like.device) + within.to(like.device)) / shape[0]

    # the strata are those of the whole batch, also where several processes share it
    u = own_rows((num,), draw).clamp(MARGIN, 1 - MARGIN)
    t = torch.sigmoid(torch.special.ndtri(u)) if distribution == "logit-normal" else u
    return t.to(like.dtype)


def loss_weights(
    weighting: str, target: str, schedule: Schedule, t: Tensor, like: Tensor
) -> Tensor:
    """Returns the factor of the squared error of a prediction, `[B]`: 1, or for "min-snr" what
    makes it min(SNR, 5) times the error of x0.

    Args:
        weighting: "none" or "min-snr".
        target: what is predicted.
        schedule: gives the signal-to-noise ratio.
        t: times in (0, 1), `[B]`.
        like: gives dtype and device.

    Source: Hang et al. 2023 (arXiv:2303.09556), sec. 3.4.
    """
    if weighting not in LOSS_WEIGHTINGS:
        raise unknown("loss_weighting", weighting, LOSS_WEIGHTINGS)
    if weighting == "none":
        return torch.ones_like(t)
    alpha, sigma = schedule.at(t, t)
    a, b = weights_of(target, alpha, sigma)
    x0_error = sigma / (alpha * b - sigma * a)  # of x0, for a unit error of the prediction
    return ((alpha / sigma).square().clamp(max=MAX_SNR) * x0_error.square()).to(like)


IMAGES_PER_CALL = 500  # the network's activations of so many images fit into 1 GB


class Diffusion(Model):
    """A class-conditional diffusion model.

    Attributes:
        learns_from: the preset of its teacher, where the config names one.
        pairs: what the teacher drew, with the teacher's guidance; None without a teacher, and in a
            model that was loaded, which can be sampled but not trained on.
    """

    family = "diffusion"
    config: DiffusionConfig

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config)
        self.learns_from = config.teacher or None
        self.pairs: FlowPairs | None = None
        self.schedule = make_schedule(config.schedule)
        self.network = UNet(
            config.image_channels,
            config.channels,
            num_blocks=config.num_blocks,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            num_embeddings=config.num_classes + 1,
            attention=config.attention,
        )

    @property
    def takes_labels(self) -> bool:
        """The network always takes a class; `config.null_label` stands for none."""
        return True

    @property
    def needs_labels(self) -> bool:
        """Without labels `sample` draws all classes equally often, unless the config says that the
        network itself decides.
        """
        return self.config.unlabelled == "uniform"

    def hidden_weights(self) -> list[Tensor]:
        """Returns the weights of the network's convolutions, save the first and the last."""
        return self.network.hidden_weights()

    def loss(
        self, batch: Batch, part: str = "model", *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Returns per-image terms `[B]`: `loss`, `target_mse` and `x0_mse`.

        `target_mse` is the squared error of the prediction, a mean over pixels, which `loss`
        weighs; `x0_mse` is that of the image which it implies, clamped to [-1, 1], and compares
        between targets.
        """
        x0 = batch.images
        self._check_images(x0)
        t = draw_times(len(x0), self.config.time_sampling, rng, x0)
        labels = self._with_dropout(batch.labels, rng)
        eps = randn(tuple(x0.shape), rng, x0)
        if self.config.teacher:
            eps, drawn, x0 = self._pairs_of_teacher(len(x0), rng, x0)
            labels = torch.where(labels == self.config.null_label, labels, drawn)
        elif self.config.pairing == "optimal_transport":
            eps = eps[optimal_transport_pairing(eps, x0, batch.labels)]
        xt = self.schedule.noised(x0, eps, t)
        target = make_target(self.config.target, self.schedule, x0, eps, t)
        prediction = self.network(xt, t, labels).to(x0.dtype)
        target_mse = (prediction - target).square().flatten(1).mean(1)
        with torch.no_grad():
            seen = from_target(self.config.target, self.schedule, prediction, xt, t).x0.clamp(-1, 1)
            x0_mse = (seen - x0).square().flatten(1).mean(1)
        weights = loss_weights(self.config.loss_weighting, self.config.target, self.schedule, t, x0)
        return {"loss": weights * target_mse, "target_mse": target_mse.detach(), "x0_mse": x0_mse}

    def _pairs_of_teacher(self, num: int, rng: torch.Generator | None, like: Tensor) -> FlowPairs:
        """Returns random pairs of the teacher. They come in place of the batch, so that images of
        the dataset have no part in this training.
        """
        if self.pairs is None:
            raise CourseError(
                "this model learns from the pairs of a teacher, and has none: call"
                " start_from(teacher) before training, as course_utils.training.runs.run does."
            )
        places = rand((num,), rng, like.device) * len(self.pairs.noise)
        rows = places.long().clamp(max=len(self.pairs.noise) - 1).cpu()
        return FlowPairs(*(part[rows].to(like.device) for part in self.pairs))

    def start_from(self, teacher: Model, seed: int = 0) -> None:
        """Takes the weights of a trained flow and draws the pairs that are learned: each noise, and
        the image that the teacher makes of it with its own guidance and number of steps.

        Args:
            teacher: a diffusion model of the schedule "flow" and of the same network, whose sampler
                adds no noise on the way.
            seed: of the noises.

        Raises:
            CourseError: a model of another kind, or whose network has another shape.

        Source: Liu et al. 2023 (arXiv:2209.03003), alg. 1 (reflow).
        """
        if not isinstance(teacher, Diffusion) or teacher.config.schedule != "flow":
            raise CourseError(
                "model.teacher: expected a diffusion model of the schedule 'flow', got a"
                f" {teacher.family}."
            )
        require(teacher.config.sampler != "ddpm", "sampler", "a deterministic one", "ddpm")
        own, given = self.state_dict(), teacher.state_dict()
        shapes = {name: one.shape for name, one in own.items()}
        if shapes != {name: one.shape for name, one in given.items()}:
            raise CourseError(
                "model.teacher: expected a teacher with the same network and image size; change"
                " this model's settings to the teacher's, such as channels or image_size."
            )
        self.load_state_dict(given)
        self.pairs = draw_pairs(teacher, self.config.num_pairs, seed, IMAGES_PER_CALL)

    def _with_dropout(self, labels: Tensor, rng: torch.Generator | None) -> Tensor:
        hidden = rand((len(labels),), rng, labels.device) < self.config.label_dropout
        return torch.where(hidden, self.config.null_label, labels)

    def predict(self, xt: Tensor, t: Tensor, labels: Tensor | None = None) -> Estimate:
        """Returns the image and the noise that the network sees in x_t, each `[B, C, H, W]`, as it
        says: not clamped.

        Args:
            xt: `[B, C, H, W]`.
            t: times in [0, 1], `[B]`.
            labels: int64 `[B]`; `config.null_label`, or None for all, stands for no label.
        """
        self._check_images(xt)
        labels = (
            torch.full((len(xt),), self.config.null_label, device=xt.device)
            if labels is None
            else labels
        )
        return from_target(
            self.config.target, self.schedule, self.network(xt, t, labels).to(xt.dtype), xt, t
        )

    def denoiser(
        self,
        labels: Tensor,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        clamp: bool = True,
    ) -> Denoiser:
        """Returns `denoise(xt, t) -> x0` for given labels, as the samplers want it.

        Args:
            labels: int64 `[B]`, for every batch that the denoiser is called with.
            guidance_scale: None takes the config's.
            guidance_interval: times within which guidance acts; None takes the config's with the
                config's scale, which was chosen for it, and all times with a scale given here.
            clamp: keep x0 within [-1, 1], where all images are.
        """
        if guidance_interval is None:
            chosen = self.config.guidance_interval if guidance_scale is None else None
            guidance_interval = chosen or (0.0, 1.0)
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        limit = 1.0 if clamp else None
        return Guided(
            lambda xt, t, given: self.predict(xt, t, given).x0,
            labels,
            self.config.null_label,
            scale,
            guidance_interval,
            limit,
        )

    def sample(
        self,
        n: int,
        *,
        labels: Tensor | None = None,
        rng: torch.Generator | None = None,
        num_steps: int | None = None,
        sampler: str | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        eta: float = 0.0,
        times: Tensor | None = None,
    ) -> Tensor:
        """Returns `n` new images in [-1, 1], `[n, C, H, W]`; image i depends on the generator, on i
        and on its own label, not on n.

        Args:
            labels: int64 `[n]`; `config.null_label` stands for none. Without labels
                `config.unlabelled` says what happens.
            rng: one number is drawn from it, which starts a stream for each image.
            num_steps, sampler, guidance_scale: None takes the config's; see
                `course_utils.models.diffusion.samplers.sample` and `denoiser`.
            guidance_interval: as for `denoiser`.
            eta: noise of the sampler "ddim".
            times: that are visited, in place of `num_steps`; see `time_grid`.
        """
        options = (num_steps, sampler, guidance_scale, guidance_interval, eta, times)
        return self.trace(n, *options, labels=labels, rng=rng, trajectory=False).x

    def trace(
        self,
        n: int,
        num_steps: int | None = None,
        sampler: str | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        eta: float = 0.0,
        times: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        rng: torch.Generator | None = None,
        trajectory: bool = True,
    ) -> Sampled:
        """Returns the same images as `sample`, with the number of network calls an image and, on
        request, x_t and the image seen in it at all times.
        """
        check_num_samples(n)
        noise = ImageNoise(n, rng)
        x = noise.normal(self.config.image_shape, next(self.parameters()))
        times = (
            time_grid(
                self.config.num_steps if num_steps is None else num_steps,
                start=self.config.first_time,
            )
            if times is None
            else times
        )
        return self._walk(
            x, noise, labels, (sampler, guidance_scale, guidance_interval, eta), times, trajectory
        )

    def edit(
        self,
        images: Tensor,
        strength: float,
        *,
        labels: Tensor | None = None,
        rng: torch.Generator | None = None,
        num_steps: int = 20,
        sampler: str | None = None,
        guidance_scale: float | None = None,
        trajectory: bool = False,
    ) -> Sampled:
        """Returns images that keep the coarse shape of the given ones: noised to time `strength`,
        then sampled from there.

        Args:
            images: signed, `[B, C, H, W]`.
            strength: above 0 (almost the same image) up to 1 (nothing of it is kept).
            labels, rng, sampler, guidance_scale, trajectory: as for `sample` and `trace`.
            num_steps: from `strength` to 0.

        Source: Meng et al. 2022 (arXiv:2108.01073), alg. 1.
        """
        self._check_images(images)
        check_signed(images)
        times = time_grid(num_steps, start=min(strength, self.config.first_time))
        noise = ImageNoise(len(images), rng)
        images = images.to(self.device)
        xt = self.schedule.noised(images, noise.normal(self.config.image_shape, images), times[0])
        return self._walk(
            xt, noise, labels, (sampler, guidance_scale, None, 0.0), times, trajectory
        )

    @torch.no_grad()
    def _walk(
        self,
        x: Tensor,
        noise: ImageNoise,
        labels: Tensor | None,
        options: tuple,
        times: Tensor,
        trajectory: bool,
    ) -> Sampled:
        """Returns images sampled from x at the first time, in batches that fit into memory."""
        sampler, scale, interval, eta = options
        labels = self._checked_labels(labels, noise).to(x.device)
        pieces = []
        for rows, own_labels, own_noise in zip(
            *(whole.split(IMAGES_PER_CALL) for whole in (x, labels, noise))
        ):
            denoise = self.denoiser(own_labels, scale, interval)
            kind = sampler or self.config.sampler
            pieces.append(
                sample(
                    denoise,
                    self.schedule,
                    rows,
                    sampler=kind,
                    times=times,
                    eta=eta,
                    rng=own_noise,
                    trajectory=trajectory,
                )
            )
        whole = joined(pieces)
        return replace(whole, x=whole.x.clamp(-1, 1))

    def _checked_labels(self, labels: Tensor | None, noise: ImageNoise) -> Tensor:
        """Returns the labels of as many images as the noise is for, int64 `[n]`; without any, what
        `config.unlabelled` says.

        Raises:
            CourseError: labels of another number, type or range.
        """
        if labels is None and self.config.unlabelled == "uniform":
            return noise.integers(self.config.num_classes)
        if labels is None:
            return torch.full((len(noise),), self.config.null_label)
        highest = self.config.null_label
        whole = (
            isinstance(labels, Tensor)
            and labels.dtype == torch.int64
            and tuple(labels.shape) == (len(noise),)
        )
        if not whole or labels.min() < 0 or labels.max() > highest:
            got = (
                f"{labels.dtype} {list(labels.shape)}"
                if isinstance(labels, Tensor)
                else repr(labels)
            )
            got += f" with values from {labels.min()} to {labels.max()}" if whole else ""
            raise CourseError(
                f"labels: expected int64 [{len(noise)}] from 0 to {highest - 1} ({highest}: no"
                f" label), got {got}."
            )
        return labels

    def _check_images(self, images: Tensor) -> None:
        if tuple(images.shape[1:]) != self.config.image_shape:
            raise CourseError(
                f"expected images of shape [B, {', '.join(map(str, self.config.image_shape))}], got"
                f" {list(images.shape)}."
            )
