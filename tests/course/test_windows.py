"""What goes wrong on Windows only, and can be seen on any system: names that it refuses, its paths,
its encodings, and documented lines that its shells read differently.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pytest

import course_utils.data as data
from course_utils.cli.course_files import files_of_course
from course_utils.training.runs import default_folder

PROJECT = Path(__file__).resolve().parent.parent.parent
PAGES = ["README.md", "homework/README.md", "data/README.md", "docs/architecture.md"]
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"}
DEVICES |= {f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"}
MAX_PATH = (
    200  # of 260, so that a folder such as C:\\Users\\name\\Documents\\course\\ fits before it
)


def text_of(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def trouble(name: str) -> str:
    """Returns why Windows cannot have a file of this name, with forward slashes; "" if it can."""
    for part in name.split("/"):
        if re.search(r'[<>:"\\|?*\x00-\x1f]', part):
            return f"{name}: a character that is not allowed"
        if part.endswith((".", " ")):
            return f"{name}: ends in a dot or a space"
        if part.split(".")[0].rstrip(" ").lower() in DEVICES:
            return f"{name}: the name of a device"
    return f"{name}: longer than {MAX_PATH}" if len(name) > MAX_PATH else ""


def test_what_windows_refuses_is_known():
    for name in ("a/b:c", "a?.md", "x/aux.py", "NUL", "com1.txt", "end.", "x /y", "n" * 201):
        assert trouble(name), name
    for name in ("notebooks/04_vae.new.ipynb", ".ci/run", "auxiliary.py", "console/main.py"):
        assert trouble(name) == "", name


def test_every_file_of_the_repository_can_exist_on_windows():
    if not (PROJECT / ".git").exists():
        pytest.skip("needs the git repository, which lists its files")
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=PROJECT, capture_output=True, check=True).stdout
    names = listed.decode("utf-8").split("\0")
    assert len(names) > 300
    assert [found for found in map(trouble, names) if found] == []
    cases = Counter(name.casefold() for name in names)
    assert [name for name, number in cases.items() if number > 1] == []


@pytest.mark.parametrize("key", ["strokes-colour", "folder:0123456789ab"])
def test_a_run_folder_can_exist_on_windows(key, tiny_vae, dataset):
    name = default_folder(replace(tiny_vae, dataset=key), dataset).name
    assert trouble(name) == "" and PureWindowsPath(name).name == name


@pytest.mark.parametrize(
    "place", ["C:\\Users\\me\\My pictures", "C:/Users/me/pictures", "\\\\server\\share\\pictures"]
)
def test_the_drive_of_a_folder_of_pictures_is_part_of_its_path(place, monkeypatch):
    asked = []

    def loaded(path: str, image_size: int) -> None:
        asked.append((str(path), image_size))

    monkeypatch.setattr(data, "load_folder", loaded)
    data.check_name(f"folder:{place}")
    data._load(f"folder:{place}", 32)
    assert asked == [(place, 32)]


def test_names_of_handed_out_files_have_forward_slashes():
    """They are keys of a file that may travel between systems."""
    names = list(files_of_course(PROJECT))
    assert "homework/vae.ipynb" in names and not [name for name in names if "\\" in name]


def blocks(page: str) -> list[str]:
    """The commands of a page: all lines of blocks without a language that are not part of make."""
    found = re.findall(r"^ *```\n(.*?)^ *```", text_of(page), flags=re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in found for line in block.splitlines()]
    return [line for line in lines if re.match(r"(course|uv|conda|pip|python|cd) ", line)]


@pytest.mark.parametrize("page", PAGES)
def test_documented_commands_mean_the_same_in_powershell(page):
    for line in blocks(page):
        command = line.split("  #")[0]
        assert "'" not in command, f"single quotes are no quotes in cmd: {line}"
        assert not re.search(r"&&|\|\||\$|`|\\|~", command), f"another meaning there: {line}"
        assert not re.search(r"\[\w+\](?!\")", command), f"extras stand in double quotes: {line}"


def test_the_lines_without_make_are_there_and_hold_no_comment():
    readme = text_of("README.md")
    block = re.search(r"\*\*Without make\*\*.*?```\n(.*?)```", readme, flags=re.DOTALL)[1]
    assert block.splitlines() == [
        "uv venv",
        'uv pip install --constraint constraints.txt --editable ".[test]"',
        "uv run --no-sync course lab",
    ]


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_a_variable_before_a_command_is_given_for_powershell_too(page):
    """`NAME=value command` is a syntax of Unix shells. What make runs needs one anyway."""
    for paragraph in re.split(r"\n\n|\n- ", text_of(page)):
        if re.search(r"(?:^|`)[A-Z_]+=[^\s`]+ (?!make\b)[a-z]", paragraph, flags=re.MULTILINE):
            assert "$env:" in paragraph, f"{page}: {paragraph}"


def calls(*folders: str):
    """Yields `(place, call)` of every call in the Python files of the folders."""
    for folder in folders:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield f"{path.relative_to(PROJECT).as_posix()}:{node.lineno}", node


CODE = ("course_utils", "tools", "atoms", "benchmarks")


def opens_text(call: ast.Call) -> bool:
    """Whether a call opens a text file by `open`, `Path.open`, `Path.read_text` or
    `Path.write_text`, and not one of another object's methods that are called `open`.
    """
    if isinstance(call.func, ast.Name):
        mode = call.args[1] if len(call.args) > 1 else None
        is_open = call.func.id == "open"
    elif isinstance(call.func, ast.Attribute):
        if call.func.attr in ("read_text", "write_text"):
            return True
        mode = call.args[0] if call.args else None
        is_mode = isinstance(mode, ast.Constant) and re.fullmatch(r"[rwaxbt+]+", str(mode.value))
        is_open = call.func.attr == "open" and (mode is None or bool(is_mode))
    else:
        return False
    mode = next((word.value for word in call.keywords if word.arg == "mode"), mode)
    return is_open and not (isinstance(mode, ast.Constant) and "b" in str(mode.value))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("open(path)", True),
        ("open(path, 'a')", True),
        ("path.open()", True),
        ("path.read_text()", True),
        ("open(path, 'rb')", False),
        ("path.open(mode='wb')", False),
        ("Image.open(stream)", False),
        ("write_text(path, text)", False),
    ],
)
def test_calls_that_open_text_are_recognised(code, expected):
    assert opens_text(ast.parse(code, mode="eval").body) is expected


def test_every_text_file_is_opened_with_its_encoding():
    """Without one, Windows takes cp1252 and Linux UTF-8."""
    bare = [
        place
        for place, call in calls(*CODE)
        if opens_text(call) and "encoding" not in {word.arg for word in call.keywords}
    ]
    assert bare == []


def test_no_command_goes_through_a_shell():
    """Quoting differs between shells, so processes get lists of words."""
    found = []
    for place, call in calls(*CODE):
        name = ast.unparse(call.func)
        shell = "shell" in {word.arg for word in call.keywords}
        if name in ("os.system", "os.popen") or (name.startswith("subprocess.") and shell):
            found.append(place)
        if name.startswith("subprocess.") and call.args:
            if isinstance(call.args[0], (ast.Constant, ast.JoinedStr)):
                found.append(place)
    assert found == []


def test_text_files_keep_their_line_ends_in_a_checkout_on_windows():
    """Scripts with carriage returns do not run, and hashes of files would differ."""
    assert text_of(".gitattributes").splitlines()[1] == "* text=auto eol=lf"
