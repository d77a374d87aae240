"""Captions: true of their picture, understood again word for word, tokens, and those of own
pictures.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import data
from course_utils.base.errors import CourseError
from course_utils.data.captions import (
    ATTRIBUTES,
    MOST_LEFT_OUT,
    SCENE_ATTRIBUTES,
    VOCABULARY,
    Tokenizer,
    caption_words,
    read_captions,
    said,
    vocabulary_of,
    write_caption,
)


def values(attributes, rng):
    return {name: names[rng.integers(len(names))] for name, names in attributes.items()}


def written(attributes, num=400):
    rng = np.random.default_rng(0)
    rows = [values(attributes, rng) for _ in range(num)]
    return rows, [write_caption(row, rng) for row in rows]


@pytest.mark.parametrize("attributes", [ATTRIBUTES, SCENE_ATTRIBUTES], ids=["single", "scene"])
def test_what_a_caption_says_is_true_and_all_is_said_in_some(attributes):
    rows, captions = written(attributes)
    counts = Counter()
    for row, caption in zip(rows, captions):
        understood = said(caption)
        assert understood.items() <= row.items(), caption
        counts.update(list(understood))
    digits = [name for name in attributes if name.endswith("digit") or name == "relation"]
    assert all(counts[name] == 400 for name in digits)
    others = sum(counts[name] for name in attributes if name not in (*digits, "style"))
    num_others = len(set(attributes) - {*digits, "style"})
    assert others / (400 * num_others) == pytest.approx(1 - MOST_LEFT_OUT / 2, abs=0.04)


def test_captions_are_of_every_length():
    # also those that a person would write: the digit alone, or the digit and its two colours
    spoken = [frozenset(said(caption)) for caption in written(ATTRIBUTES, 4000)[1]]
    lengths = Counter(map(len, spoken))
    assert all(lengths[length] > 100 for length in range(2, 7)) and lengths[1] > 30
    assert Counter(spoken)[frozenset({"digit", "ink", "paper"})] > 20


def test_all_words_are_used_in_several_orders():
    words = [
        word
        for attributes in (ATTRIBUTES, SCENE_ATTRIBUTES)
        for caption in written(attributes)[1]
        for word in caption_words(caption)
    ]
    assert set(words) == set(VOCABULARY) and len(VOCABULARY) == len(set(VOCABULARY)) == 40
    captions = set(written(ATTRIBUTES)[1])
    assert any("thick red" in text for text in captions)
    assert any("red thick" in text for text in captions)
    assert any(" in red" in text for text in captions)
    assert any(text.startswith("on ") for text in captions)


@pytest.mark.parametrize(
    "caption, expected",
    [
        (
            "A thick red 7 leaning left on blue.",
            {"thickness": "thick", "ink": "red", "digit": "7", "slant": "left", "paper": "blue"},
        ),
        ("on violet paper, 3 in black", {"digit": "3", "ink": "black", "paper": "purple"}),
        (
            "a closed large 4 upright",
            {"digit": "4", "style": "closed", "size": "big", "slant": "upright"},
        ),
        ("", {}),
        (
            "a red 3 left of a thin blue 7",
            {
                "first_ink": "red",
                "first_digit": "3",
                "second_thickness": "thin",
                "second_ink": "blue",
                "second_digit": "7",
                "relation": "beside",
            },
        ),
        (
            "8 below bold 2 on white",
            {
                "first_thickness": "thick",
                "first_digit": "2",
                "second_digit": "8",
                "relation": "above",
                "paper": "white",
            },
        ),
    ],
)
def test_captions_are_understood(caption, expected):
    assert said(caption) == expected


@pytest.mark.parametrize(
    "caption, words",
    [
        ("a pink 7", ["unknown word 'pink'", "purple", "thick"]),
        ("a rde 7", ["Did you mean 'red'?"]),
        ("a red blue 7", ["one ink", "'red' and 'blue'"]),
        ("a red 7 on big", ['a colour after "on"']),
        ("7 on", ['a colour after "on"']),
        ("a left 7", ["the word 'left' in its place"]),
        ("a red 3 left of blue", ["a digit on each side"]),
        ("a big 3 above a 7", ["no size of the digits"]),
    ],
)
def test_captions_that_cannot_be_understood_are_refused(caption, words):
    with pytest.raises(CourseError) as caught:
        said(caption)
    assert all(word in str(caught.value) for word in words), caught.value


def test_tokens_are_the_way_there_and_back():
    tokenizer = Tokenizer()
    captions = written(SCENE_ATTRIBUTES, 50)[1]
    tokens = tokenizer.encode(captions)
    assert tokens.shape == (50, tokenizer.max_words) and tokens.dtype == torch.int64
    assert tokens.max() < len(tokenizer) == 41
    assert tokenizer.decode(tokens) == [" ".join(caption_words(caption)) for caption in captions]
    assert tokenizer.encode("").sum() == 0
    with pytest.raises(CourseError, match="unknown word 'like'; valid: 0, 1"):
        tokenizer.encode(["a 7", "a 7 like an avocado"])
    with pytest.raises(CourseError, match="at most 24 words, got 25"):
        tokenizer.encode("a " * 25)


# Pictures of the learner's own


def folder_of(tmp_path, num=12, lines=None):
    for index in range(num):
        place = tmp_path / ("cats" if index % 2 else "dogs")
        place.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (20 * index, 0, 0)).save(place / f"{index}.png")
    names = [f"{'cats' if index % 2 else 'dogs'}/{index}.png" for index in range(num)]
    text = "".join(f"{name},a picture of red {index}\n" for index, name in enumerate(names))
    (tmp_path / "captions.csv").write_text("file,caption\n" + (text if lines is None else lines))
    return tmp_path


def test_own_pictures_bring_their_captions_along(tmp_path):
    dataset = data.load_dataset(f"folder:{folder_of(tmp_path)}", image_size=8, verbose=False)
    for split in ("train", "test"):
        images, captions = (getattr(dataset, f"{split}_{name}") for name in ("images", "captions"))
        reds = [f"a picture of red {red // 20}" for red in images[:, 0, 0, 0].tolist()]
        assert list(captions) == reds
    assert ".csv" not in dataset.source
    assert vocabulary_of(dataset.train_captions)[-4:] == ("a", "of", "picture", "red")
    part = dataset.subset(3, 2, seed=1)
    assert part.train_captions == tuple(
        f"a picture of red {red // 20}" for red in part.train_images[:, 0, 0, 0].tolist()
    )
    (tmp_path / "captions.csv").unlink()
    bare = data.load_dataset(f"folder:{tmp_path}", image_size=8, verbose=False)
    assert bare.train_captions == () and bare.key != dataset.key and bare.sha256 != dataset.sha256


@pytest.mark.parametrize(
    "content, words",
    [
        (b"picture;text\n", ["'file,caption'", "picture;text"]),
        (b"", ["'file,caption'"]),
        (b"file,caption\n1.png,a,b\n", ["line 2", "3 columns", "quotation marks"]),
        (b"file,caption\n1.png, \n", ["line 2", "'1.png', got none"]),
        (b"file,caption\n1.png,a\n./1.png,b\n", ["line 3", "has a caption already"]),
        ("file,caption\n1.png,grün\n".encode("latin-1"), ["UTF-8", "0xfc"]),
    ],
)
def test_a_broken_table_of_captions_says_where(tmp_path, content, words):
    (tmp_path / "captions.csv").write_bytes(content)
    with pytest.raises(CourseError) as caught:
        read_captions(tmp_path)
    assert all(word in str(caught.value) for word in [*words, "captions.csv"]), caught.value


def test_a_table_of_an_office_program_is_read(tmp_path):
    text = '\ufeffFile,Caption\r\ncats\\1.png,"a cat, grün"\r\n\r\n'
    (tmp_path / "captions.csv").write_bytes(text.encode())
    assert read_captions(tmp_path) == {"cats/1.png": "a cat, grün"}


@pytest.mark.parametrize(
    "lines, words",
    [
        ("dogs/0.png,a\nbirds/1.png,b\n", ["got 'birds/1.png', which is not there (1 in all)"]),
        ("dogs/0.png,a\n", ["got none of 'cats/1.png' (11 in all)"]),
    ],
)
def test_captions_and_pictures_have_to_fit(tmp_path, lines, words):
    folder = folder_of(tmp_path, lines=lines)
    with pytest.raises(CourseError) as caught:
        data.load_dataset(f"folder:{folder}", image_size=8, verbose=False)
    assert all(word in str(caught.value) for word in words), caught.value
