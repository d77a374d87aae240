"""Captions of drawn digits: the words, the sentences that are made of them, what a sentence says,
and the tokens that a model reads. The pictures are drawn in `scenes.py`.

A caption says some of what is true of a picture: "a thick red 7 leaning left on blue". Words have
synonyms, their order varies, and some attributes are left out, few in one caption and most in
another. `said` is the way back, from a caption to the attributes that it names, so that each word
can be compared with a picture.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_utils.base.errors import CourseError, unknown
from course_utils.base.files import read_text

COLOUR_NAMES = ("red", "yellow", "green", "blue", "purple", "white", "black")
# The values of each attribute, in the order of their codes 0, 1, ... among a dataset's factors.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "digit": tuple("0123456789"),
    "ink": COLOUR_NAMES,
    "paper": COLOUR_NAMES,
    "thickness": ("thin", "thick"),
    "slant": ("left", "upright", "right"),
    "size": ("small", "big"),
    # the way of writing, where there is a word for it; "plain" is never said
    "style": ("plain", "crossed", "open", "closed"),
}
RELATIONS = ("beside", "above")  # the first digit stands left of the second, or above it
# The attributes of a scene of two digits; the first stands on the left or at the top.
SCENE_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    **{f"first_{name}": ATTRIBUTES[name] for name in ("digit", "ink", "thickness")},
    **{f"second_{name}": ATTRIBUTES[name] for name in ("digit", "ink", "thickness")},
    "paper": COLOUR_NAMES,
    "relation": RELATIONS,
}

# An attribute and its value, for each word that means the same wherever it stands.
_MEANINGS: dict[str, tuple[str, str]] = {
    **{word: ("digit", word) for word in ATTRIBUTES["digit"]},
    **{word: ("thickness", "thin") for word in ("thin", "fine")},
    **{word: ("thickness", "thick") for word in ("thick", "bold")},
    **{word: ("size", "small") for word in ("small", "tiny")},
    **{word: ("size", "big") for word in ("big", "large")},
    **{word: ("style", word) for word in ("crossed", "open", "closed")},
    "upright": ("slant", "upright"),
}
# The colour's place decides whether it is that of the ink or of the paper.
_COLOURS = {**{name: name for name in COLOUR_NAMES}, "violet": "purple"}
_SIDES = ("left", "right", "above", "below")  # "left" and "right" also say how a digit leans
_SMALL_WORDS = ("a", "in", "on", "paper", "leaning", "of")
VOCABULARY = (*_SMALL_WORDS, *_SIDES, *_COLOURS, *_MEANINGS)

# Each caption draws its own share of attributes that it does not say, from 0 to this; the digit it
# always says. With one share for all, hardly any caption is as short as those that people write.
MOST_LEFT_OUT = 0.6
MAX_WORDS = 24  # of a caption; those of `write_caption` have 15 at most
_WORD = re.compile(r"[^\W_]+")


# Words and tokens


def caption_words(caption: str) -> list[str]:
    """Returns the words of a caption in small letters, without punctuation."""
    return _WORD.findall(caption.lower())


def check_words(words: Sequence[str], vocabulary: Sequence[str] = VOCABULARY) -> None:
    """Raises CourseError where a word is not in the vocabulary; the message lists the words that
    are.
    """
    for word in words:
        if word not in vocabulary:
            raise unknown("word", word, vocabulary)


class Tokenizer:
    """Words to whole numbers and back. 0 stands for no word, which fills the end of short
    captions; the words follow from 1 in the order in which they are given.
    """

    def __init__(self, vocabulary: Sequence[str] = VOCABULARY, max_words: int = MAX_WORDS) -> None:
        self.vocabulary, self.max_words = tuple(vocabulary), max_words
        self._ids = {word: index for index, word in enumerate(self.vocabulary, start=1)}

    def __len__(self) -> int:
        """Returns the number of different tokens, that of no word among them."""
        return len(self.vocabulary) + 1

    def encode(self, captions: str | Sequence[str]) -> Tensor:
        """Returns the tokens of one caption or of several, int64 `[N, max_words]`.

        Raises:
            CourseError: a word that is not in the vocabulary, or too many words.
        """
        captions = [captions] if isinstance(captions, str) else captions
        tokens = torch.zeros(len(captions), self.max_words, dtype=torch.int64)
        for row, caption in zip(tokens, captions):
            words = caption_words(caption)
            check_words(words, self.vocabulary)
            if len(words) > self.max_words:
                raise CourseError(
                    f"caption {caption!r}: expected at most {self.max_words} words, got"
                    f" {len(words)}; say less."
                )
            row[: len(words)] = torch.tensor([self._ids[word] for word in words])
        return tokens

    def decode(self, tokens: Tensor) -> list[str]:
        """Returns the captions of tokens `[N, L]`, words with one space between them."""
        return [
            " ".join(self.vocabulary[index - 1] for index in row if index > 0)
            for row in tokens.tolist()
        ]


def word_meanings() -> dict[str, tuple[str, str]]:
    """Returns the attribute and the value that each word of a caption of one digit stands for. A
    colour is that of the ink here; after "on" it is that of the paper.
    """
    inks = {word: ("ink", name) for word, name in _COLOURS.items()}
    return {**_MEANINGS, **inks, **{side: ("slant", side) for side in ("left", "right")}}


def vocabulary_of(captions: Sequence[str]) -> tuple[str, ...]:
    """Returns the words of captions in alphabetical order, for pictures with a `captions.csv`."""
    return tuple(sorted({word for caption in captions for word in caption_words(caption)}))


# From attributes to a caption


def write_caption(values: Mapping[str, str], rng: np.random.Generator) -> str:
    """Returns a caption that is true of a picture.

    Args:
        values: a value of each of `ATTRIBUTES`, or of each of `SCENE_ATTRIBUTES`.
        rng: chooses what is left out, the synonyms and the order.
    """
    left_out = rng.uniform(0, MOST_LEFT_OUT)
    paper = _paper(values["paper"], left_out, rng)
    if "relation" not in values:
        return _arranged(_single(values, left_out, rng), paper, rng)
    names = ("digit", "ink", "thickness")
    first, second = (
        _noun({name: values[f"{place}_{name}"] for name in names}, left_out, rng)
        for place in ("first", "second")
    )
    turned = rng.random() < 0.5
    if values["relation"] == "beside":
        link = "right of" if turned else "left of"
    else:
        link = "below" if turned else "above"
    before, after = (second, first) if turned else (first, second)
    return _arranged(f"{before} {link} {after}", paper, rng)


def _single(values: Mapping[str, str], left_out: float, rng: np.random.Generator) -> str:
    phrase = _noun(values, left_out, rng)
    if rng.random() < left_out:
        return phrase
    slant = values["slant"]
    return f"{phrase} {'upright' if slant == 'upright' else f'leaning {slant}'}"


def _noun(values: Mapping[str, str], left_out: float, rng: np.random.Generator) -> str:
    """Returns a digit with the words before it, and its ink after it in some: "a big red 7", "a
    big 7 in red". Each attribute but the digit is left out with the same probability.
    """
    spoken = [
        name
        for name in ("size", "thickness", "ink", "style")
        if name in values and values[name] != "plain" and rng.random() >= left_out
    ]
    ink_last = "ink" in spoken and rng.random() < 0.25
    before = [name for name in spoken if not (ink_last and name == "ink")]
    words = [_synonym(values[name], rng) for name in rng.permutation(before)]
    if rng.random() < 0.7 and (words or [values["digit"]])[0] not in ("open", "8"):
        words.insert(0, "a")  # and never "an"
    words.append(values["digit"])
    return " ".join(words) + (f" in {_synonym(values['ink'], rng)}" if ink_last else "")


def _paper(colour: str, left_out: float, rng: np.random.Generator) -> str:
    if rng.random() < left_out:
        return ""
    return f"on {_synonym(colour, rng)}" + (" paper" if rng.random() < 0.3 else "")


def _arranged(phrase: str, paper: str, rng: np.random.Generator) -> str:
    if not paper:
        return phrase
    return f"{paper}, {phrase}" if rng.random() < 0.25 else f"{phrase} {paper}"


def _synonym(value: str, rng: np.random.Generator) -> str:
    """Returns one of the words for a value, each with the same probability."""
    words = [word for word, (_, meaning) in _MEANINGS.items() if meaning == value]
    words += [word for word, meaning in _COLOURS.items() if meaning == value]
    return words[rng.integers(len(words))]


# From a caption to attributes


def said(caption: str) -> dict[str, str]:
    """Returns the attributes that a caption names, with their values: those of `ATTRIBUTES`, or of
    `SCENE_ATTRIBUTES` where it says where one digit stands to another.

    Raises:
        CourseError: an unknown word, a word out of place, or two values of one attribute.
    """
    words = caption_words(caption)
    check_words(words)
    found: dict[str, str] = {}
    words = _without_paper(words, found, caption)
    split = _relation(words)
    if split is None:
        _describe(words, found, caption, ATTRIBUTES)
        return found
    start, stop, relation, turned = split
    parts = [words[:start], words[stop:]]
    for place, part in zip(("first", "second"), reversed(parts) if turned else parts):
        own: dict[str, str] = {}
        _describe(part, own, caption, {"digit": (), "ink": (), "thickness": ()})
        if "digit" not in own:
            raise _out_of_place(caption, f"a digit on each side of the word {words[start]!r}")
        found |= {f"{place}_{name}": value for name, value in own.items()}
    return {**found, "relation": relation}


def _relation(words: list[str]) -> tuple[int, int, str, bool] | None:
    """Returns where the words for the relation begin and end, what they mean, and whether the
    second digit is named first; None where a caption has one digit.
    """
    for index, word in enumerate(words):
        if word in ("above", "below"):
            return index, index + 1, "above", word == "below"
        if word in ("left", "right") and words[index + 1 : index + 2] == ["of"]:
            return index, index + 2, "beside", word == "right"
    return None


def _without_paper(words: list[str], found: dict[str, str], caption: str) -> list[str]:
    """Returns the words but for "on COLOUR paper", whose colour is put among what was found."""
    rest: list[str] = []
    position = 0
    while position < len(words):
        if words[position] != "on":
            rest.append(words[position])
            position += 1
            continue
        following = words[position + 1 : position + 2]
        if not following or following[0] not in _COLOURS:
            raise _out_of_place(caption, 'a colour after "on", as in "on blue"')
        _put(found, "paper", _COLOURS[following[0]], caption)
        position += 3 if words[position + 2 : position + 3] == ["paper"] else 2
    return rest


def _describe(
    words: list[str], found: dict[str, str], caption: str, allowed: Mapping[str, object]
) -> None:
    """Puts what the words for one digit mean among what was found."""
    before = ""
    for word in words:
        if word in _COLOURS:
            attribute, value = "ink", _COLOURS[word]
        elif word in ("left", "right") and before == "leaning":
            attribute, value = "slant", word
        elif word in _MEANINGS:
            attribute, value = _MEANINGS[word]
        elif word in ("a", "in", "leaning"):
            before = word
            continue
        else:
            raise _out_of_place(caption, f"the word {word!r} in its place")
        if attribute not in allowed:
            raise _out_of_place(caption, f"no {attribute} of the digits in a scene of two")
        before = word
        _put(found, attribute, value, caption)


def _put(found: dict[str, str], attribute: str, value: str, caption: str) -> None:
    if found.setdefault(attribute, value) != value:
        raise CourseError(
            f"caption {caption!r}: expected one {attribute}, got {found[attribute]!r} and"
            f" {value!r}; leave one out."
        )


def _out_of_place(caption: str, expected: str) -> CourseError:
    return CourseError(
        f"caption {caption!r}: expected {expected}. Write it like 'a thick red 7 leaning left on"
        " blue' or 'a red 3 left of a thin blue 7'."
    )


# Captions of the learner's own pictures

CAPTIONS_FILE = "captions.csv"


def read_captions(root: Path) -> dict[str, str] | None:
    """Returns the captions of a folder's own `captions.csv` by the pictures' paths below the
    folder, with / between their parts; None where there is no such file.

    The file is UTF-8 text with two columns, called `file` and `caption` in its first line.

    Raises:
        CourseError: another encoding, other columns, an empty caption, or a picture named twice.
    """
    path = root / CAPTIONS_FILE
    if not path.is_file():
        return None
    captions: dict[str, str] = {}
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if header != ["file", "caption"]:
            raise CourseError(
                f"{path}: expected the first line 'file,caption', got {','.join(header)!r}; write"
                " a line like 'cat.png,a black cat' for each picture below it."
            )
        for row in reader:
            if row:
                _add_row(captions, row, f"{path}, line {reader.line_num}")
    except csv.Error as error:
        raise CourseError(
            f"{path}, line {reader.line_num}: expected a table with commas, got one that cannot be"
            f" read ({error}); save it again as CSV."
        ) from error
    return captions


def _add_row(captions: dict[str, str], row: list[str], where: str) -> None:
    if len(row) != 2:
        raise CourseError(
            f"{where}: expected a file and its caption, got {len(row)} columns; put a caption with"
            ' commas into "quotation marks".'
        )
    name, caption = row[0].strip().replace("\\", "/").removeprefix("./"), row[1].strip()
    if not caption_words(caption):
        raise CourseError(f"{where}: expected a caption of {name!r}, got none; describe it.")
    if name in captions:
        raise CourseError(f"{where}: {name!r} has a caption already; leave one of the two out.")
    captions[name] = caption


def captions_of_files(
    captions: Mapping[str, str], root: Path, files: Sequence[Path], below: Sequence[Path]
) -> tuple[str, ...]:
    """Returns the caption of each picture that is used.

    Args:
        captions: as `read_captions` returns them.
        root: the folder of the pictures.
        files: those that are used, each of which needs a caption.
        below: all pictures below the folder; captions of the others are passed over.

    Raises:
        CourseError: a picture without a caption, or a caption of a picture that is not there.
    """
    names, known = (
        [Path(file).relative_to(root).as_posix() for file in group] for group in (files, below)
    )
    absent = sorted(set(captions) - set(known))
    if absent:
        raise CourseError(
            f"{root / CAPTIONS_FILE}: expected the names of pictures in this folder, got"
            f" {absent[0]!r}, which is not there ({len(absent):,} in all). Correct the name, or"
            " leave the line out."
        )
    missing = sorted(set(names) - set(captions))
    if missing:
        raise CourseError(
            f"{root / CAPTIONS_FILE}: expected a caption of every picture, got none of"
            f" {missing[0]!r} ({len(missing):,} in all). Add a line for each."
        )
    return tuple(captions[name] for name in names)
