"""A submission is read whole or refused with one line; nothing of it reaches the disk, and a small
file cannot take much memory or time.
"""

from __future__ import annotations

import io
import os
import re
import struct
import time
import tracemalloc
import zipfile
import zlib
from dataclasses import replace

import pytest
from hostile_zips import GOOD, HOSTILE, MODE, Part, deflate_zeros, pack, with_sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from submissions import png, results_dict, write_one

from course_utils.base.errors import CourseError
from course_utils.homework import archive
from course_utils.homework.archive import (
    clean_png,
    parse_submission,
    read_submission,
    write_submission,
)
from course_utils.homework.schema import check_results

MAX_SECONDS, MAX_MEMORY = 5, 60_000_000
VALID = pack(GOOD)


def test_what_is_written_is_read(tmp_path):
    results, samples = (
        check_results(results_dict(3, ablate=True)),
        {"vae-baseline.png": png(), "a.b_c.png": png(20, 5)},
    )
    path = write_submission(tmp_path / "submission.zip", results, samples, "<p>é</p>")
    submission = read_submission(path)
    assert (submission.source, submission.results) == ("submission.zip", results)
    assert submission.samples == {name: clean_png(data, name) for name, data in samples.items()}
    with zipfile.ZipFile(path) as judge:  # Python's own reader finds the same
        assert judge.testzip() is None
        assert sorted(judge.namelist()) == [
            "report.html",
            "results.json",
            "samples/a.b_c.png",
            "samples/vae-baseline.png",
        ]
        assert judge.read("report.html").decode() == "<p>é</p>"


def test_equal_content_gives_equal_bytes(tmp_path):
    first, second = (write_one(tmp_path / name, seed=1).read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second


def test_the_hand_made_archive_is_a_good_one():
    """Else the hostile ones could be refused for another reason."""
    assert list(parse_submission(VALID, "x.zip").samples) == ["vae-baseline.png"]
    assert zipfile.ZipFile(io.BytesIO(VALID)).testzip() is None


@pytest.mark.parametrize("trouble", HOSTILE)
def test_hostile_archives_are_refused_with_one_clear_line(trouble, tmp_path, monkeypatch):
    data, message = HOSTILE[trouble]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "submission.zip"
    path.write_bytes(data)
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(CourseError) as refusal:
        read_submission(path)
    seconds, memory = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    text = str(refusal.value)
    assert message in text
    assert text.startswith("submission.zip: ") and text.isprintable() and len(text) < 400
    assert seconds < MAX_SECONDS and memory < MAX_MEMORY
    assert os.listdir(tmp_path) == ["submission.zip"] and path.read_bytes() == data


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 25 and set(MODE) == {"link", "device", "pipe", "folder"}


def test_a_file_larger_than_allowed_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 1000)
    path = tmp_path / "huge.zip"
    with open(path, "wb") as stream:
        stream.truncate(10**9)  # a file of one hole
    tracemalloc.start()
    with pytest.raises(CourseError, match="huge.zip: expected at most 1,000 bytes, got more"):
        read_submission(path)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_many_small_files_cannot_add_up_to_a_large_one():
    """Sizes that each pass, and whose sum does not."""
    parts = [
        *GOOD,
        *(
            Part(f"samples/{index}.png", packed=deflate_zeros(10**6), size=99_000)
            for index in range(40)
        ),
    ]
    with pytest.raises(CourseError, match="at most 40 pictures"):
        parse_submission(pack(parts), "x.zip")


def test_sum_of_all_files_is_capped(monkeypatch):
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 1000)
    with pytest.raises(CourseError, match="expected at most 1,000 bytes unpacked"):
        parse_submission(VALID, "x.zip")


def unpacked(folder):
    """Returns the folder of a good submission that was unpacked."""
    zipfile.ZipFile(io.BytesIO(VALID)).extractall(folder)
    return folder


def test_an_unpacked_submission_is_read_too(tmp_path):
    folder = unpacked(tmp_path / "Ada")
    (folder / ".DS_Store").write_bytes(b"whatever")
    assert read_submission(folder).results == parse_submission(VALID, "x").results


def repacked(entries) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in entries:
            packed.writestr(name, data)
    return stream.getvalue()


_PACKED = zipfile.ZipFile(io.BytesIO(VALID))
WHOLE = {name: _PACKED.read(name) for name in _PACKED.namelist()}
FORK = bytes.fromhex("0005160700020000") + b"Mac OS X        " + bytes(40)
AGAIN = {
    "files selected in Finder": [
        *WHOLE.items(),
        ("samples/", b""),
        *((f"__MACOSX/._{name}", FORK) for name in WHOLE),
    ],
    "folder in Finder": [
        ("Müller, Jana/", b""),
        *((f"Müller, Jana/{name}", data) for name, data in WHOLE.items()),
        ("__MACOSX/Müller, Jana/._results.json", FORK),
    ],
    "folder in Explorer": [(f"submission/{name}", data) for name, data in WHOLE.items()],
    "zip -r": [("samples/", b""), *WHOLE.items()],
    "desktop files": [*WHOLE.items(), (".DS_Store", b"Bud1"), ("samples/Thumbs.db", b"x")],
    "three folders": [(f"Ada/week 3/submission/{name}", data) for name, data in WHOLE.items()],
    "leading dot": [("./", b""), *((f"./{name}", data) for name, data in WHOLE.items())],
    "editors beside": [
        ("Ada/.git/objects/00/aa", b"x"),
        (".vscode/settings.json", b"{}"),
        ("Ada/.dropbox.attr", b"x"),
        ("Ada/~$report.html", b"x"),
        ("Ada/Icon\r", b""),
        *((f"Ada/{name}", data) for name, data in WHOLE.items()),
    ],
    "forks beside": [*WHOLE.items(), *((f"samples/._{i}.png", FORK) for i in range(70))],
}


@pytest.mark.parametrize("how", AGAIN)
def test_a_submission_packed_again_by_another_tool_is_the_same(how):
    again, first = parse_submission(repacked(AGAIN[how]), "x"), parse_submission(VALID, "x")
    assert (again.results, again.samples) == (first.results, first.samples)


@pytest.mark.parametrize("encoding", ["utf-8", "cp866", "gbk", "cp1252"])
def test_a_folder_named_by_an_older_zipper_is_passed_over(encoding):
    """Without the flag for UTF-8, a name is bytes of whatever encoding the student's system has."""
    name = {"cp866": "Задание", "gbk": "作业乗", "cp1252": "Müller"}.get(encoding, "Żółć")
    folder = f"{name}/".encode(encoding)
    parts = [Part(folder), *(replace(part, name=folder + part.name.encode()) for part in GOOD)]
    assert parse_submission(pack(parts), "x").samples == parse_submission(VALID, "x").samples


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pack(GOOD, comment=b"from a portal"), "comment or other bytes follow the end"),
        (VALID + bytes(100), "comment or other bytes follow the end"),
        (pack(GOOD, before=b"x"), "with other data around it"),
        (pack([*GOOD[:2], replace(GOOD[2], method=12)]), "got 12"),
        (pack([*GOOD[:2], replace(GOOD[2], flags=1)]), "got an encrypted one"),
        (VALID[:-30], "does not end like one"),
    ],
)
def test_an_archive_that_is_not_plain_says_what_to_hand_in(data, message):
    with pytest.raises(CourseError) as refusal:
        parse_submission(data, "x.zip")
    assert message in str(refusal.value) and str(refusal.value).endswith(f"; {archive.ADVICE}.")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("a_1_submission.zip", VALID), ("b_2_submission.zip", VALID)], "; unpack it, or ask for"),
        *(
            ([*WHOLE.items(), (name, b"x")], "got .*; unpack it, or ask for")
            for name in ("notes.txt", "homework.ipynb", "results (1).json", "REPORT.HTML")
        ),
        ([(f"a/b/c/d/{name}", data) for name, data in WHOLE.items()], "; unpack it, or ask for"),
        ([(f"../{name}", data) for name, data in WHOLE.items()], "climbs out"),
        ([(f"/{name}", data) for name, data in WHOLE.items()], "an absolute one"),
        ([("a/results.json", WHOLE["results.json"]), ("b/report.html", b"")], "NAME.png only, got"),
        ([("__MACOSX/._results.json", FORK)], "expected 1 to 60 files, got 0"),
    ],
)
def test_an_archive_of_something_else_says_what_to_hand_in(entries, message):
    with pytest.raises(CourseError, match=message):
        parse_submission(repacked(entries), "x.zip")


@pytest.mark.parametrize("name", ["results.json", "samples/vae-baseline.png", "samples"])
def test_a_link_in_an_unpacked_submission_is_refused(tmp_path, name):
    folder, secret = unpacked(tmp_path / "Eve"), unpacked(tmp_path / "secret")
    target = folder / name
    for path in sorted(target.rglob("*")):
        path.unlink()
    target.rmdir() if target.is_dir() else target.unlink()
    target.symlink_to(secret / name)
    with pytest.raises(CourseError, match="got a link or device"):
        read_submission(folder)


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(CourseError, match="expected a file, got a folder, link or device"):
        read_submission(tmp_path / "pipe.zip")


def test_names_of_files_are_printable_in_messages(tmp_path):
    path = tmp_path / "a\x1b[31m\n.zip"
    path.write_bytes(b"")
    with pytest.raises(CourseError) as refusal:
        read_submission(path)
    assert str(refusal.value).startswith("a?[31m?.zip: ")


def test_writing_refuses_what_reading_would(tmp_path):
    results = check_results(results_dict())
    with pytest.raises(CourseError, match="NAME.png only, got 'samples/../x.png'|climbs out"):
        write_submission(tmp_path / "s.zip", results, {"../x.png": png()}, "")
    with pytest.raises(CourseError, match="expected a PNG picture"):
        write_submission(tmp_path / "s.zip", results, {"x.png": b"GIF89a" + bytes(50)}, "")
    assert os.listdir(tmp_path) == []


def test_writing_never_leaves_half_a_file(tmp_path, monkeypatch):
    target = write_one(tmp_path / "s.zip")
    before = target.read_bytes()
    monkeypatch.setattr(
        os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(CourseError, match="No space left"):
        write_one(target, seed=9)
    assert target.read_bytes() == before and os.listdir(tmp_path) == ["s.zip"]


def pixels_of(data: bytes):
    return Image.open(io.BytesIO(data)).convert("RGBA").tobytes()


TRANSPARENCY = {
    "1": 1,
    "L": 130,
    "P": 3,
    "LA": None,
    "RGB": (128, 128, 128),
    "RGBA": None,
    "I;16": 700,
}


@pytest.mark.parametrize("mode", TRANSPARENCY)
def test_pictures_of_every_colour_type_are_kept(mode):
    stream, noise = io.BytesIO(), Image.effect_noise((37, 11), 90)
    transparency = {} if TRANSPARENCY[mode] is None else {"transparency": TRANSPARENCY[mode]}
    noise.convert(mode).save(stream, "PNG", **transparency)
    clean = clean_png(stream.getvalue(), "x.png")
    assert pixels_of(clean) == pixels_of(stream.getvalue())
    assert clean_png(clean, "x.png") == clean
    assert parse_submission(with_sample(stream.getvalue()), "x.zip").samples == {
        "vae-baseline.png": clean
    }


def test_pictures_of_matplotlib_pass():
    from course_utils.plotting.canvas import new_figure

    stream, figure = io.BytesIO(), new_figure(2)
    figure.subplots().plot([1, 2])
    figure.savefig(stream, format="png", dpi=100)
    clean = clean_png(stream.getvalue(), "x.png")
    assert Image.open(io.BytesIO(clean)).size == (700, 200) and pixels_of(clean) == pixels_of(
        stream.getvalue()
    )


def test_a_picture_is_written_anew():
    """Text that stands in a picture's file, where a browser could be led to read it, is gone."""
    hidden = b"<script>alert(1)</script>"
    data = png(extra=((b"tEXt", b"Comment\0" + hidden), (b"tIME", bytes([7, 230, 1, 1, 0, 0, 0]))))
    clean = clean_png(data, "x.png")
    assert hidden in data and hidden not in clean and b"tEXt" not in clean and b"tIME" not in clean
    assert pixels_of(clean) == pixels_of(data)


def test_a_picture_that_grows_when_it_is_written_anew_is_refused(monkeypatch):
    monkeypatch.setattr(archive, "MAX_CLEAN_BYTES", 50)
    with pytest.raises(CourseError, match="x.png: expected at most 50 bytes written anew, got "):
        clean_png(png(), "x.png")


def returns_or_refuses(read, *arguments) -> None:
    """Calls a reader that may refuse with a CourseError of one line, and nothing else."""
    try:
        read(*arguments)
    except CourseError as error:
        assert str(error).isprintable() and len(str(error)) < 600


FUZZ = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)
edits = st.lists(
    st.tuples(st.integers(0, len(VALID)), st.integers(0, 6), st.binary(max_size=6)),
    min_size=1,
    max_size=5,
)


def edited(data: bytes, changes) -> bytes:
    """Returns bytes with some spans replaced; places count from the end, where a zip file keeps its
    directory.
    """
    for place, length, new in changes:
        begin = max(0, len(data) - place)
        data = data[:begin] + new + data[begin + length :]
    return data


@FUZZ
@given(edits)
def test_no_edit_of_an_archive_brings_the_reader_down(changes):
    returns_or_refuses(parse_submission, edited(VALID, changes), "x.zip")


@FUZZ
@given(edits)
def test_no_edit_of_a_picture_brings_the_reader_down(changes):
    returns_or_refuses(clean_png, edited(png(), changes), "x.png")


names = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["results.json", "report.html", "samples/a.png", "../a", "/a", "a\\b"]),
)
contents = st.one_of(st.binary(max_size=200), st.sampled_from([part.content for part in GOOD]))
numbers = st.integers(0, 2**32 - 1)
parts = st.builds(
    Part,
    name=names,
    content=contents,
    method=st.sampled_from([0, 8, 8, 8, 12]),
    flags=st.integers(0, 2**16 - 1) | st.just(0),
    attributes=numbers | st.just(0),
    size=st.none() | numbers,
    crc=st.none() | numbers,
    packed=st.none() | st.binary(max_size=50),
    place=st.none() | st.integers(0, 2000) | numbers,
    local_name=st.none() | st.binary(max_size=20),
)


@FUZZ
@given(st.lists(parts, max_size=6), st.binary(max_size=10), st.none() | st.integers(0, 65535))
def test_no_archive_brings_the_reader_down(drawn, before, total):
    returns_or_refuses(parse_submission, pack(drawn, before=before, total=total), "x.zip")


def streamed() -> bytes:
    """Returns the archive of a program that packs without looking back, as Finder does: sizes and
    checksums stand behind the files.
    """
    stream = io.BytesIO()

    class Pipe:
        write, flush = stream.write, stream.flush

    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in WHOLE.items():
            packed.writestr(name, data)
    return stream.getvalue()


def test_sizes_behind_the_files_are_no_other_data():
    data = streamed()
    assert b"PK\x07\x08" in data
    assert parse_submission(data, "x").samples == parse_submission(VALID, "x").samples


def with_gap(data: bytes, place: int, inserted: bytes) -> bytes:
    """Returns an archive with bytes inserted, and offsets put right as `zip -A` does."""
    files = zipfile.ZipFile(io.BytesIO(data))
    start = files.start_dir
    moved = bytearray(data[:place] + inserted + data[place:])
    entry = start + len(inserted)
    for info in files.infolist():
        offset = info.header_offset + (len(inserted) if info.header_offset >= place else 0)
        struct.pack_into("<I", moved, entry + 42, offset)
        entry += 46 + len(info.orig_filename.encode())
    struct.pack_into("<I", moved, len(moved) - 6, start + len(inserted))
    return bytes(moved)


def places() -> dict[str, int]:
    files = zipfile.ZipFile(io.BytesIO(VALID))
    return {"in front": 0, "between": files.infolist()[1].header_offset, "behind": files.start_dir}


@pytest.mark.parametrize("inserted", [b"MZ" + bytes(100), b"x", b"PK\x03\x04" + bytes(40)])
@pytest.mark.parametrize("where", places())
def test_other_data_in_an_archive_are_refused(where, inserted):
    parse_submission(with_gap(VALID, places()[where], b""), "x")
    with pytest.raises(CourseError, match="other data among them"):
        parse_submission(with_gap(VALID, places()[where], inserted), "x")


def test_a_report_that_cannot_be_unpacked_is_refused():
    report = replace(GOOD[0], packed=b"\xff" * 50)
    with pytest.raises(CourseError, match=r"report.html.*broken stream"):
        parse_submission(pack([report, *GOOD[1:]]), "x.zip")


def palette(num_colours: int = 2, extra: tuple = ()) -> bytes:
    """Returns a picture of 8 x 8 points with one bit each and a palette."""
    header = struct.pack(">IIBBBBB", 8, 8, 1, 3, 0, 0, 0)
    colours = (b"PLTE", bytes(3 * num_colours))
    return png(header=header, pixels=b"\0\xaa" * 8, extra=(colours, *extra))


def header(depth: int, colour: int) -> bytes:
    return struct.pack(">IIBBBBB", 8, 8, depth, colour, 0, 0, 0)


def wrong_checksum() -> bytes:
    data = png(extra=((b"tEXt", b"Title\0x"),))
    return data.replace(b"Title\0x", b"Title\0y")


ROW = bytes(9)
WRONG_PNGS = {
    "text with a wrong checksum": (wrong_checksum(), "the checksum of its chunk b'tEXt'"),
    "pixels in two places": (
        png(extra=((b"IDAT", zlib.compress(ROW * 8)), (b"tEXt", b"a\0b"))),
        "several places",
    ),
    "no palette": (png(header=header(8, 3)), "a palette where colour type 3"),
    "palette of grey": (png(extra=((b"PLTE", bytes(3)),)), "a palette where colour type 0"),
    "palette twice": (palette(extra=((b"PLTE", bytes(6)),)), "chunk b'PLTE' twice"),
    "palette too long": (palette(3), "a palette of 1 to 2 colours"),
    "palette of no colour": (palette(0), "a palette of 1 to 2 colours"),
    "transparency before the palette": (
        png(header=header(1, 3), pixels=b"\0\xaa" * 8,
            extra=((b"tRNS", b"\0"), (b"PLTE", bytes(6)))),
        "chunk b'tRNS' in the wrong place",
    ),
    "gamma behind the palette": (
        palette(extra=((b"gAMA", bytes(4)),)),
        "chunk b'gAMA' in the wrong place",
    ),
    "transparency too long": (palette(extra=((b"tRNS", bytes(3)),)), "transparency that fits"),
    "bits": (png(header=header(3, 0)), "bits for colour type 0, got 3"),
    "filter": (png(pixels=(b"\5" + bytes(8)) * 8), "got filter 5"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_PNGS)
def test_pictures_of_a_wrong_structure_are_refused(name):
    data, message = WRONG_PNGS[name]
    with pytest.raises(CourseError, match=re.escape(message)):
        clean_png(data, "x.png")


def test_pictures_with_a_palette_are_kept():
    transparent = palette(extra=((b"tRNS", b"\0"), (b"pHYs", bytes(9))))
    assert clean_png(palette(), "x")[:8] == clean_png(transparent, "x")[:8]
