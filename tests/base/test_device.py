"""Devices, budgets and random generators."""

from __future__ import annotations

import pytest
import torch

from course_utils.base import device
from course_utils.base.errors import CourseError


def draws(rng: torch.Generator) -> list[float]:
    return torch.rand(4, generator=rng).tolist()


def test_equal_arguments_give_equal_draws():
    assert draws(device.make_rng(3, 1, 2)) == draws(device.make_rng(3, 1, 2))


def test_different_seeds_and_paths_give_different_draws():
    seen = [
        draws(device.make_rng(*path))
        for path in ((0,), (1,), (0, 0), (0, 1), (1, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert len({tuple(values) for values in seen}) == len(seen)


def test_generators_leave_the_global_one_alone():
    before = torch.get_rng_state()
    draws(device.make_rng(0))
    device.randn((3,), device.make_rng(0), torch.zeros(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_randn_takes_dtype_from_like_and_noise_from_rng():
    like = torch.zeros(1, dtype=torch.float64)
    noise = device.randn((500, 20), device.make_rng(5), like)
    assert noise.dtype == torch.float64 and noise.shape == (500, 20)
    assert torch.equal(
        noise, torch.randn(500, 20, generator=device.make_rng(5), dtype=torch.float64)
    )
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05


def test_randn_without_rng_draws_from_the_global_generator():
    torch.manual_seed(11)
    first = device.randn((4,), None, torch.zeros(1))
    torch.manual_seed(11)
    assert torch.equal(first, device.randn((4,), None, torch.zeros(1)))


@pytest.mark.parametrize("name", device.BUDGETS)
def test_budget_is_what_the_environment_says(monkeypatch, name):
    monkeypatch.setenv("COURSE_BUDGET", name)
    assert device.budget() == name


def test_budget_follows_the_device_where_nothing_is_set(monkeypatch):
    monkeypatch.delenv("COURSE_BUDGET")
    assert device.budget() == "laptop"
    monkeypatch.setattr(device, "pick_device", lambda: torch.device("cuda"))
    assert device.budget() == "gpu"


@pytest.mark.parametrize(
    ("variable", "value", "call", "valid"),
    [
        (
            "COURSE_BUDGET",
            "lapptop",
            device.budget,
            "valid: gpu, laptop, smoke. Did you mean 'laptop'?",
        ),
        ("COURSE_DEVICE", "tpu", device.pick_device, "valid: cpu"),
    ],
)
def test_unknown_names_list_the_valid_ones(monkeypatch, variable, value, call, valid):
    monkeypatch.setenv(variable, value)
    with pytest.raises(CourseError) as error:
        call()
    assert (
        variable in str(error.value)
        and repr(value) in str(error.value)
        and valid in str(error.value)
    )


def test_device_in_words():
    assert device.describe_device() == f"cpu, {torch.get_num_threads()} threads"


@pytest.mark.parametrize("first", ["no", "bf16"])
def test_accelerators_of_different_precision_follow_each_other(first):
    """accelerate itself refuses a second precision in one process; a notebook trains several
    models.
    """
    for precision in (first, "no", "bf16"):
        accelerator = device.make_accelerator(precision)
        assert accelerator.mixed_precision == precision and accelerator.device.type == "cpu"


def test_automatic_precision_is_float32_on_the_cpu():
    assert device.make_accelerator("auto").mixed_precision == "no"


@pytest.mark.gpu
def test_cpu_noise_is_the_same_on_every_device():
    found = device.pick_device()
    assert found.type != "cpu"
    noise = device.randn((8,), device.make_rng(0), torch.zeros(1, device=found))
    assert noise.device.type == found.type and torch.equal(
        noise.cpu(), device.randn((8,), device.make_rng(0), torch.zeros(1))
    )
