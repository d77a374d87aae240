"""`course train FAMILY --settings`: the table of every setting."""

from __future__ import annotations

import pytest

from course_utils.base.config import flatten, setting_rows
from course_utils.cli.main import main
from course_utils.training.presets import preset
from course_utils.training.registry import REGISTRY

WIDTH = 130  # characters of the terminal


@pytest.fixture
def printed(capsys, monkeypatch):
    """Returns the lines that a command prints in a terminal of `WIDTH` characters."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))

    def lines(*arguments: str) -> list[str]:
        assert main(arguments) == 0
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.mark.parametrize("family", REGISTRY)
def test_the_table_has_a_row_for_each_setting(family, printed):
    lines = printed("train", family, "--budget", "laptop", "--settings")
    experiment = preset(family, "laptop")
    names = [line.split()[0] for line in lines if not line.startswith(" ")]
    settings = [name for name in flatten(experiment) if name.startswith(("model.", "train."))]
    assert names == ["setting", *settings]
    assert lines[0].split() == ["setting", "default", "range", "meaning"]
    assert max(map(len, lines)) <= WIDTH

    words = " ".join(lines).split()
    for row in setting_rows(experiment.model) + setting_rows(experiment.train):
        assert set(f"{row['default']} {row['range']} {row['meaning']}".split()) <= set(words)


def test_defaults_are_those_of_the_variant_and_the_budget(printed):
    def default(name: str, *arguments: str) -> str:
        lines = printed("train", *arguments, "--settings")
        return next(line.split()[1] for line in lines if line.startswith(name))

    num_epochs = preset("vae", "gpu").train.num_epochs
    assert default("model.latent_dim", "vae-binary") == "40"
    assert default("train.num_epochs", "vae", "--budget", "gpu") == str(num_epochs)


def test_an_unknown_family_lists_all(capsys):
    assert main(["train", "vea", "--settings"]) == 2
    assert "Did you mean 'vae'?" in capsys.readouterr().err


def test_the_help_names_the_table(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "--settings" in capsys.readouterr().out
