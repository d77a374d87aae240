"""How good is a diffusion model after four minutes on a laptop? The course's `laptop` preset
against denoising-diffusion-pytorch, trained as long.

For each seed both train in this process, one after the other: first the course, then the peer for
as many seconds. Peer: its `Unet` of dim 32 with multipliers 1, 2, 4 at 32 x 32 (digits with 2 black
pixels around), its `GaussianDiffusion` (v-prediction, sigmoid schedule) and the settings of its
`Trainer`: batch 16, Adam 1e-4 with betas 0.9 and 0.99, gradients cut at 1, moving average 0.995
every 10 steps. Two things are changed in its favour: its images lie in memory instead of PNG files
behind a DataLoader, and none is mirrored (its Trainer mirrors half of them). Sampling: DDIM, 20
steps.

Measured: FID, precision and recall of the course's classifier features against as many test images;
the share of conditional samples that the classifier calls by their label; seconds for 100 images.
The peer is unconditional. One JSON row a seed and model is written as it comes; a second call with
the same --out goes on where the first was cut off.

    pip install '.[peers]' COURSE_DATA=../shared/data python benchmarks/diffusion_speed.py --seeds 3
    --out runs/diffusion_speed.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measure import add_row, batches, measure, rows_in
from torch import Tensor

from course_utils.base.config import override, parse_assignments
from course_utils.base.device import make_rng, pick_device, reuse_freed_memory
from course_utils.base.images import signed_to_uint8, uint8_to_unit, unit_to_signed
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.training.fit import fit
from course_utils.training.presets import preset
from course_utils.training.registry import build
from course_utils.training.runs import machine

PEER_SIZE, PEER_STEPS, PEER_BATCH, PEER_RATE = 32, 20, 16, 1e-4
IMAGES_PER_CALL = 250


def main() -> None:
    """Prints and writes one row of JSON for each seed and model."""
    options = _options()
    dataset = load_dataset(options.dataset)
    done = {(row["model"], row["seed"]): row for row in rows_in(options.out)}
    for seed in range(options.seeds):
        for model in ("course", "peer")[: 1 if options.no_peer else 2]:
            if (model, seed) in done:
                continue
            if model == "course":
                row = run_course(dataset, options, seed)
            else:
                row = run_peer(
                    dataset,
                    seed,
                    options.seconds or done["course", seed]["train_seconds"],
                    options.peer_num,
                    options.peer_batch,
                    options.peer_rate,
                )
            done[model, seed] = {
                "model": model,
                "seed": seed,
                "machine": machine(),
                "dataset": dataset.name,
                **row,
            }
            print(json.dumps(done[model, seed]), flush=True)
            add_row(options.out, done[model, seed])
    for seed in range(options.seeds):
        if ("peer", seed) in done:
            print(
                f"seed {seed}: FID of the peer is"
                f" {done['peer', seed]['fid'] / done['course', seed]['fid']:.0f} times the course's"
            )


def run_course(dataset: Dataset, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Returns what the course's preset reaches, with labels and calls of the network as its
    settings say.
    """
    settings = [*options.settings, "train.num_validation_images=0"]
    experiment = override(preset("diffusion", "laptop"), parse_assignments(settings)).fitted_to(
        dataset
    )
    model = build(experiment.model, seed)
    history = fit(model, dataset, experiment.train, seed=seed)
    model.eval()
    labels = torch.arange(options.num) % dataset.num_classes
    start = time.perf_counter()
    model.sample(100, labels=labels[:100], rng=make_rng(seed, 1))
    seconds_for_100 = time.perf_counter() - start
    sampled = model.trace(options.num, labels=labels, rng=make_rng(seed, 2), trajectory=False)
    num_steps = history.num_epochs * (len(dataset.train_images) // experiment.train.batch_size)
    return {
        "settings": settings,
        "parameters": model.num_parameters,
        "train_seconds": history.seconds,
        "ms_per_step": 1000 * history.seconds / num_steps,
        "num_calls": sampled.num_calls,
        "seconds_for_100": seconds_for_100,
        **measure(signed_to_uint8(sampled.x), dataset, labels),
    }


def run_peer(
    dataset: Dataset,
    seed: int,
    seconds: float,
    num: int,
    batch_size: int = PEER_BATCH,
    learning_rate: float = PEER_RATE,
) -> dict[str, Any]:
    """Returns what the peer reaches in so many seconds of training, measured on `num` images."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    torch.manual_seed(seed)
    device = pick_device()
    network = Unet(dim=32, dim_mults=(1, 2, 4), channels=dataset.image_shape[0])
    model = GaussianDiffusion(network, image_size=PEER_SIZE, sampling_timesteps=PEER_STEPS).to(
        device
    )
    average = EMA(model, beta=0.995, update_every=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    border = (PEER_SIZE - dataset.image_shape[1]) // 2
    start, num_steps = time.perf_counter(), 0
    for index in batches(dataset.train_images, batch_size, seed):
        images = dataset.train_images[index].to(device)
        loss = model(F.pad(uint8_to_unit(images), [border] * 4))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()
        num_steps += 1
        spent = time.perf_counter() - start
        if spent >= seconds:
            break
    average.eval()
    inside = slice(border, border + dataset.image_shape[1])

    def sample(num: int) -> Tensor:
        with torch.inference_mode():
            return average.ema_model.sample(batch_size=num)[:, :, inside, inside].clamp(0, 1).cpu()

    begin = time.perf_counter()
    first = sample(min(100, num))
    seconds_for_100 = time.perf_counter() - begin
    images = torch.cat([first, *_pieces(sample, num - len(first))])
    draw_seconds = time.perf_counter() - begin
    return {
        "settings": {"batch_size": batch_size, "learning_rate": learning_rate},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "train_seconds": spent,
        "ms_per_step": 1000 * spent / num_steps,
        "num_calls": PEER_STEPS,
        "seconds_for_100": seconds_for_100,
        "draw_seconds": draw_seconds,
        **measure(signed_to_uint8(unit_to_signed(images)), dataset, None),
    }


def _pieces(sample: Callable[[int], Tensor], num: int) -> Iterator[Tensor]:
    start = time.perf_counter()
    for done in range(0, num, IMAGES_PER_CALL):
        yield sample(min(IMAGES_PER_CALL, num - done))
        print(
            f"  peer: {min(done + IMAGES_PER_CALL, num)} of {num} images,"
            f" {time.perf_counter() - start:.0f} s",
            flush=True,
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--set",
        dest="settings",
        nargs="*",
        default=[],
        help="settings of the course's preset, such as model.num_steps=5",
    )
    parser.add_argument(
        "--num", type=int, default=10_000, help="images of the course to measure (default: 10000)"
    )
    parser.add_argument(
        "--peer-num",
        type=int,
        help=(
            "images of the peer to measure (default: as many); fewer make its FID larger, by its"
            " bias"
        ),
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help="training of the peer (default: what the course took with the same seed)",
    )
    parser.add_argument("--peer-batch", type=int, default=PEER_BATCH)
    parser.add_argument("--peer-rate", type=float, default=PEER_RATE, help="its learning rate")
    parser.add_argument("--no-peer", action="store_true", help="only the course")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/diffusion_speed.jsonl"),
        help="rows are added to this file",
    )
    options = parser.parse_args()
    options.peer_num = options.peer_num or options.num
    options.out.parent.mkdir(parents=True, exist_ok=True)
    reuse_freed_memory()
    return options


if __name__ == "__main__":
    main()
