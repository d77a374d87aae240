"""The page of live models: its networks compute what PyTorch computes, and a reader can work it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from accessibility import violations_at_all_sizes
from browsers import needs_browser
from live_page import LivePage
from torch import Tensor

from course_utils.base.device import make_rng, randn
from course_utils.base.errors import CourseError
from course_utils.models.diffusion.samplers import sample, time_grid
from course_utils.training.runs import pretrained
from tools import play

NOISE = randn((1, 1, 28, 28), make_rng(0), torch.empty(()))
IMAGE = NOISE.clamp(-1, 1)
LABEL = torch.tensor([5])


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return play.write_play(tmp_path_factory.mktemp("play"))


@pytest.fixture(scope="module")
def page(file) -> Iterator[LivePage]:
    """The page with all its models read, and their weights under W."""
    with LivePage(file, file.parent / "profile") as opened:
        opened.wait_for("document.documentElement?.dataset.ready")
        opened.value(
            "(async () => { globalThis.W = {}; for (const name of"
            f" {list(play.MODELS)}) W[name] = await readWeights(...weightsOf(name)); }})()"
        )
        yield opened


def model(key: str):
    name, dataset, _ = play.MODELS[key]
    return pretrained(name, dataset).model.eval()


@lru_cache
def painter():
    """The text-to-image model with its weights rounded as in the page."""
    rounded, state = model("caption"), {}
    for name, array in play.weights_of("caption").items():
        values = torch.from_numpy(array.astype("float32"))
        if array.ndim > 1 and len(array) >= play.FEWEST_ROWS:
            numbers, scales = play.rounded_rows(array)
            assert abs(numbers).max() == play.LARGEST_WHOLE
            near = numbers.astype("float32") * scales.astype("float32")[:, None]
            values = torch.from_numpy(near).view_as(values)
        state[name] = values
    assert all(name.startswith("codec.encoder") for name in set(rounded.state_dict()) - set(state))
    rounded.load_state_dict(state, strict=False)
    return rounded


def numbers(values: Tensor) -> str:
    return f"Float32Array.from({json.dumps(values.flatten().tolist())})"


def noise(count: int) -> Tensor:
    return randn((1, count), make_rng(count), torch.empty(()))


def plane_picture() -> tuple[str, Tensor]:
    z = noise(2)
    return f"mlpDecode(W.plane, {numbers(z)})", (model("plane").decode(z) + 1) / 2


def vae_code() -> tuple[str, Tensor]:
    code = f"((c) => [...c.mean, ...c.logvar])(convEncode(W.vae, {numbers(IMAGE)}))"
    return code, torch.cat(model("vae").encode(IMAGE), 1)


def vae_picture() -> tuple[str, Tensor]:
    z = noise(20)
    return f"convDecode(W.vae, {numbers(z)})", (model("vae").decode(z) + 1) / 2


def vae_score() -> tuple[str, Tensor]:
    """-ELBO in nats, written with torch's own distributions; in thousands, as 1e-3 asks."""
    vae, eps = model("vae"), noise(20)
    mean, logvar = vae.encode(IMAGE)
    code = torch.distributions.Normal(mean, (logvar / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(20), torch.ones(20))
    pixels = torch.distributions.Bernoulli(
        logits=vae.decoder(mean + code.stddev * eps), validate_args=False
    )
    nats = (
        torch.distributions.kl_divergence(code, prior).sum()
        - pixels.log_prob((IMAGE + 1) / 2).sum()
    )
    return f"[negativeElbo(W.vae, {numbers(IMAGE)}, {numbers(eps)}) / 1000]", nats / 1000


def gan_picture() -> tuple[str, Tensor]:
    z = noise(64)
    return f"generate(W.gan, {numbers(z)}, 5)", model("gan").generate(z, LABEL)


def diffusion_network() -> tuple[str, Tensor]:
    velocity = model("diffusion").network(NOISE, torch.tensor([0.7]), LABEL)
    return f"unet(W.diffusion, {numbers(NOISE)}, 0.7, 5)", velocity


def guided_sample() -> tuple[str, Tensor]:
    diffusion = model("diffusion")
    denoise = diffusion.denoiser(LABEL, 2.0)
    drawn = sample(denoise, diffusion.schedule, NOISE, times=time_grid(3)).x
    return f"sample(W.diffusion, {numbers(NOISE)}, 5, {{ steps: 3, guidance: 2 }}).image", drawn


def edited_image() -> tuple[str, Tensor]:
    diffusion = model("diffusion")
    eps = randn((1, 1, 28, 28), make_rng(1), torch.empty(()))
    drawn = sample(
        diffusion.denoiser(LABEL, 1.0),
        diffusion.schedule,
        diffusion.schedule.noised(IMAGE, eps, torch.tensor([0.6])),
        times=time_grid(2, start=0.6),
    ).x
    call = f"edit(W.diffusion, {numbers(IMAGE)}, {numbers(eps)}, 5, 0.6, {{ steps: 2 }}).image"
    return call, drawn


def class_probabilities() -> tuple[str, Tensor]:
    """Of a faint image, of whose class the network is not sure."""
    faint = 0.1 * NOISE
    return f"classify(W.classifier, {numbers(faint)})", model("classifier").probabilities(faint)


CAPTION = "a thick red 7 leaning left on blue"


def caption_codes() -> tuple[str, Tensor]:
    tokens = painter().encode_captions([CAPTION])
    codes, present = painter().flow.text(tokens)
    return f"readCaption(W.caption, {tokens[tokens > 0].tolist()}).codes", codes[present]


def caption_picture() -> tuple[str, Tensor]:
    """Three guided steps against another caption, and the decoder."""
    flow, tokens = painter().flow, painter().encode_captions([CAPTION, "a green 7"])
    x = start = randn((1, 8, 8, 8), make_rng(3), torch.empty(()))
    for t in (3 / 3, 2 / 3, 1 / 3):
        told, away = flow(x.expand(2, -1, -1, -1), torch.tensor([t, t]), tokens)
        x = x - (away + 3 * (told - away)) / 3
    told, away = (row[row > 0].tolist() for row in tokens)
    call = f"drawCaption(W.caption, {numbers(start)}, {told}, {{ steps: 3, guidance: 3,"
    return f"{call} negative: {away} }})", painter().codec.decode(x).clamp(-1, 1)


CASES = (
    caption_codes,
    caption_picture,
    plane_picture,
    vae_code,
    vae_picture,
    vae_score,
    gan_picture,
    diffusion_network,
    guided_sample,
    edited_image,
    class_probabilities,
)


@needs_browser
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@torch.no_grad()
def test_the_page_computes_what_pytorch_computes(page, case):
    expression, expected = case()
    seen = torch.tensor(page.value(f"Array.from({expression})"))
    assert expected.flatten().std(correction=0) > 1e-2 or expected.numel() == 1
    torch.testing.assert_close(seen, expected.flatten(), atol=1e-3, rtol=0)


@needs_browser
def test_gradients_of_the_flow_are_those_of_autograd(page):
    x0, eps, times = (
        noise(8).view(4, 2),
        noise(6)[:, :2].expand(4, 2),
        torch.rand(4, generator=make_rng(2)),
    )
    layers, gradients = page.value(
        "(() => { const { layers } = newFlow(1); const { gradients } = flowLoss(layers,"
        f"{numbers(x0)}, {numbers(eps)}, {numbers(times)});"
        "return [layers, gradients].map((all) => all.map(({ weight, bias }) =>"
        "[Array.from(weight), Array.from(bias)])); })()"
    )
    sizes = ((48, 3), (48, 48), (2, 48))
    network = torch.nn.Sequential()
    for (weight, bias), (rows, columns) in zip(layers, sizes):
        layer = torch.nn.Linear(columns, rows)
        layer.weight.data = torch.tensor(weight).view(rows, columns)
        layer.bias.data = torch.tensor(bias, dtype=torch.float32)
        network.extend([layer, torch.nn.SiLU()])
    t = times[:, None]
    velocity = network[:-1](torch.cat([(1 - t) * x0 + t * eps, t], 1))
    (velocity - (eps - x0)).square().sum(1).mean().backward()
    expected = [parameter.grad.flatten() for parameter in network.parameters()]
    seen = [torch.tensor(part) for layer in gradients for part in layer]
    for one, other in zip(seen, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@needs_browser
def test_the_map_answers_to_mouse_and_arrow_keys(page):
    page.drag("#plane", [(0.5, 0.5), (0.75, 0.25)])
    page.wait_for("document.querySelector('#plane-text').textContent === 'z₁ = 1.5, z₂ = 1.5'")
    before = page.value("document.querySelector('#plane-image').toDataURL()")
    page.value("document.querySelector('#plane').focus()")
    for _ in range(5):
        page.key("ArrowLeft")
    page.wait_for("document.querySelector('#plane-text').textContent === 'z₁ = 1.0, z₂ = 1.5'")
    assert page.value("document.querySelector('#plane-image').toDataURL()") != before
    label = page.value("document.querySelector('#plane-image').getAttribute('aria-label')")
    assert "z₁ = 1.0, z₂ = 1.5" in label
    assert "z₁ = 1.0" in page.value("document.querySelector('#status').textContent")


@needs_browser
def test_a_drawn_digit_is_judged_and_cleared(page):
    page.drag("#draw", [(0.5, 0.15), (0.5, 0.3), (0.5, 0.5), (0.5, 0.7), (0.5, 0.85)])
    page.wait_for("document.querySelector('#draw-text').textContent.includes('classifier says 1')")
    page.wait_for("document.querySelector('#edit-image').ariaLabel.includes('told that it is a 1')")
    assert page.value("document.querySelectorAll('#bars li').length") == 10
    page.value("document.querySelector('#draw-clear').click()")
    page.wait_for("document.querySelector('#draw-text').textContent === 'Nothing is drawn yet.'")


@needs_browser
def test_a_caption_is_drawn_and_unknown_words_are_named(page):
    said = "document.querySelector('#caption-text').textContent"
    image = "document.querySelector('#caption-images').toDataURL()"
    before = page.value(image)
    page.value("document.querySelector('#caption-words').value = 'a Green 3, on white'")
    page.value("document.querySelector('#caption-form').requestSubmit()")
    page.wait_for(f"{said}.startsWith('“a Green 3, on white”, guidance 4.0: 4 pictures')")
    drawn = page.value(image)
    assert drawn != before
    assert "a Green 3, on white" in page.value(
        "document.querySelector('#caption-images').getAttribute('aria-label')"
    )
    page.value("document.querySelector('#caption-words').value = 'a pink 3'")
    page.value("document.querySelector('#caption-form').requestSubmit()")
    page.wait_for(f"{said}.startsWith('The model does not know the word “pink”. It knows: 0, 1')")
    assert page.value("document.querySelector('#caption-words').ariaInvalid") == "true"
    assert page.value(image) == drawn
    page.value("document.querySelector('#caption-words').value = 'a '.repeat(25)")
    page.value("document.querySelector('#caption-form').requestSubmit()")
    page.wait_for(f"{said}.startsWith('The model reads 24 words at most, and these are 25.')")


@needs_browser
def test_a_digit_can_be_drawn_with_the_keyboard_alone(page):
    page.value("document.querySelector('#draw').focus()")
    page.key(" ", " ")
    for _ in range(6):
        page.key("ArrowDown")
    page.key(" ", " ")
    page.key("ArrowRight")
    assert page.value("drawing.strokes.map((stroke) => stroke.length)") == [7]
    page.wait_for("document.querySelector('#draw-text').textContent.includes('classifier says')")
    page.value("document.querySelector('#draw-clear').click()")


@needs_browser
def test_sliders_answer_to_keys_and_say_their_value(page):
    page.value("document.querySelector('#diffusion-steps').focus()")
    for _ in range(8):
        page.key("ArrowLeft")
    page.wait_for(
        "document.querySelector('#diffusion-text').textContent.startsWith('after 2 of 2')"
    )
    assert page.value("document.querySelector('output[for=diffusion-steps]').textContent") == "2"
    before = page.value("document.querySelector('#diffusion-image').toDataURL()")
    page.value("document.querySelector('#diffusion-shown').focus()")
    page.key("ArrowLeft")
    page.wait_for(
        "document.querySelector('#diffusion-text').textContent.startsWith('after 1 of 2')"
    )
    assert page.value("document.querySelector('#diffusion-image').toDataURL()") != before


@needs_browser
def test_a_flow_is_trained_on_what_was_drawn(page):
    page.prefer(prefers_reduced_motion="no-preference")
    page.value("document.querySelector('#flow-train').click()")
    page.wait_for("flowField.samples.length === 800")
    page.value("document.querySelector('#flow-train').click()")
    assert (
        page.value("document.querySelector('#flow-train').getAttribute('aria-pressed')") == "false"
    )
    assert "steps, loss" in page.value("document.querySelector('#flow-text').textContent")


@needs_browser
def test_a_walk_takes_one_step_a_press_where_no_motion_is_wanted(page):
    page.prefer(prefers_reduced_motion="reduce")
    page.value("document.querySelector('#gan-walk').click()")
    page.wait_for("document.querySelector('#gan-text').textContent.startsWith('10 %')")
    assert page.value("gan.timer === null")


@needs_browser
def test_every_control_and_picture_has_a_name(page):
    unnamed = page.value(
        "[...document.querySelectorAll('canvas, input, select, button')].filter((e) =>"
        "!(e.ariaLabel || e.labels?.[0]?.textContent.trim() || e.textContent.trim()))"
        ".map((e) => e.id)"
    )
    assert unnamed == []


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page, width):
    page.resize(width, 844)
    assert page.value("document.documentElement.scrollWidth") <= width


@needs_browser
def test_axe_finds_no_serious_violation(page):
    page.drag("#draw", [(0.5, 0.15), (0.5, 0.5), (0.5, 0.85)])
    page.wait_for("document.querySelectorAll('#bars li').length === 10")
    assert violations_at_all_sizes(page) == []
    page.value("document.querySelector('#draw-clear').click()")


@needs_browser
def test_the_page_is_small_needs_no_network_and_complains_of_nothing(page, file, record_property):
    size = file.stat().st_size
    first_ms = int(page.value("document.documentElement.dataset.firstPictureMs"))
    guided_ms = page.value(
        "(() => { const before = performance.now(); sample(W.diffusion, normals(784, 1), 5,"
        "{ steps: 10, guidance: 1.5 }); return performance.now() - before; })()"
    )
    record_property("first_picture_ms", first_ms)
    caption_ms = page.value(
        "(() => { const before = performance.now(); drawCaption(W.caption, normals(512, 1),"
        "[1, 11, 12]); return performance.now() - before; })()"
    )
    record_property("guided_digit_ms", guided_ms)
    record_property("caption_ms", caption_ms)
    assert size <= 6e6
    assert {address.split(":")[0] for address in page.requests} <= {"file", "blob", "data"}
    assert page.problems == []


HIDDEN = "[...document.querySelectorAll('.home, .tree, .onward')].map((one) => one.hidden)"
PAPER = "getComputedStyle(document.body).backgroundColor"


@needs_browser
def test_opened_alone_it_has_no_links_but_may_be_dark(page):
    assert page.value(HIDDEN) == [True, True, True]
    assert page.value(PAPER) == "rgb(255, 255, 255)"
    ink = "document.querySelector('#flow').getContext('2d').getImageData(196, 78, 1, 1).data"
    page.value("document.querySelector('#flow-ring').click()")
    light = page.value(f"[...{ink}]")
    page.value("document.querySelector('button.theme').click()")
    assert page.value(PAPER) == "rgb(15, 20, 26)"
    assert page.value("localStorage.getItem('course-theme')") == "dark"
    assert page.value(f"[...{ink}]") != light  # what is drawn follows
    page.value("document.querySelector('button.theme').click()")


@needs_browser
def test_among_the_pages_of_the_site_it_links_to_them(tmp_path):
    rows = [["Notebooks", "a.html", "A"], ["Notebooks", "play.html", "Play"]]
    rows += [["Homework", "b.html", "B <i>"]]
    file = play.write_play(tmp_path, in_site=True)
    (tmp_path / "pages.js").write_text(f"window.coursePages = {json.dumps(rows)};")
    with LivePage(file, tmp_path / "profile") as opened:
        opened.wait_for("document.documentElement?.dataset.ready")
        assert opened.value(HIDDEN) == [False, False, False]
        links = "[...document.querySelectorAll('.tree a')].map((a) => [a.textContent, a.href])"
        found = [[text, href.rpartition("/")[2]] for text, href in opened.value(links)]
        assert found == [["A", "a.html"], ["Play", "play.html"], ["B <i>", "b.html"]]
        assert opened.value("document.querySelector('[rel=prev]').textContent") == "PreviousA"
        assert opened.value("document.querySelector('[rel=next]').textContent") == "NextB <i>"
        assert violations_at_all_sizes(opened) == []
        assert opened.problems == []


def test_missing_weights_and_weights_of_another_precision_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(play, "course_root", lambda: tmp_path)
    with pytest.raises(CourseError, match="expected shipped weights at .*restore that file"):
        play.weights_of("vae")
    folder = tmp_path / "course_utils" / "pretrained" / "vae-conv-mnist"
    folder.mkdir(parents=True)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(CourseError, match="expected float16, got float32 in a"):
        play.weights_of("vae")
