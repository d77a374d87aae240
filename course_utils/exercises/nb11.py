"""The exercises of notebook 11, in which the learner writes a small text-to-image system: what a
caption says, tokens, cross-attention, the scale of latents, the loss with hidden captions,
guidance away from a second caption, image-to-image, and the share of right words.

As in the whole course t = 0 is the image and t = 1 the noise. Token 0 stands for no word.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.data.captions import word_meanings
from course_utils.exercises.hunt_11 import HUNT_EXERCISES
from course_utils.exercises.judge import Exercise, Mistake


def _normal(*shape: int, stream: int) -> Tensor:
    return torch.randn(shape, generator=make_rng(11, stream))


# ------------------------------------------------------------------ what a caption says


def _named(words, meanings):
    found = {}
    for before, word in zip(["", *words], words):
        if word in meanings:
            attribute, value = meanings[word]
            found["paper" if attribute == "ink" and before == "on" else attribute] = value
    return found


def _named_with(place: Callable[[str, str, dict], str]) -> Callable[..., dict]:
    """Returns an answer that decides by `place(attribute, word before, found)` where a value
    belongs.
    """

    def answer(words, meanings):
        found: dict = {}
        for before, word in zip(["", *words], words):
            if word in meanings:
                attribute, value = meanings[word]
                found[place(attribute, before, found)] = value
        return found

    return answer


def _named_after_any_on(words, meanings):
    found, seen = {}, False
    for word in words:
        seen = seen or word == "on"
        if word in meanings:
            attribute, value = meanings[word]
            found["paper" if attribute == "ink" and seen else attribute] = value
    return found


def _caption_cases() -> list[tuple]:
    captions = (
        "a thick red 7 leaning left on blue",
        "on yellow paper a bold 4 in violet",
        "tiny 8",
        "white open 4 upright",
        "green 3 on black paper",
        "on black a big red 4",
        "3 in violet",
    )
    return [(caption.split(), word_meanings()) for caption in captions]


NAMED = Exercise(
    id="11.named",
    question=(
        "Return what a caption says, {attribute: value}: meanings[word] is an attribute and its"
        ' value, and a colour right after the word "on" is that of the paper, not of the ink.'
    ),
    solution=_named,
    cases=_caption_cases,
    why="Now the truth of each word can be looked up in a picture.",
    mistakes=(
        Mistake(
            lambda words, meanings: dict(meanings[word] for word in words if word in meanings),
            "You took every colour for that of the ink. After the word on it is the paper's.",
        ),
        Mistake(
            _named_with(
                lambda attribute, before, found: (
                    "paper" if attribute == "ink" and "ink" in found else attribute
                )
            ),
            "You took the first colour for the ink and the second for the paper. The order varies:"
            " look at the word before a colour.",
        ),
        Mistake(
            _named_after_any_on,
            "After the word on you take all colours for that of the paper, also those of later"
            " words.",
        ),
        Mistake(
            _named_with(
                lambda attribute, before, found: (
                    "paper" if attribute == "ink" and before in ("on", "in") else attribute
                )
            ),
            "A 4 in violet has violet ink: only the word on speaks of the paper.",
        ),
        Mistake(
            _named_with(
                lambda attribute, before, found: "paper" if attribute == "ink" else attribute
            ),
            "You took every colour for that of the paper.",
        ),
        Mistake(
            _named_with(
                lambda attribute, before, found: (
                    "paper" if attribute == "ink" and before != "on" else attribute
                )
            ),
            "Ink and paper are swapped: the colour after the word on is the paper's.",
        ),
        Mistake(
            lambda words, meanings: {
                "paper"
                if meanings[word][0] == "ink" and before == "on"
                else meanings[word][0]: word
                for before, word in zip(["", *words], words)
                if word in meanings
            },
            "You returned the words themselves. Synonyms have one value: bold means thick.",
        ),
        Mistake(
            lambda words, meanings: {
                value: name for name, value in _named(words, meanings).items()
            },
            "Keys and values are swapped: the attribute is the key.",
        ),
        Mistake(
            lambda words, meanings: list(_named(words, meanings).items()),
            "You returned a list of pairs. A dictionary is asked for.",
        ),
        Mistake(
            lambda words, meanings: {word: meanings.get(word) for word in words},
            "Your keys are the words of the caption. They should be the attributes, and words"
            " without a meaning are left out.",
        ),
    ),
    hints=(
        "Go through the words, and remember the word before each.",
        'attribute, value = meanings[word]; where the attribute is "ink" and the word before is'
        ' "on", use "paper" in its place.',
        'zip(["", *words], words) gives pairs of neighbours.',
    ),
)

# ------------------------------------------------------------------ tokens


def _encode(captions, vocabulary, length):
    ids = {word: number for number, word in enumerate(vocabulary, start=1)}
    tokens = torch.zeros(len(captions), length, dtype=torch.int64)
    for row, caption in zip(tokens, captions):
        words = caption.replace(",", "").split()
        row[: len(words)] = torch.tensor([ids[word] for word in words])
    return tokens


def _encoded_with(change: Callable[[list[int], int, int], list[int]]) -> Callable[..., Tensor]:
    """Returns an answer whose rows are `change(ids of the words, size of vocabulary, length)`."""

    def answer(captions, vocabulary, length):
        rows = []
        for caption in captions:
            ids = [vocabulary.index(word) + 1 for word in caption.replace(",", "").split()]
            rows.append(change(ids, len(vocabulary), length))
        return torch.tensor(rows)

    return answer


def _filled(ids: list[int], length: int, pad: int = 0) -> list[int]:
    return ids + [pad] * (length - len(ids))


_SOME_WORDS = ("a", "on", "red", "blue", "thin", "3", "7")

TOKENS = Exercise(
    id="11.tokens",
    question=(
        "Return the tokens of captions, int64 [N, length]: 1 for the first word of the vocabulary,"
        " 2 for the second, ..., and 0 where a caption has no more words. Commas do not count."
    ),
    solution=_encode,
    cases=lambda: [
        (["a thin red 3", "on blue, a 7", "7"], _SOME_WORDS, 6),
        (["blue 3 on red"], _SOME_WORDS, 4),
    ],
    why="A network can look up a vector for each number, and 0 tells it where nothing stands.",
    mistakes=(
        Mistake(
            _encoded_with(lambda ids, size, length: _filled([i - 1 for i in ids], length)),
            "You number the words from 0, so the first word cannot be told from no word.",
        ),
        Mistake(
            _encoded_with(lambda ids, size, length: [0] * (length - len(ids)) + ids),
            "Your zeros stand in front. The words come first.",
        ),
        Mistake(
            _encoded_with(lambda ids, size, length: _filled(ids, length, size + 1)),
            "You filled up with a number of its own. The token of no word is 0.",
        ),
        Mistake(
            _encoded_with(lambda ids, size, length: _filled(ids, length, -1)),
            "You filled up with -1. The token of no word is 0.",
        ),
        Mistake(
            _encoded_with(lambda ids, size, length: _filled(ids, length, ids[-1])),
            "You repeated the last word. Fill up with 0.",
        ),
        Mistake(
            _encoded_with(lambda ids, size, length: _filled(sorted(ids), length)),
            "You sorted the words. Their order has a meaning: on blue a red 3.",
        ),
        Mistake(
            _encoded_with(lambda ids, size, length: _filled(ids[::-1], length)),
            "Your words stand in the reverse order.",
        ),
        Mistake(
            _encoded_with(lambda ids, size, length: _filled(ids[:-1], length)),
            "The last word of each caption is missing.",
        ),
        Mistake(
            _encoded_with(lambda ids, size, length: [int(i + 1 in ids) for i in range(size)]),
            "This says which words occur. One number for each word of the caption is asked for, in"
            " its order.",
        ),
        Mistake(
            lambda captions, vocabulary, length: [
                [vocabulary.index(word) + 1 for word in caption.split()] for caption in captions
            ],
            "A comma still hangs on a word, so it is not found: take commas out first.",
        ),
    ),
    hints=(
        "A dictionary from word to number: enumerate(vocabulary, start=1).",
        "Begin with torch.zeros(len(captions), length, dtype=torch.int64).",
        'caption.replace(",", "").split() gives the words; write their numbers into row[:n].',
    ),
)

# ------------------------------------------------------------------ cross-attention


def _attend(queries, keys, values, present):
    scores = queries @ keys.transpose(1, 2) * queries.shape[-1] ** -0.5
    weights = scores.masked_fill(~present[:, None], -torch.inf).softmax(dim=2)
    return weights @ values, weights


def _attend_with(
    weights_of: Callable[[Tensor, Tensor], Tensor],
    scale: Callable[[int, int], float] = lambda dims, words: dims**-0.5,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Returns an answer with `weights_of(scores [B, P, L], present [B, 1, L])`."""

    def answer(queries, keys, values, present):
        scores = queries @ keys.transpose(1, 2) * scale(queries.shape[-1], keys.shape[1])
        weights = weights_of(scores, present[:, None])
        return weights @ values, weights

    return answer


def _masked(scores: Tensor, present: Tensor) -> Tensor:
    return scores.masked_fill(~present, -torch.inf).softmax(2)


def _attention_cases() -> list[tuple]:
    present = torch.tensor([[True, True, False, False], [True, True, True, False]])
    places = (_normal(2, 5, 3, stream=1), _normal(2, 4, 3, stream=2), _normal(2, 4, 3, stream=3))
    one = torch.tensor([[True, False]])
    words = (_normal(1, 1, 8, stream=4), _normal(1, 2, 8, stream=5), _normal(1, 2, 8, stream=6))
    return [(*places, present), (*words, one), (*words, torch.ones_like(one))]


ATTENTION = Exercise(
    id="11.attention",
    question=(
        "Return what each place gets from the words, [B, P, D], and the weights, [B, P, L]:"
        " softmax over the words that are present of queries · keys / √D, times the values."
    ),
    solution=_attend,
    cases=_attention_cases,
    gradients=(0, 1, 2),
    why="So each place of the picture takes from the caption what it needs there.",
    mistakes=(
        Mistake(
            _attend_with(_masked, lambda dims, words: 1.0),
            "The scores are not divided by √D, so the softmax gets sharper with more dimensions.",
        ),
        Mistake(
            _attend_with(_masked, lambda dims, words: 1 / dims),
            "You divided by D. Divide by its square root.",
        ),
        Mistake(
            _attend_with(_masked, lambda dims, words: words**-0.5),
            "You divided by the root of the number of words. D is the length of a query.",
        ),
        Mistake(
            _attend_with(lambda scores, present: scores.softmax(2)),
            "Places where no word stands get weight, too. Mask them out.",
        ),
        Mistake(
            _attend_with(lambda scores, present: _masked(scores, ~present)),
            "Your mask is upside down: only the places without a word get weight.",
        ),
        Mistake(
            _attend_with(lambda scores, present: scores.softmax(2) * present),
            "Your weights do not add up to 1: mask the scores before the softmax.",
        ),
        Mistake(
            _attend_with(lambda scores, present: (scores * present).softmax(2)),
            "You set the scores of absent words to 0, and exp(0) = 1 is still a weight. Use -inf.",
        ),
        Mistake(
            _attend_with(lambda scores, present: scores.softmax(1) * present),
            "Your softmax runs over the places. Each place distributes its weight over the words.",
        ),
        Mistake(
            _attend_with(lambda scores, present: scores.sigmoid() * present),
            "You took a sigmoid of each score. A softmax makes the weights of a place add up to 1.",
        ),
        Mistake(
            lambda queries, keys, values, present: _attend(queries, keys, keys, present),
            "You mixed the keys. The values are what a word hands over.",
        ),
        Mistake(
            lambda queries, keys, values, present: _attend(queries, values, values, present),
            "You compared the queries with the values. They are compared with the keys.",
        ),
        Mistake(
            lambda queries, keys, values, present: _attend(queries, keys, values, present)[0],
            "The weights are missing: return both.",
        ),
    ),
    hints=(
        "queries @ keys.transpose(1, 2) are the scores, [B, P, L].",
        "scores.masked_fill(~present[:, None], -torch.inf) takes absent words out.",
        ".softmax(dim=2) runs over the words; weights @ values mixes them.",
    ),
)

# ------------------------------------------------------------------ the scale of latents


def _scaled(latents):
    mean = latents.mean(dim=(0, 2, 3))[:, None, None]
    std = latents.std(dim=(0, 2, 3))[:, None, None]
    return (latents - mean) / std, mean, std


def _some_latents() -> list[tuple]:
    wide = torch.tensor([3.0, 0.2])[:, None, None] * _normal(60, 2, 4, 4, stream=7)
    high = torch.tensor([1.0, -4.0])[:, None, None]
    return [(wide + high,), (_normal(300, 3, 2, 2, stream=8) * 5 - 1,)]


def _scaled_over(dims: tuple[int, ...]) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    def answer(latents):
        mean, std = latents.mean(dims, keepdim=True)[0], latents.std(dims, keepdim=True)[0]
        return (latents - mean) / std, mean, std

    return answer


SCALE = Exercise(
    id="11.scale",
    question=(
        "Return the latents [N, C, H, W] with mean 0 and standard deviation 1 in each channel, and"
        " the means and standard deviations that you used, [C, 1, 1] each."
    ),
    solution=_scaled,
    cases=_some_latents,
    rtol=1e-2,
    atol=1e-3,
    why="The flow starts from noise of standard deviation 1, and its data now have the same scale.",
    mistakes=(
        Mistake(
            _scaled_over((0, 1, 2, 3)),
            "You took one mean and one standard deviation for all channels. Each has its own.",
        ),
        Mistake(
            _scaled_over((0,)),
            "You took them for each place. A channel has one mean over all pictures and places.",
        ),
        Mistake(
            _scaled_over((2, 3)), "You took them within a picture. Then its brightness is lost."
        ),
        Mistake(
            lambda latents: (
                (latents - _scaled(latents)[1]) / _scaled(latents)[2] ** 2,
                _scaled(latents)[1],
                _scaled(latents)[2] ** 2,
            ),
            "You divided by the variance. Its root is the standard deviation.",
        ),
        Mistake(
            lambda latents: (latents - _scaled(latents)[1], *_scaled(latents)[1:]),
            "You took off the mean only. The standard deviation is not 1 yet.",
        ),
        Mistake(
            lambda latents: (latents / _scaled(latents)[2], *_scaled(latents)[1:]),
            "You divided only. The mean is not 0 yet.",
        ),
        Mistake(
            lambda latents: (
                latents * _scaled(latents)[2] + _scaled(latents)[1],
                *_scaled(latents)[1:],
            ),
            "This is the way back, from normalised latents to those of the decoder.",
        ),
        Mistake(
            lambda latents: (
                latents / _scaled(latents)[2] - _scaled(latents)[1],
                *_scaled(latents)[1:],
            ),
            "First take off the mean, then divide.",
        ),
        Mistake(
            lambda latents: (_scaled(latents)[0], _scaled(latents)[2], _scaled(latents)[1]),
            "Mean and standard deviation are swapped in what you return.",
        ),
        Mistake(
            lambda latents: _scaled(latents)[0],
            "The means and standard deviations are missing: the way back needs them.",
        ),
        Mistake(
            lambda latents: (
                _scaled(latents)[0],
                _scaled(latents)[1].flatten(),
                _scaled(latents)[2].flatten(),
            ),
            "Your means have the shape [C]. With [C, 1, 1] they fit onto [N, C, H, W].",
        ),
    ),
    hints=(
        "A channel's mean goes over pictures, rows and columns: dim=(0, 2, 3).",
        "[:, None, None] gives [C] the shape [C, 1, 1].",
        "(latents - mean) / std",
    ),
)

# ------------------------------------------------------------------ loss


def _caption_loss(network, x0, tokens, noise, t, hidden):
    along = t[:, None, None, None]
    xt = (1 - along) * x0 + along * noise
    told = tokens.masked_fill(hidden[:, None], 0)
    return (network(xt, t, told) - (noise - x0)).square().mean(dim=(1, 2, 3))


def _telling_network(xt: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
    """Stands for a network: its answer depends on all that it is told, and on the words' order."""
    heard = (tokens * torch.arange(1, tokens.shape[1] + 1)).sum(1) / 20
    return xt * (0.3 + t + heard)[:, None, None, None] - 0.2


def _loss_with(
    told: Callable[[Tensor, Tensor], Tensor] = lambda tokens, hidden: tokens.masked_fill(
        hidden[:, None], 0
    ),
    target: Callable[[Tensor, Tensor], Tensor] = lambda x0, noise: noise - x0,
    time: Callable[[Tensor], Tensor] = lambda t: t,
) -> Callable[..., Tensor]:
    def answer(network, x0, tokens, noise, t, hidden):
        xt = torch.lerp(x0, noise, t[:, None, None, None])
        error = network(xt, time(t), told(tokens, hidden)) - target(x0, noise)
        return error.square().flatten(1).mean(1)

    return answer


def _loss_cases() -> list[tuple]:
    tokens = torch.tensor([[2, 4, 1, 0], [3, 0, 0, 0], [1, 2, 3, 4]])
    latents = (_normal(3, 2, 4, 4, stream=9), _normal(3, 2, 4, 4, stream=10))
    times = torch.tensor([0.2, 0.5, 0.9])
    return [
        (_telling_network, latents[0], tokens, latents[1], times, torch.tensor(hidden))
        for hidden in ([False, True, False], [True, False, False], [False, False, False])
    ]


LOSS = Exercise(
    id="11.loss",
    question=(
        "Return the flow-matching loss of each picture, [B]: the mean squared error of the velocity"
        " that network(xt, t, tokens) gives at x_t. Where hidden is True all tokens become 0."
    ),
    solution=_caption_loss,
    cases=_loss_cases,
    why="One network now knows the velocity with a caption and without, as guidance needs it.",
    mistakes=(
        Mistake(
            _loss_with(told=lambda tokens, hidden: tokens),
            "No caption is hidden. Where hidden is True the network should see zeros only.",
        ),
        Mistake(
            _loss_with(told=lambda tokens, hidden: tokens.masked_fill(~hidden[:, None], 0)),
            "You hid the captions that should be shown, and showed the others.",
        ),
        Mistake(
            _loss_with(told=lambda tokens, hidden: torch.zeros_like(tokens)),
            "You hid all captions, so the network never reads one.",
        ),
        Mistake(
            _loss_with(
                told=lambda tokens, hidden: torch.zeros_like(tokens) if hidden.any() else tokens
            ),
            "One hidden caption hides the whole batch. Each picture has its own.",
        ),
        Mistake(
            _loss_with(
                told=lambda tokens, hidden: torch.cat(
                    [tokens[:, :1].masked_fill(hidden[:, None], 0), tokens[:, 1:]], dim=1
                )
            ),
            "You hid the first word only. All words of a hidden caption become 0.",
        ),
        Mistake(
            _loss_with(target=lambda x0, noise: x0 - noise),
            "The sign of the target is wrong: with growing t, x_t moves from the image to noise.",
        ),
        Mistake(
            _loss_with(target=lambda x0, noise: noise),
            "Your target is the noise. The velocity noise - x0 is asked for.",
        ),
        Mistake(
            _loss_with(time=lambda t: 1 - t),
            "You told the network 1 - t. It has to know the time of its x_t.",
        ),
        Mistake(
            _loss_with(told=lambda tokens, hidden: tokens.roll(1, 0)),
            "Each picture came with the caption of another.",
        ),
        Mistake(
            lambda network, x0, tokens, noise, t, hidden: _caption_loss(
                network, noise, tokens, x0, t, hidden
            ),
            "Image and noise are swapped: at t = 0 stands the image.",
        ),
        Mistake(
            lambda *arguments: _caption_loss(*arguments).mean(),
            "This is one number for the whole batch. Return one for each picture.",
        ),
        Mistake(
            lambda network, x0, *rest: _caption_loss(network, x0, *rest) * x0[0].numel(),
            "You took the sum over the entries of a latent. Their mean is asked for.",
        ),
    ),
    hints=(
        "As in notebook 10: x_t = (1 - t) x0 + t noise, with t[:, None, None, None].",
        "tokens.masked_fill(hidden[:, None], 0) hides whole captions.",
        ".square().mean(dim=(1, 2, 3)) keeps one number for each picture.",
    ),
)

# ------------------------------------------------------------------ guidance


def _guided_towards(network, x, t, tokens, away, w):
    wanted, unwanted = network(x, t, tokens), network(x, t, away)
    return unwanted + w * (wanted - unwanted)


def _guided_with(mix: Callable[[Tensor, Tensor, float], Tensor]) -> Callable[..., Tensor]:
    def answer(network, x, t, tokens, away, w):
        return mix(network(x, t, tokens), network(x, t, away), w)

    return answer


def _guide_cases() -> list[tuple]:
    tokens, none = torch.tensor([[2, 4, 1], [3, 0, 0]]), torch.zeros(2, 3, dtype=torch.int64)
    x, t = _normal(2, 1, 2, 2, stream=12), torch.tensor([0.6, 0.3])
    away = torch.tensor([[5, 0, 0], [5, 1, 0]])
    return [
        (_telling_network, x, t, tokens, none, 2.0),
        (_telling_network, x, t, tokens, away, 3.5),
        (_telling_network, x, t, tokens, away, 0.0),
        (_telling_network, x, t, tokens, away, 1.0),
    ]


GUIDE = Exercise(
    id="11.guide",
    question=(
        "Return the velocity that leads from the caption `away` towards the caption `tokens`, w"
        " times as far as the network's own answer to `tokens` does."
    ),
    solution=_guided_towards,
    cases=_guide_cases,
    why="With zeros as `away` this is ordinary guidance, with words it is a negative prompt.",
    mistakes=(
        Mistake(
            _guided_with(lambda wanted, unwanted, w: wanted + w * (unwanted - wanted)),
            "The two are swapped: with a large w you draw what `away` says.",
        ),
        Mistake(
            _guided_with(lambda wanted, unwanted, w: wanted + w * (wanted - unwanted)),
            "Your w is one too large: at w = 1 the answer should be that for the caption.",
        ),
        Mistake(
            _guided_with(lambda wanted, unwanted, w: unwanted + w * wanted),
            "w multiplies the difference between the two answers, not the caption's answer.",
        ),
        Mistake(
            _guided_with(lambda wanted, unwanted, w: w * (wanted - unwanted)),
            "The answer to `away`, from which the way begins, is missing.",
        ),
        Mistake(
            _guided_with(lambda wanted, unwanted, w: unwanted - w * (wanted - unwanted)),
            "The sign is wrong: you lead away from the caption.",
        ),
        Mistake(
            _guided_with(lambda wanted, unwanted, w: w * wanted + (1 + w) * unwanted),
            "The weights of the two answers are w and 1 - w, and add up to 1.",
        ),
        Mistake(
            _guided_with(lambda wanted, unwanted, w: wanted),
            "Your answer does not depend on `away` or on w.",
        ),
        Mistake(
            lambda network, x, t, tokens, away, w: _guided_towards(
                network, x, t, tokens, torch.zeros_like(away), w
            ),
            "You led away from no caption. Ask the network about the caption `away`.",
        ),
        Mistake(
            lambda network, x, t, tokens, away, w: network(x, t, tokens - away) * w,
            "Tokens are names, and their difference means nothing. Ask about both captions.",
        ),
        Mistake(
            lambda network, x, t, tokens, away, w: _guided_towards(
                network, x, torch.ones_like(t), tokens, away, w
            ),
            "You told the network t = 1. It has to know the time of its x.",
        ),
    ),
    hints=(
        "Ask twice: network(x, t, tokens) and network(x, t, away).",
        "At w = 1 the answer is that for the caption, at w = 0 that for `away`.",
        "A straight line through both: unwanted + w (wanted - unwanted).",
    ),
)

# ------------------------------------------------------------------ image to image


def _edit_start(x0, noise, strength, num_steps):
    x = (1 - strength) * x0 + strength * noise
    return x, torch.linspace(strength, 0, num_steps + 1)


def _edit_with(
    x: Callable[..., Tensor] | None = None, times: Callable[[float, int], Tensor] | None = None
) -> Callable[..., tuple[Tensor, Tensor]]:
    def answer(x0, noise, strength, num_steps):
        right = _edit_start(x0, noise, strength, num_steps)
        place = right[0] if x is None else x(x0, noise, strength)
        return place, right[1] if times is None else times(strength, num_steps)

    return answer


EDIT = Exercise(
    id="11.edit",
    question=(
        "Return where a drawing begins that keeps some of the latent x0, namely x_t at t ="
        " strength, and the times of its num_steps equal steps down to 0, [num_steps + 1]."
    ),
    solution=_edit_start,
    cases=lambda: [
        (_normal(2, 2, 3, 3, stream=13), _normal(2, 2, 3, 3, stream=14), 0.6, 3),
        (_normal(1, 1, 2, 2, stream=15), _normal(1, 1, 2, 2, stream=16), 1.0, 4),
        (_normal(1, 1, 2, 2, stream=17), _normal(1, 1, 2, 2, stream=18), 0.25, 1),
    ],
    why="Noise hides fine things first: the coarse shape stays, and the caption does the rest.",
    mistakes=(
        Mistake(
            _edit_with(x=lambda x0, noise, s: s * x0 + (1 - s) * noise),
            "Image and noise have each other's share: strength 1 keeps nothing of the image.",
        ),
        Mistake(
            _edit_with(x=lambda x0, noise, s: x0 + s * noise),
            "You left the image its full share. At time t it has the share 1 - t.",
        ),
        Mistake(
            _edit_with(x=lambda x0, noise, s: noise),
            "You begin with pure noise, so nothing of the image is kept.",
        ),
        Mistake(
            _edit_with(x=lambda x0, noise, s: x0),
            "You begin with the image itself. Without noise there is nothing left to draw.",
        ),
        Mistake(
            _edit_with(x=lambda x0, noise, s: (1 - s) ** 0.5 * x0 + s**0.5 * noise),
            "You took roots of the shares, as if they were variances. The path is a straight line.",
        ),
        Mistake(
            _edit_with(times=lambda s, num: torch.linspace(1, 0, num + 1)),
            "Your times begin at 1, but your x has less noise than that.",
        ),
        Mistake(
            _edit_with(times=lambda s, num: torch.linspace(0, s, num + 1)),
            "Your times rise. The drawing goes from strength down to 0.",
        ),
        Mistake(
            _edit_with(times=lambda s, num: torch.linspace(1 - s, 0, num + 1)),
            "Your times begin at 1 - strength. The x at time t has the share t of noise.",
        ),
        Mistake(
            _edit_with(times=lambda s, num: torch.linspace(s, 0, num + 1)[:-1]),
            "The last time, 0, is missing: num_steps steps have num_steps + 1 times.",
        ),
        Mistake(
            _edit_with(times=lambda s, num: torch.linspace(1, 1 - s, num + 1)),
            "Your drawing ends before the image: the last time is 0.",
        ),
        Mistake(
            lambda x0, noise, strength, num_steps: _edit_start(x0, noise, strength, num_steps)[0],
            "The times are missing: return both.",
        ),
    ),
    hints=(
        "x_t = (1 - t) x0 + t noise, at t = strength.",
        "The times fall from strength to 0: torch.linspace.",
    ),
)

# ------------------------------------------------------------------ the share of right words


def _corrected(num_right, num_pictures, rate, num_values):
    share = num_right / num_pictures
    chance = (1 - rate) / (num_values - 1)
    error = (share * (1 - share) / num_pictures) ** 0.5
    return (share - chance) / (rate - chance), error / (rate - chance)


def _corrected_with(
    chance: Callable[[float, int], float] = lambda rate, values: (1 - rate) / (values - 1),
    scale: Callable[[float, float], float] = lambda rate, chance: rate - chance,
    error: Callable[[float, int], float] = lambda share, num: (share * (1 - share) / num) ** 0.5,
) -> Callable[..., tuple[float, float]]:
    def answer(num_right, num_pictures, rate, num_values):
        share, low = num_right / num_pictures, chance(rate, num_values)
        size = scale(rate, low)
        return (share - low) / size, error(share, num_pictures) / size

    return answer


CORRECTED = Exercise(
    id="11.corrected",
    question=(
        "Return the share of right words, and its standard error, from what a reader found, who is"
        " right with probability rate and takes each of the other values for it alike."
    ),
    solution=_corrected,
    cases=lambda: [(80, 100, 0.9, 2), (450, 600, 0.95, 7), (30, 60, 0.7, 10), (270, 300, 1.0, 3)],
    why="A reader's errors make a good model look worse and a bad one better; now they do not.",
    mistakes=(
        Mistake(
            _corrected_with(chance=lambda rate, values: 0.0, scale=lambda rate, chance: 1.0),
            "This is the share that the reader found right, with its errors in it.",
        ),
        Mistake(
            _corrected_with(chance=lambda rate, values: 0.0),
            "You divided by the rate. Some wrong pictures also pass by an error of the reader.",
        ),
        Mistake(
            _corrected_with(chance=lambda rate, values: 1 - rate),
            "A wrong reading falls on one of num_values - 1 values, and only one is the caption's.",
        ),
        Mistake(
            _corrected_with(chance=lambda rate, values: (1 - rate) / values),
            "A wrong reading is one of the *other* values: there are num_values - 1.",
        ),
        Mistake(
            _corrected_with(chance=lambda rate, values: 1 / values),
            "You took a reader who guesses. This one errs with probability 1 - rate only.",
        ),
        Mistake(
            _corrected_with(scale=lambda rate, chance: rate),
            "Solve share = p rate + (1 - p) chance for p: you divided by the rate alone.",
        ),
        Mistake(
            _corrected_with(scale=lambda rate, chance: 1 - chance),
            "You corrected for what passes by chance, but not for what the reader misses.",
        ),
        Mistake(
            lambda right, num, rate, values: (
                _corrected(right, num, rate, values)[0],
                (right / num * (1 - right / num) / num) ** 0.5,
            ),
            "The error belongs to the share before the correction. It has to be divided as well.",
        ),
        Mistake(
            _corrected_with(error=lambda share, num: share * (1 - share) / num),
            "This is a variance. The standard error is its root.",
        ),
        Mistake(
            _corrected_with(error=lambda share, num: (share * (1 - share)) ** 0.5),
            "This is the spread of one word. The error of a share falls with the root of their"
            " number.",
        ),
        Mistake(lambda *arguments: _corrected(*arguments)[0], "The error is missing: return both."),
    ),
    hints=(
        "With p the true share, pictures pass with probability p rate + (1 - p) chance.",
        "chance = (1 - rate) / (num_values - 1): wrong readings that fall on the right value.",
        "Solve for p. The error of the share, √(share (1 - share) / n), is divided likewise.",
    ),
)

EXERCISES = (*(NAMED, TOKENS, SCALE, ATTENTION, LOSS, GUIDE, CORRECTED, EDIT), *HUNT_EXERCISES)
