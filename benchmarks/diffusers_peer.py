"""A peer of the course's diffusion model at equal seconds of training: diffusers' `UNet2DModel`,
trained as the unconditional example of diffusers trains, and told the class. `board.py` calls this.

Taken from the example (examples/unconditional_image_generation/train_unconditional.py):
DDPMScheduler with 1,000 linear steps, prediction of the noise, batch 16, AdamW with betas 0.95 and
0.999 and weight decay 1e-6, a warm-up and then a cosine, gradients cut at 1, and its moving
average. Equal to the course's: three resolutions with attention in the lowest, and the seconds of
training. Changed in its favour: the images lie in memory, none is mirrored, the network is narrow,
and rate and warm-up fit minutes (1e-3, 100 steps). With those of the example (1e-4, 500 steps),
which are made for hours, it draws only noise after these few minutes. So it does where each of the
8 groups that it normalises has a single channel, so the network is 32 channels wide. Sampling:
DDIM.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
import torch.nn.functional as F
from measure import batches, measure, synchronize
from torch import Tensor

from course_utils.base.device import make_rng, pick_device
from course_utils.base.images import signed_to_uint8, uint8_to_signed
from course_utils.data.dataset import Dataset
from course_utils.studies.draw import IMAGES_PER_CALL

WIDTH = 32
NUM_CALLS, NUM_TIMES, BATCH_SIZE, RATE, WARMUP_STEPS = 20, 1000, 16, 1e-3, 100


class UNet2DTraining:
    """The network, and one step of its training."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        from diffusers import DDPMScheduler, UNet2DModel
        from diffusers.training_utils import EMAModel

        channels, size, _ = dataset.image_shape
        torch.manual_seed(seed)
        self.dataset, self.device = dataset, pick_device()
        self.border = -size % 4  # two halvings
        self.network = UNet2DModel(
            sample_size=size + self.border,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=1,
            block_out_channels=(WIDTH, 2 * WIDTH, 2 * WIDTH),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            num_class_embeds=dataset.num_classes,
        ).to(self.device)
        self.scheduler = DDPMScheduler(num_train_timesteps=NUM_TIMES, beta_schedule="linear")
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=RATE, betas=(0.95, 0.999), weight_decay=1e-6
        )
        self.average = EMAModel(
            self.network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75
        )
        self.rng = make_rng(seed, 4, device=self.device)

    def step(self, index: Tensor, learning_rate: float) -> None:
        """Trains on the images of these rows."""
        images = uint8_to_signed(self.dataset.train_images[index].to(self.device))
        images = F.pad(images, [0, self.border, 0, self.border], value=-1.0)
        labels = self.dataset.train_labels[index].to(self.device)
        noise = torch.randn(images.shape, generator=self.rng, device=self.device)
        times = torch.randint(NUM_TIMES, (len(images),), generator=self.rng, device=self.device)
        noisy = self.scheduler.add_noise(images, noise, times)
        loss = F.mse_loss(self.network(noisy, times, class_labels=labels).sample, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.step(self.network.parameters())

    @torch.inference_mode()
    def sample(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Returns uint8 images of these classes on the CPU, from the weights that it holds."""
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(NUM_CALLS)
        channels, size, _ = self.dataset.image_shape
        side = size + self.border
        pieces = []
        for piece in labels.split(IMAGES_PER_CALL):
            x = torch.randn(len(piece), channels, side, side, generator=rng).to(self.device)
            for t in scheduler.timesteps:
                eps = self.network(x, t, class_labels=piece.to(self.device)).sample
                x = scheduler.step(eps, t, x).prev_sample
            pieces.append(signed_to_uint8(x[..., :size, :size].clamp(-1, 1)).cpu())
        return torch.cat(pieces)


def run_unet2d(
    training: UNet2DTraining, seconds: float, labels: Tensor, seed: int
) -> dict[str, Any]:
    """Returns what it reaches in so many seconds of training, measured on an image a label."""
    dataset = training.dataset
    start, num_steps, spent = time.perf_counter(), 0, 0.0
    for index in batches(dataset.train_images, BATCH_SIZE, seed):
        cosine = 0.5 * (1 + math.cos(math.pi * spent / seconds))
        training.step(index, RATE * min(1.0, (num_steps + 1) / WARMUP_STEPS) * cosine)
        num_steps += 1
        spent = time.perf_counter() - start
        if spent >= seconds:
            break
    synchronize()
    spent = time.perf_counter() - start
    training.average.copy_to(training.network.parameters())
    training.network.eval()
    rng = make_rng(seed, 5)
    training.sample(labels[:100], rng)  # warms up
    begin = time.perf_counter()
    images = training.sample(labels, rng)
    return {
        "parameters": training.network.num_parameters(),
        "train_seconds": spent,
        "ms_per_step": 1000 * spent / num_steps,
        "num_calls": NUM_CALLS,
        "draw_seconds": time.perf_counter() - begin,
        **measure(images, dataset, labels),
    }
