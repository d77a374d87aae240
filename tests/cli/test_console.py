"""The `course` command on consoles that lack characters, in pipes that close, and stopped early."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest

from course_utils.base.errors import CourseError
from course_utils.cli import main as module
from course_utils.cli.main import main

COURSE = [sys.executable, "-m", "course_utils.cli"]
# A command that prints more than any buffer holds, without the heavy imports of a real one.
LONG = [
    sys.executable,
    "-c",
    "import sys; from course_utils.cli import main as module\n"
    "module._doctor = lambda _: [print('line', i) for i in range(20_000)] and 0\n"
    "sys.exit(module.main(['doctor']))",
]


def patched(monkeypatch, run):
    """Puts a function in the place of `course doctor`."""
    monkeypatch.setattr(module, "_doctor", run)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_character_that_the_console_lacks_becomes_a_question_mark(monkeypatch, encoding, stream):
    written = io.BytesIO()
    monkeypatch.setattr(sys, stream, io.TextIOWrapper(written, encoding))

    def run(_):
        print("Zoe 王伟 ± 1")
        raise CourseError("王伟: no such student ±")

    patched(monkeypatch, run)
    assert main(["doctor"]) == 2
    sign = "?" if encoding == "ascii" else "±"
    expected = {
        "stdout": f"Zoe ?? {sign} 1",
        "stderr": f"course doctor: ??: no such student {sign}",
    }
    assert written.getvalue().decode(encoding).strip() == expected[stream]


def test_a_console_of_utf_8_keeps_every_character(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "utf-8"))
    patched(monkeypatch, lambda _: print("王 ± \udc80"))
    main(["doctor"])
    assert written.getvalue().decode() == "王 ± ?\n"


def closed_pipe():
    """The writing end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        (LONG, ""),
        (LONG, "1"),
        ([*COURSE, "--help"], ""),
        ([*COURSE, "homework", "new", "--help"], "1"),
    ],
    ids=["long", "long, unbuffered", "help", "help, unbuffered"],
)
def test_a_pipe_that_closes_ends_the_command_quietly(command, unbuffered):
    output = closed_pipe()
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    process = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, env=environment)
    os.close(output)
    swallowed = unbuffered and "--help" in command  # argparse passes over it
    assert process.returncode == (0 if swallowed else 141) and process.stderr == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", [LONG, [*COURSE, "--help"]], ids=["long", "help"])
def test_output_to_a_full_disk_is_one_line(command):
    with open("/dev/full", "w") as full:
        environment = {**os.environ, "PYTHONUNBUFFERED": ""}
        process = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert process.returncode == 2 and process.stderr.count("\n") == 1
    assert "cannot print its output: No space left on device" in process.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a shell of Unix")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_are_closed_stop_nothing(closed):
    code = (
        "import sys; from course_utils.cli import main as m; from tqdm.auto import tqdm\n"
        "m._doctor = lambda _: [print('out'), list(tqdm(range(3)))] and 7\n"
        "sys.exit(m.main(['doctor']))"
    )
    process = subprocess.run(["/bin/sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code])
    assert process.returncode == 7


@pytest.fixture
def interruptible():
    """A job in the background is started with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_an_import_turned_into_its_own_error_is_one(
    interruptible, monkeypatch, capsys
):
    def run(_):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("half imported") from error

    patched(monkeypatch, run)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "course doctor: stopped.\n"


def test_an_error_of_its_own_is_not_hidden(monkeypatch):
    def run(_):
        raise ImportError("a fault")

    patched(monkeypatch, run)
    with pytest.raises(ImportError, match="a fault"):
        main(["doctor"])
