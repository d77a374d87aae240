"""One training loop for every family: `fit(model, dataset, config) -> History`.

The dataset lives on the device as uint8 and a batch is an index: at this size a DataLoader costs
more than the network. The loop knows a model only as `trainable_parts()` and `loss()`.

Several processes of a launcher such as `torchrun` train one model: each computes its share of every
batch, and gradients and losses are means over them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_utils.base.config import require
from course_utils.base.device import (
    batch_share,
    copy_from_main,
    in_main,
    make_accelerator,
    make_rng,
    mean_over_processes,
    reuse_freed_memory,
)
from course_utils.base.errors import CourseError, unknown
from course_utils.base.images import uint8_to_signed
from course_utils.data.augment import augment
from course_utils.data.dataset import Dataset
from course_utils.models.base import Batch, Model
from course_utils.models.blocks import share_batch_norms
from course_utils.training.config import TrainConfig, learning_rate_at
from course_utils.training.film import MIN_STEPS, Camera
from course_utils.training.history import History
from course_utils.training.muon import Muon
from course_utils.training.state import TrainingState, load_state, save_state


@torch.no_grad()
def loss_terms(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    part: str = "model",
    seed: int = 0,
    batch_size: int = 500,
    captions: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Returns every term of the model's loss for each image, `{name: [N]}` on the CPU, with noise
    from a fixed generator so that calls compare.

    Args:
        model: any family; its training mode is put back afterwards.
        images, labels: uint8 `[N, C, H, W]` and int64 `[N]`.
        part: a key of `model.trainable_parts()`.
        seed: of the fixed generator.
        batch_size: images a call.
        captions: one for each image; none hides them from a model that reads them.
    """
    if part not in model.trainable_parts():
        raise unknown("part", part, model.trainable_parts())
    rng = make_rng(seed, 2, device=model.device)
    tokens = _tokens(model, captions, model.device)
    was_training = model.training
    model.eval()
    rows = []
    try:
        for start in range(0, len(images), batch_size):
            chunk = slice(start, start + batch_size)
            batch = Batch(
                uint8_to_signed(images[chunk].to(model.device)),
                labels[chunk].to(model.device),
                _rows(tokens, chunk),
            )
            rows.append(model.loss(batch, part, rng=rng))
    finally:
        model.train(was_training)
    return {name: torch.cat([row[name].float().cpu() for row in rows]) for name in rows[0]}


def _tokens(model: Model, captions: Sequence[str], device: torch.device) -> Tensor | None:
    """Returns the tokens of captions on the device; None where there are none, or the model reads
    no text.
    """
    tokens = model.encode_captions(captions) if captions else None
    return None if tokens is None else tokens.to(device)


def _rows(tokens: Tensor | None, index: Tensor | slice) -> Tensor | None:
    return None if tokens is None else tokens[index]


class TrainingDiverged(CourseError):
    """A loss became infinite or NaN; the model holds the weights of the last good epoch."""


class Meter:
    """The mean of every loss term at every step, kept on the device until it is asked for. A part
    may begin after the first step of the epoch, and end before the last.
    """

    def __init__(self, num_steps: int, device: torch.device, epoch: int) -> None:
        self.num_steps, self.device, self.epoch = num_steps, device, epoch
        self.names: dict[str, list[str]] = {}
        self.values: dict[str, Tensor] = {}  # part -> [num_steps, number of terms]
        self.steps: dict[str, range] = {}  # of each part, from its first to its latest
        self.checked = 0

    def add(self, part: str, terms: dict[str, Tensor], step: int) -> None:
        """Keeps the mean over this process's images of each term of a part's loss at one step."""
        if part not in self.values:
            self.names[part] = list(terms)
            self.values[part] = torch.zeros(self.num_steps, len(terms), device=self.device)
            self.steps[part] = range(step, step)
        self.values[part][step] = torch.stack(
            [term.detach().float().mean() for term in terms.values()]
        )
        self.steps[part] = range(self.steps[part].start, step + 1)

    def check(self, step: int) -> dict[str, str]:
        """Returns the latest losses as text for the progress bar; raises TrainingDiverged where one
        since the last check is not finite. From here on they are means over all processes.
        """
        latest = {}
        for part, values in self.values.items():
            new = values[self.checked : step + 1]
            new.copy_(mean_over_processes(new))
            losses = new[:, self.names[part].index("loss")].cpu()
            bad = torch.nonzero(~torch.isfinite(losses))
            if len(bad):
                first = int(bad[0])
                raise TrainingDiverged(
                    f"the loss of {part!r} is {losses[first].item()} at step"
                    f" {self.checked + first + 1} of epoch {self.epoch}; the weights are back at"
                    " the start of this epoch. Lower train.learning_rate, or set"
                    " train.max_grad_norm=1."
                )
            if step in self.steps[part]:
                latest["loss" if len(self.values) == 1 else part] = f"{losses[-1].item():.4g}"
        self.checked = step + 1
        return latest

    def means(self) -> dict[str, dict[str, float]]:
        """Returns the mean of each part's terms over the steps in which it was trained."""
        trained = {
            part: values[self.steps[part].start : self.steps[part].stop]
            for part, values in self.values.items()
        }
        return {
            part: dict(zip(self.names[part], values.double().mean(0).tolist()))
            for part, values in trained.items()
        }


CHECK_EVERY_STEPS = 50  # reading a loss waits for the device, so it is read this seldom


def fit(
    model: Model,
    dataset: Dataset,
    config: TrainConfig,
    *,
    seed: int = 0,
    state_path: Path | str | None = None,
    identity: dict[str, Any] | None = None,
    on_epoch: Callable[[Model, History], None] | None = None,
    camera: Camera | None = None,
) -> History:
    """Trains `model` in place on the training images and returns its history.

    Ctrl-C stops early and keeps what there is: the history then has fewer epochs than the config.

    Under a launcher every process calls this with equal arguments. The main one writes, prints and
    calls `on_epoch`; the results are equal but for times and for rows that `on_epoch` added.

    Args:
        model: any family; afterwards on the device, holding the moving average of its weights where
            the config asks for one.
        dataset: uint8 images and labels.
        config: the settings.
        seed: order of the images, noise and augmentation.
        state_path: file that keeps the exact state after each epoch. Where it exists the training
            goes on from it, bit for bit on the CPU.
        identity: what the state belongs to (any JSON values); a state with another identity is
            refused.
        on_epoch: called with the model (moving average) and the history after each epoch; rows that
            it adds to the history are kept.
        camera: draws the frames of a film on the way; its frames are part of the state.

    Raises:
        TrainingDiverged: a loss is not finite.
        CourseError: the state on disk belongs to another training or is damaged; or the processes
            cannot share a batch equally, do not see the same state, or one of them lacks memory.
    """
    trainer = _Trainer(model, dataset, config, seed, camera)
    history = History()
    if state_path is not None and Path(state_path).exists():
        rows, trainer.batch_size = load_state(state_path, trainer.state, identity or {})
        history = History(rows)
    trainer.check_processes(history.num_epochs)

    def after_epoch() -> None:
        for message in model.alarms(history.rows):
            print(message)
        num_rows = len(history.rows)
        if state_path is not None:
            save_state(state_path, trainer.state, identity or {}, history.rows)
        if on_epoch is not None:
            on_epoch(trainer.evaluated_model, history)
        # the hook measured something: that must survive too
        if state_path is not None and len(history.rows) > num_rows:
            save_state(state_path, trainer.state, identity or {}, history.rows)

    try:
        for epoch in range(history.num_epochs + 1, config.num_epochs + 1):
            history.rows += trainer.run_epoch(epoch, history.seconds)
            in_main(after_epoch)
    except KeyboardInterrupt:
        trainer.accelerator.print(
            f"stopped by hand after {history.num_epochs} of {config.num_epochs} epochs; what was"
            " learned until now is kept."
        )
    if trainer.ema is not None:
        model.load_state_dict(trainer.ema.module.state_dict())
    return history


class _Trainer:
    """The moving parts of one training: data on the device, optimizers, moving average."""

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        config: TrainConfig,
        seed: int,
        camera: Camera | None = None,
    ) -> None:
        self.model, self.config, self.seed, self.camera = model, config, seed, camera
        self.accelerator = make_accelerator(config.precision)
        self.num_processes = self.accelerator.num_processes
        device = self.accelerator.device
        reuse_freed_memory()
        self.memory_format = (
            torch.channels_last if config.channels_last else torch.contiguous_format
        )
        # torch's stub of Module.to leaves memory_format out.
        cast(Any, model).to(device, memory_format=self.memory_format)
        if self.num_processes > 1:
            share_batch_norms(model)
            copy_from_main(model.state_dict().values())
        num_train = min(
            config.num_train_images or len(dataset.train_images), len(dataset.train_images)
        )
        num_validation = min(max(2, config.num_validation_images), len(dataset.test_images))
        self.data = dataset.subset(num_train, num_validation, seed)
        self.train_images, self.train_labels = (
            self.data.train_images.to(device),
            self.data.train_labels.to(device),
        )
        self.train_captions = _tokens(model, self.data.train_captions, device)
        self.batch_size = min(config.batch_size, len(self.train_images))
        self.optimizers = {
            name: self._optimizers_of(part) for name, part in model.trainable_parts().items()
        }
        self.learning_rate_factors = model.learning_rate_factors()
        self.spans = model.training_spans()
        self.ema = None
        if config.ema_decay is not None:
            averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema_decay)
            self.ema = torch.optim.swa_utils.AveragedModel(
                model, multi_avg_fn=averaging, use_buffers=True
            )

    @property
    def state(self) -> TrainingState:
        named = {
            name if kind == 0 else f"{name}.muon": optimizer
            for name, optimizers in self.optimizers.items()
            for kind, optimizer in enumerate(optimizers)
        }
        return TrainingState(self.model, named, self.ema, self.batch_size, self.camera)

    def _optimizers_of(self, part: nn.Module) -> list[torch.optim.Optimizer]:
        """Returns AdamW for the parameters of a part, and Muon for its hidden weights where the
        config says so.
        """
        config, muon = self.config, self.config.optimizer == "muon"
        hidden = {id(weight) for weight in self.model.hidden_weights()} if muon else set()
        chosen = [weight for weight in part.parameters() if id(weight) in hidden]
        if muon and not chosen:
            raise CourseError(
                f"train.optimizer: 'muon' knows no hidden weights of a {self.model.family}; use"
                " 'adamw'."
            )
        adamw = torch.optim.AdamW(
            [weight for weight in part.parameters() if id(weight) not in hidden],
            lr=config.learning_rate,
            betas=config.adam_betas,
            weight_decay=config.weight_decay,
            fused=self.accelerator.device.type in ("cpu", "cuda"),
        )
        return [adamw, Muon(chosen, config.muon_learning_rate)] if muon else [adamw]

    @property
    def evaluated_model(self) -> Model:
        return self.model if self.ema is None else cast(Model, self.ema.module)

    def check_processes(self, num_epochs: int) -> None:
        """Raises CourseError unless each process can take an equal share of a batch and all go on
        after the same epoch.
        """
        if self.num_processes == 1:
            return
        expected = f"a multiple of the {self.num_processes} processes, which share it equally"
        require(self.batch_size % self.num_processes == 0, "batch_size", expected, self.batch_size)
        done = torch.tensor([num_epochs], device=self.accelerator.device)
        found = sorted(set(cast(Tensor, self.accelerator.gather(done)).tolist()))
        if len(found) > 1:
            raise CourseError(
                f"expected one training state for all processes, got states after {found} epochs;"
                " keep the run on a disk that all processes share."
            )

    def run_epoch(self, epoch: int, seconds_before: float) -> list[dict[str, Any]]:
        """Returns the rows of one epoch. Out of memory starts the epoch again with half the batch,
        in a single process; a bad loss puts its start back.
        """
        last_good = self.state.snapshot()
        while True:
            try:
                return self._try_epoch(epoch, seconds_before)
            except TrainingDiverged:
                self.state.restore(last_good)
                raise
            except RuntimeError as error:
                if not should_reduce_batch_size(error) or self.batch_size == 1:
                    raise
                if self.num_processes > 1:  # the others are in the middle of the step
                    raise CourseError(
                        f"out of memory in process {self.accelerator.process_index} of"
                        f" {self.num_processes}, with its share of batch_size {self.batch_size};"
                        " set a smaller train.batch_size."
                    ) from error
            self.state.restore(last_good)
            self.batch_size //= 2
            print(
                f"out of memory: epoch {epoch} starts again with batch_size {self.batch_size} (the"
                f" config says {self.config.batch_size})."
            )

    def _try_epoch(self, epoch: int, seconds_before: float) -> list[dict[str, Any]]:
        start = time.perf_counter()
        device = self.accelerator.device
        order = self._order(epoch).to(device)
        rng = make_rng(self.seed, epoch, 1, device=device)
        num_steps = len(order) // self.batch_size
        meter = Meter(num_steps, device, epoch)
        self.model.train()
        if epoch == 1:
            self._film(0, num_steps)
        rank, last = self.accelerator.process_index, epoch == self.config.num_epochs
        # left out in the main process, where the environment may say it (TQDM_DISABLE)
        silent: dict[str, Any] = {} if self.accelerator.is_main_process else {"disable": True}
        title = f"epoch {epoch}/{self.config.num_epochs}"
        with (
            tqdm(total=num_steps, desc=title, leave=last, mininterval=0.5, **silent) as bar,
            batch_share(rank, self.num_processes),
        ):
            for step in range(num_steps):
                whole = order[step * self.batch_size : (step + 1) * self.batch_size]
                index = whole[rank :: self.num_processes]
                images = augment(
                    uint8_to_signed(self.train_images[index]), self.config.augmentation, rng
                )
                images = images.contiguous(memory_format=self.memory_format)
                progress = (epoch - 1 + step / num_steps) / self.config.num_epochs
                self._step(
                    Batch(images, self.train_labels[index], _rows(self.train_captions, index)),
                    progress,
                    rng,
                    meter,
                    step,
                )
                self._film((epoch - 1) * num_steps + step + 1, num_steps)
                if (step + 1) % CHECK_EVERY_STEPS == 0 or step + 1 == num_steps:
                    bar.set_postfix(meter.check(step), refresh=False)
                    bar.update(step + 1 - bar.n)
        seconds = seconds_before + time.perf_counter() - start
        seconds = round(seconds, 3)
        rows: list[dict[str, Any]] = [
            {
                "epoch": epoch,
                "split": "train",
                "part": part,
                **terms,
                "seconds": seconds,
                "learning_rate": self._learning_rate(part, (epoch - 1) / self.config.num_epochs),
            }
            for part, terms in meter.means().items()
        ]
        return rows + self._validation_rows(epoch, seconds)

    def _learning_rate(self, part: str, progress: float) -> float:
        """Returns the learning rate of a part, before its factor: the schedule begins and ends with
        the part's span.
        """
        begin, end = self.spans[part]
        return learning_rate_at(max(0.0, progress - begin) / (end - begin), self.config)

    def _film(self, step: int, epoch_steps: int) -> None:
        """Draws a frame in the main process where its moment has come; `step` counts from the start
        of the training.
        """
        num_steps = epoch_steps * self.config.num_epochs
        if self.camera is None or num_steps < MIN_STEPS or not self.accelerator.is_main_process:
            return
        self.camera.watch(self.evaluated_model, step, (step - 1) / num_steps, step / num_steps)

    def _order(self, epoch: int) -> Tensor:
        """Returns the indices of an epoch's images in random order; every image once, and again
        where the epoch has to have more steps.
        """
        rng = make_rng(self.seed, epoch, 0)
        num_images = len(self.train_images)
        num_wanted = (self.config.min_epoch_steps or 1) * self.batch_size
        num_passes = max(1, math.ceil(num_wanted / num_images))
        passes = [torch.randperm(num_images, generator=rng) for _ in range(num_passes)]
        return torch.cat(passes)[: max(num_images, num_wanted)]

    def _step(
        self, batch: Batch, progress: float, rng: torch.Generator, meter: Meter, step: int
    ) -> None:
        """Updates each part of the model once, in order, where `progress` from 0 to 1 lies within
        its span: one part for a VAE, two for a GAN, the same lines.
        """
        for part, optimizers in self.optimizers.items():
            begin, end = self.spans[part]
            if not begin <= progress < end:
                continue
            learning_rate = self._learning_rate(part, progress)
            for optimizer in optimizers:
                ratio = optimizer.defaults["lr"] / self.config.learning_rate
                factor = ratio * self.learning_rate_factors[part]
                optimizer.param_groups[0]["lr"] = learning_rate * factor
                # also clears what the other part's backward left behind
                optimizer.zero_grad(set_to_none=True)
            with self.accelerator.autocast():
                terms = self.model.loss(batch, part, rng=rng)
            self.accelerator.backward(terms["loss"].mean())
            parameters = [
                weight for optimizer in optimizers for weight in optimizer.param_groups[0]["params"]
            ]
            if self.num_processes > 1:
                _average_gradients(parameters)
            max_norm = math.inf if self.config.max_grad_norm is None else self.config.max_grad_norm
            gradient_norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
            for optimizer in optimizers:
                optimizer.step()
            meter.add(part, {**terms, "gradient_norm": gradient_norm}, step)
        if self.ema is not None:
            self.ema.update_parameters(self.model)

    def _validation_rows(self, epoch: int, seconds: float) -> list[dict[str, Any]]:
        if self.config.num_validation_images == 0:
            return []
        rows = []
        for part in self.optimizers:
            terms = loss_terms(
                self.evaluated_model,
                self.data.test_images,
                self.data.test_labels,
                part=part,
                captions=self.data.test_captions,
            )
            means = {name: values.mean().item() for name, values in terms.items()}
            rows.append(
                {"epoch": epoch, "split": "test", "part": part, **means, "seconds": seconds}
            )
        return rows


def _average_gradients(parameters: list[Tensor]) -> None:
    """Replaces gradients by their means over all processes, in one exchange, which costs less than
    one for each tensor.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    means = mean_over_processes(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, mean in zip(gradients, means.split([each.numel() for each in gradients])):
        gradient.copy_(mean.view_as(gradient))
