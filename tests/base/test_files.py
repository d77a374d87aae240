"""Files on odd file systems, from other editors and by several processes at once."""

from __future__ import annotations

import errno
import json
import os
import platform
import stat
import subprocess
import sys
import threading
import time

import pytest

from course_utils.base import files
from course_utils.base.errors import CourseError
from course_utils.base.files import (
    atomic_path,
    decode_text,
    locked,
    read_json,
    read_jsonl,
    read_text,
    save_tensors,
    write_text,
)

GONE = 2**22 + 1  # larger than the number of any process


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Writing


@pytest.mark.parametrize("function", ["chmod", "fsync"])
def test_file_systems_without_modes_or_syncing(tmp_path, monkeypatch, function):
    def refuse(*_, **__):
        number = errno.EPERM if function == "chmod" else errno.EINVAL
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, function, refuse)
    save_tensors(tmp_path / "weights.safetensors", {})
    write_text(tmp_path / "file.txt", "written")
    assert read_text(tmp_path / "file.txt") == "written"
    assert names(tmp_path) == ["file.txt", "weights.safetensors"]


def test_a_disk_that_fails_when_syncing_leaves_the_old_file(tmp_path, monkeypatch):
    write_text(tmp_path / "file.txt", "old")

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(CourseError, match="Input/output error; nothing was changed"):
        write_text(tmp_path / "file.txt", "new")
    assert (tmp_path / "file.txt").read_text() == "old" and names(tmp_path) == ["file.txt"]


def test_file_and_folder_are_synced_around_the_renaming(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def sync(handle):
        done.append(stat.S_ISDIR(os.fstat(handle).st_mode))
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", sync)
    monkeypatch.setattr(files.os, "replace", lambda *a: (done.append("rename"), replace(*a)))
    write_text(tmp_path / "file.txt", "text")
    assert done == [False, "rename", True]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_files_follow_the_umask_and_old_ones_keep_their_mode(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        for name in ("file.txt", "weights.safetensors"):
            save_tensors(tmp_path / name, {})
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
        (tmp_path / "file.txt").chmod(0o640)
        save_tensors(tmp_path / "file.txt", {})
        assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o640
    finally:
        os.umask(before)


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed_and_stays(tmp_path, exists):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "file.txt", tmp_path / "link.txt"
    if exists:
        target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert (
        link.is_symlink() and target.read_text() == "new" and names(target.parent) == ["file.txt"]
    )


@pytest.mark.parametrize("name", ["n" * 251 + ".txt", "é" * 125 + ".txt", "a." + "b" * 253])
def test_names_as_long_as_a_file_system_takes(tmp_path, name):
    write_text(tmp_path / name, "long")
    assert names(tmp_path) == [name] and (tmp_path / name).read_text() == "long"


def test_threads_that_write_one_file_do_not_collide(tmp_path):
    texts, errors = [str(number) * 10_000 for number in range(8)], []

    def write(text):
        try:
            for _ in range(5):
                write_text(tmp_path / "file.txt", text)
        except CourseError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and (tmp_path / "file.txt").read_text() in texts
    assert names(tmp_path) == ["file.txt"]


def test_what_a_killed_process_left_goes_and_what_others_write_stays(tmp_path):
    with atomic_path(tmp_path / "file.txt") as partial:
        own = partial.name
        dead = own.replace(f"-{os.getpid()}-", f"-{GONE}-")
        elsewhere = dead.replace(own.split(".")[2].split("-")[0], "abcdef")
        other_file = dead.replace(".file.", ".other.")
        for name in (dead, elsewhere, other_file):
            (tmp_path / name).write_text("half")
        partial.write_text("whole")
    assert names(tmp_path) == sorted([elsewhere, other_file, "file.txt"])


def test_a_program_that_has_the_file_open_is_waited_for(tmp_path, monkeypatch):
    """As on Windows, where a file that is being read cannot be replaced."""
    replace, refusals = os.replace, [1, 1]

    def refuse(*arguments):
        if refusals:
            refusals.pop()
            raise PermissionError(errno.EACCES, "Access is denied")
        replace(*arguments)

    monkeypatch.setattr(files.os, "replace", refuse)
    write_text(tmp_path / "file.txt", "new")
    assert (tmp_path / "file.txt").read_text() == "new"
    refusals[:] = [1] * 99
    monkeypatch.setattr(files.time, "sleep", lambda _: None)
    with pytest.raises(CourseError, match="Access is denied; perhaps another program has it open"):
        write_text(tmp_path / "file.txt", "newer")
    assert (tmp_path / "file.txt").read_text() == "new" and names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("variable", ["COURSE_RUNS", "COURSE_CACHE", "COURSE_DATA"])
def test_a_place_that_cannot_be_written_names_the_setting_that_moves_it(
    tmp_path, monkeypatch, variable
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "below"))
    with pytest.raises(CourseError) as error:
        write_text(tmp_path / "file" / "below" / "run" / "x.json", "{}")
    assert f"choose a folder that you may write to ({variable}=FOLDER)" in str(error.value)


# Reading


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be with its mark"]
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_files_of_other_editors_are_read(tmp_path, encoding, line_end):
    text = line_end.join(['{"name": "Zoë 王"}', '{"name": "\u2028"}', ""])
    if encoding.startswith("utf-16-be"):
        data = b"\xfe\xff" + text.encode("utf-16-be")
    else:
        data = text.encode(encoding)
    (tmp_path / "rows.jsonl").write_bytes(data)
    assert read_jsonl(tmp_path / "rows.jsonl") == [{"name": "Zoë 王"}, {"name": "\u2028"}]
    assert "\r" not in decode_text(data, "x")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_of_other_editors_is_read(tmp_path, encoding):
    (tmp_path / "file.json").write_bytes('{\r\n"name": "Zoë"\r\n}'.encode(encoding))
    assert read_json(tmp_path / "file.json") == {"name": "Zoë"}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ('{"name": "Zoë"}'.encode("latin-1"), "got the byte 0xeb at 12; save the file as UTF-8"),
        ('{"name": "Zo"}'.encode("utf-16-le"), "got zero bytes, as in UTF-16 without its mark"),
        (b"\x00" * 512, "or after a power cut"),
        (b"\xff\xfe{", "got the byte 0x7b at 2"),
    ],
)
@pytest.mark.parametrize("read", [read_text, read_json, read_jsonl])
def test_other_encodings_are_named(tmp_path, data, found, read):
    (tmp_path / "file.json").write_bytes(data)
    with pytest.raises(CourseError) as error:
        read(tmp_path / "file.json")
    assert f"{tmp_path / 'file.json'}: expected UTF-8 text, " in str(error.value)
    assert found in str(error.value)


# One process at a time


def lock_of(target):
    return target.with_name(f".{target.name}.lock")


def write_lock(target, process, machine=None, written=None):
    value = {"process": process, "machine": machine or platform.node()}
    value |= {"written": time.time() if written is None else written, "id": "of a test"}
    lock_of(target).write_text(json.dumps(value))


def test_a_lock_holds_off_a_second_thread_and_goes_with_its_block(tmp_path):
    target = tmp_path / "run" / "state"
    with locked(target, "training"):
        refused = rf"run: another training is under way there, by process {os.getpid()}\. Wait"
        with pytest.raises(CourseError, match=refused), locked(target, "training"):
            pass
    assert names(target.parent) == []
    with pytest.raises(RuntimeError), locked(target, "training"):
        raise RuntimeError
    with locked(target, "training"):
        assert names(target.parent) == [".state.lock"]


HOLDER = """
import sys, time
from course_utils.base.files import locked
with locked(sys.argv[1], "training"):
    print("inside", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process inside the lock of `tmp_path/state`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "state"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "inside\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_waited_for_or_refused(tmp_path, holder, capsys):
    with pytest.raises(CourseError, match=f"by process {holder.pid}"):
        with locked(tmp_path / "state", "training"):
            pass
    timer = threading.Timer(1.3, lambda: (holder.stdin.write("\n"), holder.stdin.flush()))
    timer.start()
    with locked(tmp_path / "state", "training", wait_seconds=60):
        assert not timer.is_alive()
    assert f"waiting for another training, by process {holder.pid}" in capsys.readouterr().out


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.kill()  # and nobody has asked for its exit code yet
    deadline = time.monotonic() + 20
    with locked(tmp_path / "state", "training", wait_seconds=20):
        assert time.monotonic() < deadline
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("lock", "age", "free"),
    [
        ({"process": GONE}, 0, True),
        ({"process": os.getpid()}, 0, True),  # of a process before a restart
        ({"process": os.getppid(), "written": 1.0}, 0, True),  # the number was given again
        ({"process": os.getppid()}, 0, False),
        ({"process": GONE, "machine": "another"}, 0, False),
        ({"process": GONE, "machine": "another"}, 3600, True),
        (None, 0, False),  # being written
        (None, 3600, True),  # emptied by a power cut
    ],
)
def test_locks_that_nobody_holds_are_taken_over(tmp_path, lock, age, free):
    target = tmp_path / "state"
    lock_of(target).write_text("") if lock is None else write_lock(target, **lock)
    os.utime(lock_of(target), (time.time() - age,) * 2)
    if free:
        with locked(target, "training"):
            assert json.loads(lock_of(target).read_text())["process"] == os.getpid()
        assert names(tmp_path) == []
    else:
        with pytest.raises(CourseError, match=r"delete .*\.state\.lock"):
            with locked(target, "training"):
                pass
        assert names(tmp_path) == [".state.lock"]


def test_a_file_system_that_creates_nothing_exclusively_gets_a_warning(
    tmp_path, monkeypatch, capsys
):
    opened = open

    def refuse(path, mode="r", **options):
        if mode == "x":
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return opened(path, mode, **options)

    monkeypatch.setattr(files, "open", refuse, raising=False)
    with locked(tmp_path / "state", "training"):
        pass
    assert "cannot be locked here; never start a second training" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_named_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "file"))
    with pytest.raises(CourseError, match=r"cannot write .*\(COURSE_RUNS=FOLDER\)"):
        with locked(tmp_path / "file" / "run" / "state", "training"):
            raise AssertionError("the block was entered")
