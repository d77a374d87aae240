"""The `course` command, run in this process on 200 digits in MNIST's layout."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from materials import RECORD_VALUES, make_dataset, run_python, same_weights
from PIL import Image
from stand_ins import write_pictures
from toys import TINY_TEXT_TO_IMAGE, Stop, stop_after

from course_utils.base.device import make_rng
from course_utils.base.images import save_png, signed_to_uint8
from course_utils.cli.main import main
from course_utils.data import load_dataset
from course_utils.models.dcgan import DCGANConfig
from course_utils.models.diffusion.model import DiffusionConfig
from course_utils.models.gaussian import GaussianConfig
from course_utils.training import runs as checkpoint
from course_utils.training import runs as module
from course_utils.training.fit import fit
from course_utils.training.history import History
from course_utils.training.presets import preset
from course_utils.training.registry import build
from course_utils.training.runs import STATE, load_run, save_run

SMALL = [
    "--dataset",
    "mnist",
    "--set",
    "model.hidden_dims=[16]",
    "--set",
    "model.latent_dim=3",
    "--set",
    "train.batch_size=50",
]


@pytest.fixture
def course(capsys):
    """Runs one command; returns exit code, what it printed, and its one line of complaint."""

    def call(*arguments: object):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse leaves by this door
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def trained(course, idx_folder, tmp_path):
    """The folder of a small trained VAE."""
    code, _, _ = course("train", "vae", *SMALL, "--out", tmp_path / "run")
    assert code == 0
    return tmp_path / "run"


def test_help_and_import_need_no_torch(run_python=run_python):
    code = (
        "import sys, course_utils, course_utils.cli.main as cli\ntry: cli.main(['--help'])\nexcept"
        " SystemExit as stop: assert stop.code == 0\nheavy = {'torch', 'numpy', 'matplotlib',"
        " 'pandas', 'accelerate', 'IPython'} & set(sys.modules)\nassert not heavy, heavy"
    )
    assert "train" in run_python(code).stdout


def test_train_writes_a_run_and_prints_what_it_reached(course, idx_folder, tmp_path):
    code, out, err = course("train", "vae", *SMALL, "--seed", 7, "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    run = load_run(tmp_path / "run")
    assert run.experiment.seed == 7 and run.experiment.dataset == "mnist"
    assert run.experiment.model.latent_dim == 3 and run.experiment.model.hidden_dims == (16,)
    value, error = run.metric("negative_elbo")
    assert (
        f"test negative_elbo: {value:.4f} ± {error:.4f} (standard error, 50 images)" in out
        and str(tmp_path / "run") in out
    )


def test_train_is_repeatable(course, trained, tmp_path):
    course("train", "vae", *SMALL, "--out", tmp_path / "again")
    assert same_weights(load_run(trained).model, load_run(tmp_path / "again").model)


def test_train_picks_a_folder_under_runs(course, idx_folder, tmp_path):
    assert course("train", "vae", *SMALL)[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("vae-mnist-")


def test_dry_run_prints_the_experiment_and_does_nothing(course, idx_folder, tmp_path):
    code, out, _ = course("train", "vae", *SMALL, "--budget", "gpu", "--seed", 3, "--dry-run")
    shown = json.loads(out)
    assert code == 0 and not (tmp_path / "runs").exists()
    assert (shown["family"], shown["dataset"], shown["seed"], shown["model"]["latent_dim"]) == (
        "vae",
        "mnist",
        3,
        3,
    )
    assert shown["train"]["num_epochs"] == preset("vae", "gpu").train.num_epochs


def test_budget_option_wins_over_the_environment(course):
    shown = [
        json.loads(course("train", "vae", "--dry-run", *budget)[1])["train"]
        for budget in ([], ["--budget", "laptop"])
    ]
    assert (
        shown[0] == preset("vae", "smoke").as_dict()["train"]
        and shown[1] == preset("vae", "laptop").as_dict()["train"]
    )


def test_half_stores_float16(course, idx_folder, tmp_path):
    from safetensors.torch import load_file

    assert course("train", "vae", *SMALL, "--half", "--out", tmp_path / "run")[0] == 0
    assert {
        value.dtype for value in load_file(tmp_path / "run" / "model.safetensors").values()
    } == {torch.float16}
    assert load_run(tmp_path / "run").model.num_parameters > 0


def test_a_training_that_was_cut_off_needs_resume_and_then_ends_the_same(
    course, trained, tmp_path, monkeypatch
):
    epochs = ["--set", "train.num_epochs=2", "--out", tmp_path / "cut"]
    course("train", "vae", *SMALL, *epochs[:2], "--out", tmp_path / "whole")
    fit = module.fit
    monkeypatch.setattr(
        module,
        "fit",
        lambda *arguments, **options: fit(*arguments, **{**options, "on_epoch": stop_after(1)}),
    )
    with pytest.raises(Stop):
        main([str(argument) for argument in ("train", "vae", *SMALL, *epochs)])
    monkeypatch.setattr(module, "fit", fit)
    code, _, err = course("train", "vae", *SMALL, *epochs)
    assert code == 2 and "holds a training that was cut off; add --resume" in err
    assert course("train", "vae", *SMALL, *epochs, "--resume")[0] == 0
    assert same_weights(load_run(tmp_path / "cut").model, load_run(tmp_path / "whole").model)
    assert not (tmp_path / "cut" / STATE).exists()


def test_ctrl_c_says_how_to_go_on(course, idx_folder, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    fit = module.fit
    monkeypatch.setattr(
        module,
        "fit",
        lambda *arguments, **options: fit(*arguments, **{**options, "on_epoch": interrupt}),
    )
    code, out, err = course(
        "train", "vae", *SMALL, "--set", "train.num_epochs=2", "--out", tmp_path / "run"
    )
    assert code == 130 and "go on with the same command and --resume" in out and err == ""
    monkeypatch.setattr(module, "run", interrupt)
    code, _, err = course("train", "vae", *SMALL)
    assert (code, err) == (130, "course train: stopped.\n")


def test_sample_writes_the_documented_npz(course, trained, tmp_path):
    code, out, _ = course(
        "sample", trained, "--num", 7, "--seed", 5, "--out", tmp_path / "new" / "images.npz"
    )
    assert code == 0 and "7 images" in out and "seed 5" in out
    with np.load(tmp_path / "new" / "images.npz", allow_pickle=False) as arrays:
        assert (
            list(arrays) == ["images"]
            and arrays["images"].shape == (7, 1, 28, 28)
            and arrays["images"].dtype == np.uint8
        )
        first = arrays["images"]
    files = []
    for seed in (5, 6):
        course("sample", trained, "--num", 7, "--seed", seed, "--out", tmp_path / f"{seed}.npz")
        files.append(np.load(tmp_path / f"{seed}.npz")["images"])
    assert np.array_equal(first, files[0]) and not np.array_equal(first, files[1])


SMALL_MODELS = {
    "dcgan": DCGANConfig(generator_width=4, discriminator_width=4),
    "diffusion": DiffusionConfig(channels=(8,), embed_dim=8, num_steps=3),
    "gaussian": GaussianConfig(latent_dim=2),
    "dcgan, not told": DCGANConfig(generator_width=4, discriminator_width=4, conditional=False),
    "diffusion, not told": DiffusionConfig(
        channels=(8,), embed_dim=8, num_steps=3, unlabelled="null"
    ),
}


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_sample_writes_the_classes_that_the_model_was_told(course, tiny_vae, tmp_path, name):
    family = name.partition(",")[0]
    experiment = replace(tiny_vae, family=family, model=SMALL_MODELS[name])
    save_run(tmp_path / "run", build(experiment.model), experiment, History(), RECORD_VALUES)
    command = ("sample", tmp_path / "run", "--num", 12, "--seed", 3, "--out")
    assert course(*command, tmp_path / "a.npz")[0] == course(*command, tmp_path / "a.png")[0] == 0
    arrays = np.load(tmp_path / "a.npz", allow_pickle=False)
    if "not told" in name:
        assert list(arrays) == ["images"]
        return
    labels = torch.from_numpy(arrays["labels"])
    assert labels.dtype == torch.int64 and labels.shape == (12,) and len(labels.unique()) > 1
    # drawn with these labels and the noise of the seed, the model gives these very images
    model = load_run(tmp_path / "run").model
    images = signed_to_uint8(model.sample(12, labels=labels, rng=make_rng(3))).cpu().numpy()
    assert np.array_equal(arrays["images"], images)
    save_png(torch.from_numpy(images), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_sample_takes_as_many_steps_as_are_asked_for(course, trained, tiny_vae, tmp_path):
    settings = SMALL_MODELS["diffusion"]
    experiment = replace(tiny_vae, family="diffusion", model=settings)
    save_run(tmp_path / "flow", build(settings), experiment, History(), RECORD_VALUES)
    out = tmp_path / "a.npz"
    assert course("sample", tmp_path / "flow", "--num", 6, "--steps", 1, "--out", out)[0] == 0
    arrays = np.load(out, allow_pickle=False)
    model, labels = load_run(tmp_path / "flow").model, torch.from_numpy(arrays["labels"])
    one, three = (
        signed_to_uint8(model.sample(6, labels=labels, rng=make_rng(0), num_steps=steps)).numpy()
        for steps in (1, 3)
    )
    assert np.array_equal(arrays["images"], one) and not np.array_equal(one, three)
    for source, steps, words in (
        (tmp_path / "flow", 0, "--steps: expected at least 1, got 0"),
        (trained, 1, "--steps: expected a diffusion model, got a vae"),
    ):
        code, _, err = course("sample", source, "--steps", steps, "--out", tmp_path / "b.npz")
        assert code == 2 and words in err and not (tmp_path / "b.npz").exists()


def test_a_flow_is_trained_with_paired_noise_and_then_on_its_own_pairs(
    course, idx_folder, tmp_path, monkeypatch
):
    small = ["--dataset", "mnist", "--budget", "smoke", "--set", "train.batch_size=20"]
    small += ["--set", "model.channels=[8]", "--set", "model.embed_dim=8"]
    teacher, out = tmp_path / "diffusion-mnist", tmp_path / "reflow"
    pairing = ["--set", "model.pairing=optimal_transport"]
    code, _, err = course("train", "diffusion", *small, *pairing, "--out", teacher)
    assert code == 0, err
    assert load_run(teacher).experiment.model.pairing == "optimal_transport"
    monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path)
    code, _, err = course(
        "train", "reflow", *small, "--set", "model.num_pairs=20", "--out", out, "--seed", 2
    )
    assert code == 0, err
    run = load_run(out)
    assert (run.experiment.model.teacher, run.experiment.model.num_pairs) == ("diffusion", 20)
    # again by hand: the teacher's weights and pairs, then the same steps
    again = build(run.experiment.model, 2)
    again.start_from(load_run(teacher).model, 2)
    dataset = load_dataset("mnist", verbose=False)
    fit(again, dataset, run.experiment.train, seed=2)
    assert same_weights(run.model, again)
    assert not same_weights(run.model, load_run(teacher).model)


def test_draw_writes_pictures_for_a_caption(course, tiny_vae, tmp_path, monkeypatch):
    config = replace(TINY_TEXT_TO_IMAGE, vocabulary="dark light")
    experiment = replace(tiny_vae, family="text-to-image", model=config)
    save_run(tmp_path / "run", build(config), experiment, History(), RECORD_VALUES)
    model = load_run(tmp_path / "run").model
    options = ("--model", tmp_path / "run", "--out", tmp_path / "a.png")
    assert course("draw", "Dark!", "--num", 5, "--seed", 3, "--guidance", 1.5, *options)[0] == 0
    pictures = model.sample(5, captions="dark", guidance_scale=1.5, rng=make_rng(3))
    save_png(signed_to_uint8(pictures), tmp_path / "b.png", num_columns=3)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    # without --model: the one that ships
    monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path)
    (tmp_path / "run").rename(tmp_path / "text-to-image-captions")
    options = ("--out", tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    assert course("draw", "Dark!", "--num", 5, "--seed", 3, "--guidance", 1.5, *options)[0] == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    before = sorted(tmp_path.iterdir())
    code, _, err = course("draw", "an avocado", *options)
    assert code == 2 and "unknown word 'an'; valid: dark, light." in err
    code, _, err = course("draw", "dark", "--negative", "lihgt", *options)
    assert code == 2 and "Did you mean 'light'?" in err
    code, _, err = course("draw", "dark", "--out", "a.npz")
    assert code == 2 and "ends in .png" in err
    # a refusal leaves the older pictures as they were, and no half of new ones
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_sample_writes_a_sheet(course, trained, tmp_path):
    assert course("sample", trained, "--num", 20, "--out", tmp_path / "sheet.png")[0] == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * (10 * 30 + 2), 3 * (2 * 30 + 2))


def test_reconstruct_writes_pairs_of_rows(course, trained, tmp_path):
    code, out, _ = course("reconstruct", trained, "--out", tmp_path / "pairs.png")
    assert (
        code == 0 and "rows alternate between test images of mnist and their reconstructions" in out
    )
    with Image.open(tmp_path / "pairs.png") as sheet:
        assert sheet.size == (3 * (10 * 30 + 2), 3 * (10 * 30 + 2))
        pixels = np.array(sheet)[::3, ::3]
    first = load_dataset("mnist", verbose=False).subset(num_test=50).test_images[0, 0]
    assert np.array_equal(pixels[2:30, 2:30], first) and not np.array_equal(
        pixels[32:60, 2:30], first
    )


@pytest.fixture
def shipped(trained, monkeypatch, tmp_path):
    """Two pretrained runs: vae-mnist and classifier-mnist."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    trained.rename(folder / "vae-mnist")
    experiment = preset("classifier", "smoke").fitted_to(make_dataset(num_train=1, num_test=2))
    save_run(
        folder / "classifier-mnist", build(experiment.model), experiment, History(), RECORD_VALUES
    )
    monkeypatch.setattr(checkpoint, "PRETRAINED", folder)


def test_pretrained_runs_are_sources_too(course, shipped, tmp_path):
    assert (
        course("sample", "pretrained:vae/mnist", "--num", 2, "--out", tmp_path / "two.npz")[0] == 0
    )
    assert course("reconstruct", "pretrained:vae/mnist", "--out", tmp_path / "pairs.png")[0] == 0


def test_what_a_family_cannot_do_is_said(course, shipped, tmp_path):
    code, _, err = course("sample", "pretrained:classifier/mnist", "--out", tmp_path / "x.npz")
    assert code == 2 and "a classifier cannot sample" in err
    code, _, err = course("reconstruct", "pretrained:classifier/mnist", "--out", tmp_path / "x.png")
    assert code == 2 and "expected a vae, got a classifier" in err
    assert list(tmp_path.glob("x.*")) == []


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ([], ["the following arguments are required: COMMAND", "course --help"]),
        (["trian"], ["invalid choice: 'trian'", "train"]),
        (["train"], ["required: FAMILY", "course train --help"]),
        (["train", "gann"], ["unknown family 'gann'", "valid: classifier, dcgan, dcgan-broken"]),
        (
            ["train", "vae", "--budget", "huge"],
            ["unknown budget 'huge'", "valid: gpu, laptop, smoke"],
        ),
        (["train", "vae", "--seed", "x"], ["--seed", "invalid int value: 'x'"]),
        (["train", "vae", "--seed", "-1"], ["seed: expected 0 or more, got -1"]),
        (
            ["train", "vae", "--set", "model.latentdim=3"],
            ["'model.latentdim'", "model.beta, ", "Did you mean 'model.latent_dim'?"],
        ),
        (
            ["train", "vae", "--set", "model.latent_dim=-3"],
            ["latent_dim: expected at least 1, got -3"],
        ),
        (
            ["train", "vae", "--set", "model.latent_dim=big"],
            ["model.latent_dim: expected a whole number, got 'big'"],
        ),
        (
            ["train", "vae", "--set", "model.latent_dim"],
            ["expected name=value, got 'model.latent_dim'"],
        ),
        (["train", "vae", "--set", "seed=1", "--set", "seed=2"], ["seed is set twice"]),
        (
            ["train", "vae", "--dataset", "cifar"],
            [
                "unknown dataset 'cifar'",
                "valid: auto, captions, captions:scenes, fashion, folder:PATH, mnist",
            ],
        ),
        (
            ["train", "vae", "--dataset", "folder:nowhere"],
            ["folder:nowhere: there is no such folder"],
        ),
        (
            ["train", "vae", "--dataset", "mnist", "--image-size", "32"],
            ["image_size: mnist has 28 by 28 pixels, got 32"],
        ),
        (["sample", "nowhere", "--out", "x.npz"], ["nowhere: there is no such run directory"]),
        (["sample", "nowhere"], ["required: --out"]),
        (
            ["sample", "nowhere", "--out", "x.jpg"],
            ["--out: expected a name that ends in .npz or .png, got x.jpg"],
        ),
        (
            ["sample", "nowhere", "--out", "x.npz", "--seed", "-1"],
            ["--seed: expected 0 or more, got -1"],
        ),
        (
            ["sample", "pretrained:nothing/here", "--out", "x.npz"],
            ["unknown pretrained run 'nothing-here'"],
        ),
        (["reconstruct", "nowhere", "--out", "x.png"], ["nowhere: there is no such run directory"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_a_wrong_command_is_answered_by_one_line_and_exit_code_2(
    course, idx_folder, tmp_path, monkeypatch, arguments, fragments
):
    monkeypatch.chdir(tmp_path)
    code, out, err = course(*arguments)
    assert code == 2 and out == "" and err.startswith("course") and err.count("\n") == 1, err
    assert all(fragment in err for fragment in fragments), err
    assert "Traceback" not in err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("num", [0, -2])
def test_sample_refuses_numbers_that_are_no_counts(course, trained, tmp_path, num):
    code, _, err = course("sample", trained, "--num", num, "--out", tmp_path / "x.npz")
    assert (
        code == 2
        and f"expected a whole number of at least 1, got {num}" in err
        and not (tmp_path / "x.npz").exists()
    )


def test_version(course):
    from course_utils import __version__

    assert course("--version")[:2] == (0, f"course {__version__}\n")


def test_a_run_on_own_pictures_is_used_from_anywhere(course, tmp_path, monkeypatch):
    write_pictures(tmp_path / "me" / "pets", num_each=15)
    monkeypatch.chdir(tmp_path / "me")
    small = ["--set", "model.hidden_dims=[16]", "--out", tmp_path / "run"]
    assert course("train", "vae", "--dataset", "folder:pets", "--image-size", 16, *small)[0] == 0
    monkeypatch.chdir("/")
    again = ["reconstruct", tmp_path / "run", "--out"]
    assert course(*again, tmp_path / "first.png")[0] == 0
    (tmp_path / "me" / "pets").rename(tmp_path / "moved")
    code, _, err = course(*again, tmp_path / "second.png")
    assert code == 2 and f"expected your pictures in {tmp_path / 'me' / 'pets'}" in err
    assert course(*again, tmp_path / "second.png", "--data", tmp_path / "moved")[0] == 0
    first, second = (tmp_path / f"{name}.png" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_a_relative_folder_in_the_environment_becomes_absolute(course, tmp_path, monkeypatch):
    """Notebooks run in a folder of their own."""
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_DATASET", "folder:pets")
    assert course("train", "vae", "--settings")[0] == 0
    assert os.environ["COURSE_DATASET"] == f"folder:{tmp_path / 'pets'}"


@pytest.mark.parametrize(
    "arguments",
    [["train", "vae", "--out", ""], ["homework", "new", " "], ["sample", "x", "--out", ""]],
)
def test_an_empty_path_is_not_the_working_directory(course, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, _, err = course(*arguments)
    assert code == 2 and "expected a path, got an empty one" in err
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long_is_one_line(course, idx_folder, tmp_path):
    code, _, err = course("train", "vae", *SMALL, "--out", tmp_path / ("x" * 300))
    assert code == 2 and "this name is too long; choose another" in err and err.count("\n") == 1


def test_endings_in_capitals_are_endings(course, tmp_path):
    code, _, _ = course("sample", "pretrained:vae/strokes", "--num", 3, "--out", tmp_path / "A.NPZ")
    assert code == 0
    assert np.load(tmp_path / "A.NPZ")["images"].shape == (3, 1, 28, 28)
