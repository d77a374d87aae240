"""`course new-notebooks` and `course update`: what lies in the learner's folder afterwards, and
that no edit and no output is lost.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from course_utils.base.files import FIRST_NOTEBOOK, course_root, handout_root
from course_utils.cli import course_files
from course_utils.cli.course_files import MANIFEST, course_folder, files_of_course, hand_out
from course_utils.cli.main import main

NOTEBOOK = "notebooks/04_vae.ipynb"


def notebook(source: str, output: str = "as shipped") -> str:
    """The text of a notebook with a heading and one code cell that has run."""
    printed = {"output_type": "stream", "name": "stdout", "text": [output]}
    code = {"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": [printed]}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Title\n", "text"]},
        {**code, "source": source},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def course(tmp_path, monkeypatch):
    """The installed course: a folder to write newer versions of its files to."""
    root = tmp_path / "site-packages" / "handout"
    files = {
        FIRST_NOTEBOOK: notebook("start"),
        NOTEBOOK: notebook("old"),
        "notebooks/glossary.md": "words",
        "homework/vae.ipynb": notebook("plan"),
        "README.md": "about",
    }
    monkeypatch.setattr(course_files, "handout_root", lambda: root)
    monkeypatch.setattr(course_files, "course_root", lambda: tmp_path / "home")

    def write(name: str, text: str) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")

    for name, text in files.items():
        write(name, text)
    return write


@pytest.fixture
def mine(course, tmp_path):
    """A learner's folder, as it was handed out."""
    hand_out(tmp_path / "mine")
    return tmp_path / "mine"


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def everything(folder: Path) -> dict[str, str]:
    """All files of a folder but the manifest."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): text_of(path) for path in files}


def update(folder: Path, capsys, *options: str) -> str:
    """Runs the command and returns what it printed."""
    capsys.readouterr()
    assert main(["update", str(folder), *options]) == 0
    return capsys.readouterr().out


def refusal(capsys, *words: object) -> str:
    """The one line of a command that is refused."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_new_notebooks_are_copies_of_all_that_is_handed_out(course, tmp_path, capsys):
    assert main(["new-notebooks", str(tmp_path / "mine")]) == 0
    assert "5 files" in capsys.readouterr().out
    assert everything(tmp_path / "mine") == everything(tmp_path / "site-packages" / "handout")
    about = json.loads(text_of(tmp_path / "mine" / MANIFEST))
    assert set(about["files"]) == set(everything(tmp_path / "mine"))


def test_without_a_folder_they_go_where_runs_and_data_of_an_installed_course_lie(course, tmp_path):
    (tmp_path / "home" / "runs" / "vae").mkdir(parents=True)
    (tmp_path / "home" / "data" / "cache").mkdir(parents=True)
    assert main(["new-notebooks"]) == 0
    assert (tmp_path / "home" / FIRST_NOTEBOOK).is_file()


@pytest.mark.parametrize("name", ["thesis.txt", "notebooks/mine.ipynb", "homework/mine/plan.json"])
def test_a_folder_with_anything_else_is_refused_and_stays_as_it_was(name, course, tmp_path, capsys):
    (tmp_path / "mine" / name).parent.mkdir(parents=True)
    (tmp_path / "mine" / name).write_text("own work", encoding="utf-8")
    line = refusal(capsys, "new-notebooks", tmp_path / "mine")
    assert f"got one that holds {name}; choose another" in line
    assert everything(tmp_path / "mine") == {name: "own work"}


def test_a_file_of_the_same_name_is_not_overwritten(course, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("own work", encoding="utf-8")
    assert "holds README.md" in refusal(capsys, "new-notebooks", tmp_path / "mine")
    assert everything(tmp_path / "mine") == {"README.md": "own work"}
    (tmp_path / "file").write_text("own work", encoding="utf-8")
    assert "no folder but a file" in refusal(capsys, "new-notebooks", tmp_path / "file")


def test_a_second_time_it_points_to_update(mine, capsys):
    (mine / NOTEBOOK).write_text("own work", encoding="utf-8")
    assert f"`course update {mine}`" in refusal(capsys, "new-notebooks", mine)
    assert text_of(mine / NOTEBOOK) == "own work"


def test_a_copy_that_was_cut_off_is_completed(mine, tmp_path):
    whole = everything(mine)
    (mine / MANIFEST).unlink()
    (mine / NOTEBOOK).unlink()
    hand_out(mine)
    assert everything(mine) == whole and (mine / MANIFEST).is_file()


def test_what_was_left_as_it_was_is_replaced(course, mine, capsys):
    course(NOTEBOOK, notebook("new"))
    course("notebooks/glossary.md", "more words")
    out = update(mine, capsys)
    assert text_of(mine / NOTEBOOK) == notebook("new")
    assert text_of(mine / "notebooks/glossary.md") == "more words"
    assert "2 renewed" in out and len(everything(mine)) == 5
    assert "nothing to do" in update(mine, capsys)


def test_beside_an_edited_notebook_comes_the_newer_one(course, mine, capsys):
    edited = notebook("my solution")
    (mine / NOTEBOOK).write_text(edited, encoding="utf-8")
    course(NOTEBOOK, notebook("new"))
    out = update(mine, capsys)
    assert text_of(mine / NOTEBOOK) == edited
    assert text_of(mine / "notebooks/04_vae.new.ipynb") == notebook("new")
    assert "notebooks/04_vae.ipynb: you edited it" in out and "04_vae.new.ipynb" in out
    assert "nothing to do" in update(mine, capsys)


def test_a_newer_one_that_the_learner_works_in_is_never_overwritten(course, mine, capsys):
    (mine / NOTEBOOK).write_text(notebook("my solution"), encoding="utf-8")
    course(NOTEBOOK, notebook("new"))
    update(mine, capsys)
    (mine / "notebooks/04_vae.new.ipynb").write_text(notebook("new and mine"), encoding="utf-8")
    course(NOTEBOOK, notebook("newest"))
    update(mine, capsys)
    found = everything(mine)
    assert found[NOTEBOOK] == notebook("my solution")
    assert found["notebooks/04_vae.new.ipynb"] == notebook("new and mine")
    assert found["notebooks/04_vae.new-2.ipynb"] == notebook("newest")


def test_a_newer_one_that_nobody_touched_is_replaced_by_the_newest(course, mine, capsys):
    (mine / NOTEBOOK).write_text(notebook("my solution"), encoding="utf-8")
    for version in ("new", "newest"):
        course(NOTEBOOK, notebook(version))
        update(mine, capsys)
    assert text_of(mine / "notebooks/04_vae.new.ipynb") == notebook("newest")
    assert len(everything(mine)) == 6


def test_edited_while_the_course_has_nothing_newer_means_nothing_to_do(course, mine, capsys):
    (mine / NOTEBOOK).write_text(notebook("my solution"), encoding="utf-8")
    (mine / "README.md").write_text("my notes", encoding="utf-8")
    course(NOTEBOOK, notebook("old", output="run again by the author"))
    before = everything(mine)
    assert "nothing to do" in update(mine, capsys)
    assert everything(mine) == before


def test_a_notebook_that_was_only_run_is_renewed_and_its_outputs_are_kept(course, mine, capsys):
    was_run = notebook("old", output="my own picture")
    (mine / NOTEBOOK).write_text(was_run, encoding="utf-8")
    course(NOTEBOOK, notebook("new"))
    out = update(mine, capsys)
    assert text_of(mine / NOTEBOOK) == notebook("new")
    assert text_of(mine / "notebooks/04_vae.old.ipynb") == was_run
    assert "04_vae.old.ipynb" in out


def test_outputs_alone_are_no_news_for_who_has_run_it(course, mine, capsys):
    was_run = notebook("old", output="my own picture")
    (mine / NOTEBOOK).write_text(was_run, encoding="utf-8")
    course(NOTEBOOK, notebook("old", output="run again by the author"))
    assert "nothing to do" in update(mine, capsys)
    assert text_of(mine / NOTEBOOK) == was_run


def test_a_source_in_lines_and_one_in_a_string_are_equal(course, mine, capsys):
    cells = json.loads(notebook("old"))
    cells["cells"][0]["source"] = "# Title\ntext"  # as another editor saves it
    (mine / NOTEBOOK).write_text(json.dumps(cells, indent=1), encoding="utf-8")
    course(NOTEBOOK, notebook("new"))
    update(mine, capsys)
    assert text_of(mine / NOTEBOOK) == notebook("new")


@pytest.mark.parametrize("damage", ["", "<<<<<<< HEAD", "[]", '{"cells": [1]}', "\ufeff{"])
def test_a_damaged_notebook_counts_as_edited(damage, course, mine, capsys):
    (mine / NOTEBOOK).write_text(damage, encoding="utf-8")
    course(NOTEBOOK, notebook("new"))
    update(mine, capsys)
    assert text_of(mine / NOTEBOOK) == damage
    assert text_of(mine / "notebooks/04_vae.new.ipynb") == notebook("new")


def test_what_was_deleted_stays_away_until_it_is_asked_for(course, mine, capsys):
    (mine / NOTEBOOK).unlink()
    course(NOTEBOOK, notebook("new"))
    for _ in range(2):
        assert "1 deleted by you and not brought back" in update(mine, capsys)
        assert not (mine / NOTEBOOK).exists()
    assert "1 restored" in update(mine, capsys, "--restore")
    assert text_of(mine / NOTEBOOK) == notebook("new")


def test_what_is_new_in_the_course_is_added_but_not_over_an_own_file(course, mine, capsys):
    course("notebooks/10_flows.ipynb", notebook("flows"))
    course("notebooks/11_mine.ipynb", notebook("theirs"))
    (mine / "notebooks/11_mine.ipynb").write_text("own work", encoding="utf-8")
    assert "1 added" in update(mine, capsys)
    found = everything(mine)
    assert found["notebooks/10_flows.ipynb"] == notebook("flows")
    assert found["notebooks/11_mine.ipynb"] == "own work"
    assert found["notebooks/11_mine.new.ipynb"] == notebook("theirs")


def test_a_folder_in_the_place_of_a_file_stays(course, mine, capsys):
    (mine / "README.md").unlink()
    (mine / "README.md").mkdir()
    course("README.md", "news")
    assert "is no file here" in update(mine, capsys)
    assert (mine / "README.md").is_dir() and text_of(mine / "README.new.md") == "news"


def test_what_left_the_course_stays_with_the_learner(course, mine, tmp_path, capsys):
    (tmp_path / "site-packages/handout" / NOTEBOOK).unlink()
    assert "no longer part of the course; yours stays" in update(mine, capsys)
    assert text_of(mine / NOTEBOOK) == notebook("old")
    assert "nothing to do" in update(mine, capsys)


def test_stopped_before_its_end_an_update_called_again_ends_the_same(
    course, mine, monkeypatch, capsys
):
    (mine / NOTEBOOK).write_text(notebook("my solution"), encoding="utf-8")
    (mine / "homework/vae.ipynb").write_text(notebook("plan", "my output"), encoding="utf-8")
    for name in (NOTEBOOK, "homework/vae.ipynb", "README.md"):
        course(name, notebook("new"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(course_files, "_write_manifest", killed)
        assert main(["update", str(mine)]) == 130
    after_the_stop = everything(mine)
    update(mine, capsys)
    assert everything(mine) == after_the_stop
    assert after_the_stop[NOTEBOOK] == notebook("my solution")
    assert after_the_stop["notebooks/04_vae.new.ipynb"] == notebook("new")
    assert after_the_stop["homework/vae.old.ipynb"] == notebook("plan", "my output")
    assert len(after_the_stop) == 7


def test_an_older_course_does_not_replace_a_newer_one(mine, capsys):
    about = json.loads(text_of(mine / MANIFEST))
    (mine / MANIFEST).write_text(json.dumps({**about, "version": "999.10.0"}), encoding="utf-8")
    assert "holds the notebooks of course 999.10.0" in refusal(capsys, "update", mine)


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"version": "0.1", "files": {"a": 1}}'])
def test_a_damaged_manifest_is_named(text, mine, capsys):
    (mine / MANIFEST).write_text(text, encoding="utf-8")
    assert MANIFEST in refusal(capsys, "update", mine)


def test_a_folder_of_others_and_a_checkout_are_refused(tmp_path, capsys):
    line = refusal(capsys, "update", tmp_path)
    assert f"got one without {MANIFEST}" in line and "`course new-notebooks DIR`" in line
    line = refusal(capsys, "update", course_root())
    assert "is a checkout of the course" in line and "`git pull`" in line


def test_the_folder_is_found_from_inside_it(mine, course, tmp_path, monkeypatch, capsys):
    course(NOTEBOOK, notebook("new"))
    monkeypatch.chdir(mine / "notebooks")
    assert main(["update"]) == 0
    assert text_of(mine / NOTEBOOK) == notebook("new")
    monkeypatch.chdir(tmp_path)
    assert course_folder() == tmp_path / "home"


def test_lab_opens_the_learners_copy_or_says_how_to_make_one(mine, tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr("subprocess.call", lambda words, cwd: calls.append((words[1:], cwd)) or 0)
    monkeypatch.chdir(mine / "homework")
    assert main(["lab"]) == 0
    assert calls == [(["-m", "jupyterlab", str(mine / FIRST_NOTEBOOK)], mine)]
    monkeypatch.chdir(tmp_path)
    assert "`course new-notebooks DIR`" in refusal(capsys, "lab")


def test_lab_in_a_checkout_opens_the_checkout_though_the_package_is_installed(course, monkeypatch):
    calls = []
    monkeypatch.setattr("subprocess.call", lambda words, cwd: calls.append(cwd) or 0)
    monkeypatch.chdir(course_root() / "homework")
    assert main(["lab"]) == 0 and calls == [course_root()]


def test_every_link_of_what_is_handed_out_leads_somewhere():
    files = files_of_course(handout_root())
    assert {FIRST_NOTEBOOK, "homework/vae.ipynb", "notebooks/glossary.md", "README.md"} <= set(
        files
    )
    broken = []
    for name, path in files.items():
        if path.suffix not in (".md", ".ipynb"):
            continue
        for link in re.findall(r"\]\(([\w./-]+)[)#]", text_of(path)):
            if (path.parent / link).resolve() not in files.values():
                broken.append((name, link))
    assert broken == []
