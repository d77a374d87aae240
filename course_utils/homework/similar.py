"""Texts of a class that are nearly equal: the share of four-word runs of the shorter text that stand in the longer one too.

Source: Broder 1997, "On the resemblance and containment of documents" (containment of shingles).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

SHINGLE, MIN_WORDS = 4, 8  # words a shingle; shorter texts say too little to be compared by parts
UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts without spaces between words: there each sign is a word
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}_]+")


class Pair(NamedTuple):
    """Two texts and how much of the shorter one stands in the longer one, 0 to 1."""

    first: Hashable
    second: Hashable
    similarity: float


def near_equal(texts: Mapping[Hashable, str], threshold: float = 0.5) -> list[Pair]:
    """Returns all pairs of texts that share at least `threshold`, most alike first.

    Texts of fewer than 8 words count only where all their words are equal; texts of fewer than 3 words never do.
    """
    words = {key: words_of(text) for key, text in texts.items()}
    shingles = {key: shingles_of(own) for key, own in words.items() if len(own) >= MIN_WORDS}
    pairs = []
    for one, other in combinations([key for key, own in words.items() if len(own) >= 3], 2):
        if one in shingles and other in shingles:
            shorter, longer = sorted((shingles[one], shingles[other]), key=len)
            similarity = len(shorter & longer) / len(shorter)
        else:
            similarity = float(words[one] == words[other])
        if similarity >= threshold:
            pairs.append(Pair(one, other, similarity))
    return sorted(pairs, key=lambda pair: -pair.similarity)


def words_of(text: str) -> tuple[str, ...]:
    """Returns the words of a text without case, punctuation and layout."""
    return tuple(WORD.findall(text.casefold()))


def shingles_of(words: Sequence[str]) -> frozenset[tuple[str, ...]]:
    """Returns all runs of four words."""
    return frozenset(tuple(words[place : place + SHINGLE]) for place in range(len(words) - SHINGLE + 1))
