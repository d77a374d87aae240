"""`course recover`: the sheet that it writes, what it prints, and its answers to wrong commands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from materials import RECORD_VALUES, make_dataset
from PIL import Image

from course_utils.base.device import make_rng
from course_utils.base.images import signed_to_uint8, uint8_to_signed
from course_utils.cli.main import main
from course_utils.data import load_dataset
from course_utils.inverse.problems import make_problem
from course_utils.models.gaussian import fit_class_gaussians
from course_utils.training.history import History
from course_utils.training.presets import preset
from course_utils.training.registry import build
from course_utils.training.runs import save_run


@pytest.fixture
def course(capsys):
    """Runs one command; returns exit code, what it printed, and its one line of complaint."""

    def call(*arguments: object):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def saved(idx_folder, tmp_path):
    """Folders of a fitted Gaussian and of an untrained classifier, both of 28 x 28 blobs."""
    data = make_dataset(num_train=200, num_test=50)
    folders = {}
    for family in ("gaussian", "classifier"):
        experiment = preset(family, "smoke").fitted_to(data)
        model = build(experiment.model)
        if family == "gaussian":
            model.load_state_dict(
                fit_class_gaussians(data.train_images, data.train_labels, 4).state_dict()
            )
        folders[family] = tmp_path / family
        save_run(folders[family], model, experiment, History(), RECORD_VALUES)
    return folders


def test_it_writes_a_row_an_image_and_says_how_good_the_solutions_are(course, saved, tmp_path):
    out = tmp_path / "sheet.png"
    arguments = [
        "--problem",
        "inpaint-half",
        "--dataset",
        "mnist",
        "--num",
        4,
        "--samples",
        3,
        "--seed",
        5,
        "--out",
        out,
    ]
    code, printed, err = course("recover", saved["gaussian"], *arguments)
    assert (code, err) == (0, "")
    assert "inpaint-half by exact; columns: image, measured, mean, 3 solutions" in printed
    for name in ("PSNR of the mean: ", "SSIM: ", "pixel std: ", "misfit: "):
        assert name in printed and "±" in printed
    with Image.open(out) as sheet:
        assert sheet.size == (3 * (6 * 30 + 2), 3 * (4 * 30 + 2))
        pixels = torch.from_numpy(np.array(sheet)[::3, ::3].copy())
    truths = load_dataset("mnist", verbose=False).subset(num_test=4, seed=5).test_images
    problem = make_problem("inpaint-half", (1, 28, 28))
    shown = signed_to_uint8(problem.shown(problem.measure(uint8_to_signed(truths), make_rng(5, 6))))
    for row in range(4):
        cells = [
            pixels[2 + 30 * row : 30 + 30 * row, 2 + 30 * column : 30 + 30 * column]
            for column in range(6)
        ]
        assert torch.equal(cells[0], truths[row, 0]) and torch.equal(cells[1], shown[row, 0])
        assert (cells[2].double() - torch.stack(cells[3:]).double().mean(0)).abs().max() <= 1
        assert not torch.equal(cells[3], cells[4])
    assert course("recover", saved["gaussian"], *arguments)[1] == printed


WRONG = [
    (["--problem", "inpaint"], ["unknown problem 'inpaint'", "inpaint-half"]),
    (
        ["--problem", "denoise", "--method", "dps"],
        ["method 'dps': needs a diffusion, got a gaussian, which has exact"],
    ),
    (
        ["--problem", "denoise", "--method", "x"],
        ["unknown method for a gaussian 'x'; valid: exact"],
    ),
    (["--problem", "colourise"], ["problem 'colourise'", "3 colour channels"]),
    (["--problem", "denoise", "--noise-std", "0"], ["noise_std: expected more than 0, got 0.0"]),
    (["--problem", "denoise", "--num", "1"], ["--num: expected at least 2, got 1"]),
    (
        ["--problem", "denoise", "--num", "51"],
        ["--num: expected at most the 50 test images of mnist, got 51"],
    ),
    (["--problem", "denoise", "--samples", "0"], ["--samples: expected at least 1, got 0"]),
    (["--problem", "denoise", "--seed", "-1"], ["--seed: expected at least 0, got -1"]),
    (["--problem", "denoise", "--dataset", "cifar"], ["unknown dataset 'cifar'"]),
    ([], ["the following arguments are required: --problem"]),
]


@pytest.mark.parametrize(("arguments", "fragments"), WRONG, ids=lambda value: " ".join(value)[:50])
def test_a_wrong_command_is_answered_by_one_line(course, saved, tmp_path, arguments, fragments):
    out = tmp_path / "sheet.png"
    dataset = [] if "--dataset" in arguments else ["--dataset", "mnist"]
    code, _, err = course("recover", saved["gaussian"], *arguments, *dataset, "--out", out)
    assert (
        code == 2
        and err.count("\n") == 1
        and err.startswith("course recover: ")
        and "Traceback" not in err
    )
    assert all(fragment in err for fragment in fragments), err
    assert not out.exists()


def test_sources_and_files_of_another_kind_are_refused(course, saved, tmp_path):
    code, _, err = course(
        "recover",
        saved["classifier"],
        "--problem",
        "denoise",
        "--dataset",
        "mnist",
        "--out",
        tmp_path / "x.png",
    )
    assert code == 2 and "a classifier solves no inverse problem" in err
    code, _, err = course(
        "recover", saved["gaussian"], "--problem", "denoise", "--out", tmp_path / "x.jpg"
    )
    assert code == 2 and "--out: expected a name that ends in .png" in err
    code, _, err = course(
        "recover", tmp_path / "nowhere", "--problem", "denoise", "--out", tmp_path / "x.png"
    )
    assert code == 2 and "there is no such run directory" in err
