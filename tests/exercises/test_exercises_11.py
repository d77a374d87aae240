"""What the exercises of notebook 11 accept beyond their solutions, and the solutions against the
library.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from messages import message, passes

from course_utils.base.device import make_rng
from course_utils.data.captions import VOCABULARY, Tokenizer, caption_words, said, word_meanings
from course_utils.data.scenes import draw_singles
from course_utils.exercises import nb11
from course_utils.models.diffusion.samplers import time_grid
from course_utils.models.diffusion.schedules import flow_schedule
from course_utils.studies.reading import corrected_accuracy

NAMES = ("named", "tokens", "scale", "attention", "loss", "guide", "corrected", "edit")


def normal(*shape, stream=0):
    return torch.randn(shape, generator=make_rng(110, stream))


@pytest.fixture(scope="module")
def captions():
    return draw_singles(60, np.random.default_rng(5)).captions


def test_the_notebook_has_eight_parts_and_five_hunts():
    ids = [exercise.id for exercise in nb11.EXERCISES]
    assert ids[:8] == [f"11.{name}" for name in NAMES] and len(ids) == 18
    assert min(len(exercise.mistakes) for exercise in nb11.EXERCISES[:8]) >= 8


def test_what_a_caption_names_is_what_the_library_reads(captions):
    for caption in captions:
        assert nb11.NAMED.solution(caption_words(caption), word_meanings()) == said(caption)


def test_every_word_with_a_meaning_is_a_word():
    assert set(word_meanings()) <= set(VOCABULARY)


def test_another_way_to_what_a_caption_names_passes():
    def answer(words, meanings):
        found = {meanings[word][0]: meanings[word][1] for word in words if word in meanings}
        inks = [place for place, word in enumerate(words) if meanings.get(word, "?")[0] == "ink"]
        found.pop("ink", None)
        for place in inks:
            key = "paper" if place and words[place - 1] == "on" else "ink"
            found[key] = meanings[words[place]][1]
        return found

    assert passes("11.named", answer)


def test_the_tokens_are_the_librarys(captions):
    expected = Tokenizer(VOCABULARY, 16).encode(captions)
    found = nb11.TOKENS.solution(captions, VOCABULARY, 16)
    assert torch.equal(found, expected) and found.dtype == torch.int64


def test_tokens_in_numpy_pass():
    def answer(captions, vocabulary, length):
        split = [caption.replace(",", " ").split() for caption in captions]
        rows = [[vocabulary.index(word) + 1 for word in words] for words in split]
        return np.array([row + (length - len(row)) * [0] for row in rows])

    assert passes("11.tokens", answer)


def test_attention_is_torchs():
    queries, keys, values = (normal(3, n, 8, stream=n) for n in (6, 4, 4))
    present = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    mixed, weights = nb11.ATTENTION.solution(queries, keys, values, present)
    expected = F.scaled_dot_product_attention(queries, keys, values, attn_mask=present[:, None])
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 6))
    assert weights[~present[:, None].expand_as(weights)].abs().max() == 0


def test_attention_by_einsum_passes():
    def answer(queries, keys, values, present):
        scores = torch.einsum("bpd,bld->bpl", queries, keys) / math.sqrt(keys.shape[2])
        weights = (scores + (1e9 * (present[:, None].float() - 1))).softmax(-1)
        return torch.einsum("bpl,bld->bpd", weights, values), weights

    assert passes("11.attention", answer)


def test_scaled_latents_have_unit_moments_and_come_back():
    latents = 3 * normal(50, 2, 4, 4) + torch.tensor([5.0, -2.0])[:, None, None]
    unit, mean, std = nb11.SCALE.solution(latents)
    torch.testing.assert_close(unit.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(unit * std + mean, latents)

    def biased(latents):
        std, mean = torch.std_mean(latents, (0, 2, 3), correction=0, keepdim=True)
        return (latents - mean) / std, mean[0], std[0]

    assert passes("11.scale", biased)


def test_the_loss_is_that_of_the_path_and_hides_whole_captions():
    x0, noise, t = normal(4, 2, 3, 3), normal(4, 2, 3, 3, stream=1), torch.rand(4)
    tokens, hidden = torch.ones(4, 5, dtype=torch.int64), torch.tensor([True, False, True, False])
    seen = {}

    def network(xt, t, tokens):
        seen.update(xt=xt, tokens=tokens)
        return noise - x0 + tokens.sum(1)[:, None, None, None]

    found = nb11.LOSS.solution(network, x0, tokens, noise, t, hidden)
    torch.testing.assert_close(found, torch.tensor([0.0, 25.0, 0.0, 25.0]))
    torch.testing.assert_close(seen["xt"], flow_schedule().noised(x0, noise, t))
    assert tokens.min() == 1  # the caller's captions stay as they are

    def with_where(network, x0, tokens, noise, t, hidden):
        told = torch.where(hidden[:, None], 0, tokens)
        xt = torch.lerp(x0, noise, t.view(-1, 1, 1, 1))
        return F.mse_loss(network(xt, t, told), noise - x0, reduction="none").mean((1, 2, 3))

    assert passes("11.loss", with_where)


def test_guidance_in_one_call_passes():
    def answer(network, x, t, tokens, away, w):
        both = network(torch.cat([x, x]), torch.cat([t, t]), torch.cat([tokens, away]))
        wanted, unwanted = both.chunk(2)
        return w * wanted + (1 - w) * unwanted

    assert passes("11.guide", answer)


@pytest.mark.parametrize(("right", "num", "rate", "values"), [(80, 100, 0.95, 2), (9, 20, 0.8, 7)])
def test_the_corrected_share_is_the_librarys(right, num, rate, values):
    value, error = nb11.CORRECTED.solution(right, num, rate, values)
    sure = {"num_pictures": 10**9, "num_right": round(rate * 10**9)}  # a rate without an error
    expected = corrected_accuracy(right, num, sure, values)
    assert value == pytest.approx(expected.value, abs=1e-6)
    # the library counts two more of each outcome, so that its error is never 0
    assert error == pytest.approx(expected.error, rel=0.15)


def test_a_simulated_reader_is_corrected():
    rng, num, truth, rate, values = make_rng(3), 400_000, 0.7, 0.85, 4
    right = torch.rand(num, generator=rng) < truth
    errs = torch.rand(num, generator=rng) >= rate
    lucky = torch.rand(num, generator=rng) < 1 / (values - 1)
    passed = int((right & ~errs).sum() + (~right & errs & lucky).sum())
    value, error = nb11.CORRECTED.solution(passed, num, rate, values)
    assert abs(value - truth) < 4 * error < 0.01


def test_the_start_of_an_edit_is_the_librarys():
    x0, noise = normal(2, 3, 4, 4), normal(2, 3, 4, 4, stream=1)
    x, times = nb11.EDIT.solution(x0, noise, 0.7, 5)
    torch.testing.assert_close(x, flow_schedule().noised(x0, noise, torch.full((2,), 0.7)))
    torch.testing.assert_close(times.double(), time_grid(5, start=0.7), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("named", lambda words, meanings: {}, "expected a dictionary"),
        ("named", lambda words, meanings: print(end=""), "Is the `return` missing"),
        (
            "tokens",
            lambda captions, vocabulary, length: torch.zeros(3, length),
            "every value is 0|shape",
        ),
        ("scale", lambda latents: (latents * math.nan, latents[0], latents[0]), "NaN|shape"),
        ("attention", lambda q, k, v, present: (q, q @ k.transpose(1, 2)), "item 0"),
        ("attention", lambda q, k, v, p: nb11._attend(q.detach(), k, v, p), "gradient"),
        ("loss", lambda network, x0, *rest: x0.square().mean((1, 2, 3)), "differ"),
        ("guide", lambda network, x, t, tokens, away, w: x, "differ"),
        ("corrected", lambda right, num, rate, values: right / num, "expected"),
        ("edit", lambda x0, noise, strength, num: (x0, [strength] * (num + 1)), "differ"),
    ],
)
def test_wrong_answers_are_refused(name, answer, words):
    found = message(f"11.{name}", answer)
    assert any(word.casefold() in found.casefold() for word in words.split("|")), found
