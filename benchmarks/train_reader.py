"""Trains the reader of attributes that ships with the course, and calibrates it on renderings that
it has not seen.

    python benchmarks/train_reader.py
"""

from __future__ import annotations

import platform
import time

import numpy as np
import torch
from tqdm.auto import tqdm

from course_utils.base.device import make_rng
from course_utils.base.files import file_sha256, save_tensors, write_json, write_text
from course_utils.base.images import uint8_to_signed
from course_utils.data.captions import ATTRIBUTES
from course_utils.data.scenes import draw_scenes, draw_singles
from course_utils.models.reader import UNKNOWN, AttributeReader
from course_utils.studies.reading import (
    CALIBRATION_PICTURES,
    LAYOUTS,
    READER,
    READER_VALUES,
    calibrate,
    enlarged_cells,
)
from course_utils.training.runs import machine, to_half

TRAIN_SEED, CALIBRATION_SEED = 1, 2
NUM_SINGLES, NUM_SCENES = 40_000, 12_000
NUM_EPOCHS, BATCH_SIZE, LEARNING_RATE, EMA_DECAY = 6, 128, 4e-3, 0.995


def examples() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Returns pictures of one digit, scenes, and the enlarged fields of scenes, uint8, with what is
    known of each; `UNKNOWN` where that is nothing.
    """
    singles = draw_singles(NUM_SINGLES, np.random.default_rng(TRAIN_SEED))
    scenes = draw_scenes(NUM_SCENES, np.random.default_rng(TRAIN_SEED))
    factors = scenes.factors
    cells = enlarged_cells(scenes.images, factors["relation"])
    parts = [
        (singles.images, {**singles.factors, "layout": torch.zeros(NUM_SINGLES).long()}),
        (scenes.images, {"paper": factors["paper"], "layout": factors["relation"] + 1}),
    ]
    for index, place in enumerate(("first", "second")):
        own = {name: factors[f"{place}_{name}"] for name in ("digit", "ink", "thickness")}
        parts.append((cells[:, index], {**own, "paper": factors["paper"]}))
    codes = {
        name: torch.cat(
            [known.get(name, torch.full((len(images),), UNKNOWN)) for images, known in parts]
        )
        for name in READER_VALUES
    }
    return torch.cat([images for images, _ in parts]), codes


def train(images: torch.Tensor, codes: dict[str, torch.Tensor]) -> AttributeReader:
    """Returns a reader, the moving average of its weights over the training."""
    torch.manual_seed(TRAIN_SEED)
    reader = AttributeReader(READER_VALUES).to(memory_format=torch.channels_last)
    averaged = torch.optim.swa_utils.AveragedModel(
        reader, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True
    )
    num_steps = NUM_EPOCHS * (len(images) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, num_steps)
    bar = tqdm(total=num_steps, mininterval=10)
    for epoch in range(NUM_EPOCHS):
        order = torch.randperm(len(images), generator=make_rng(TRAIN_SEED, epoch))
        for index in order[: len(order) // BATCH_SIZE * BATCH_SIZE].split(BATCH_SIZE):
            batch = uint8_to_signed(images[index]).contiguous(memory_format=torch.channels_last)
            loss = reader.cross_entropy(batch, {name: all_[index] for name, all_ in codes.items()})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averaged.update_parameters(reader)
            bar.update()
            bar.set_postfix(loss=loss.item(), refresh=False)
    reader.load_state_dict(averaged.module.state_dict())
    return reader.eval()


def card(record: dict) -> str:
    """Returns the text of the reader's README."""
    lines = [
        "# reader of attributes trained on captions",
        "",
        "Says of a picture of one digit or of two which value each attribute has, to compare a",
        "drawn picture with its caption. It knows the pictures of `load_dataset('captions')` and",
        "of `load_dataset('captions:scenes')`, the held-out combinations among them. It answers",
        "for any other picture, too, and what it says of that means little.",
        "",
        "- Command: `python benchmarks/train_reader.py`",
        f"- Seeds: training {TRAIN_SEED}, calibration {CALIBRATION_SEED}",
        f"- Data: {NUM_SINGLES:,} pictures of one digit, {NUM_SCENES:,} of two and their fields",
        f"- Training: {NUM_EPOCHS} epochs, {record['training_seconds']} s on {record['machine']}",
        f"- Weights: float16, SHA-256 `{record['weights_sha256']}`",
        "- Versions: " + ", ".join(f"{key} {value}" for key, value in record["versions"].items()),
        "",
        "Measured on fresh renderings of all combinations:",
        "",
        "| Dataset | Attribute | Right | Pictures |",
        "|---|---|---|---|",
    ]
    for dataset, attributes in record["calibration"].items():
        for name, counts in attributes.items():
            share = counts["num_right"] / counts["num_pictures"]
            lines.append(f"| {dataset} | {name} | {share:.4f} | {counts['num_pictures']:,} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes weights, record and card to the folder of shipped weights."""
    images, codes = examples()
    start = time.perf_counter()
    reader = train(images, codes)
    seconds = round(time.perf_counter() - start, 1)
    weights = to_half(reader.state_dict())
    reader.load_state_dict({name: value.float() for name, value in weights.items()})
    save_tensors(READER / "model.safetensors", weights)
    record = {
        "attributes": {**ATTRIBUTES, "layout": LAYOUTS},
        "weights_sha256": file_sha256(READER / "model.safetensors"),
        "weights_dtype": "float16",
        "training_seconds": seconds,
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__.split("+")[0],
            "numpy": np.__version__,
        },
        "calibration": calibrate(reader, CALIBRATION_PICTURES, CALIBRATION_SEED),
    }
    write_json(READER / "reader.json", record)
    write_text(READER / "README.md", card(record))
    print(card(record))


if __name__ == "__main__":
    main()
