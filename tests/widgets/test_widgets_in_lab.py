"""What a reader has in JupyterLab: whole notebooks run there, and every widget answers to keys and
to the pointer, in time, whatever the width of the window. One Lab serves all tests of this file.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from typing import Any

import nbformat
import pytest
from browsers import needs_browser
from live_lab import LabPage, LiveLab

from course_utils.base.files import course_root

pytestmark = needs_browser

ROOT = course_root()
# The notebooks that run whole, and how many of their outputs have sliders.
NOTEBOOKS = {"00_start_here": 1, "04_vae_on_digits": 3, "07_diffusion": 3}
SETUP = """import torch
from course_utils import load_dataset, make_rng, models, pretrained, uint8_to_signed, widgets

dataset = load_dataset("strokes")
vae, flat = (pretrained(name, dataset).model for name in ("vae", "vae-latent2"))
diffusion = pretrained("diffusion", dataset).model
stations = torch.randn(4, vae.config.latent_dim, generator=make_rng(0))
image, labels = uint8_to_signed(dataset.test_images[:1])[0], torch.arange(8)
denoise = diffusion.denoiser(dataset.test_labels[:1], guidance_scale=1.0)
draw, names = widgets.label_draws(diffusion), dataset.class_names"""
# Every widget with a picture, by its cell in a notebook of their own, and the sliders it has.
WIDGETS = {
    "latent_explorer(vae.decode, stations[0], [3, 1])": ("z[3]", "z[1]"),
    "latent_pad(flat.decode, models.prior_quantiles(11))": ("z[0]", "z[1]"),
    "walk_scrubber(vae.decode, stations)": ("way",),
    "temperature_explorer(vae.decode, stations.shape[1])": ("temperature",),
    "truncation_explorer(vae.decode, stations.shape[1])": ("truncation",),
    "noise_level_explorer(denoise, diffusion.schedule, image)": ("t",),
    "step_scrubber(diffusion.trace(8, labels=labels, rng=make_rng(0)))": ("step",),
    "digit_drawer(draw, names)": ("seed",),
    "guidance_explorer(draw, names)": ("scale w",),
    "elbo_explorer()": ("mean", "std", "x"),
    "fid_explorer()": ("mean x", "mean y", "std x", "std y", "correlation"),
    "inception_explorer()": ("confidence", "classes"),
}
EXPLORER, PAD, WALK, DRAWER, ELBO = 1, 2, 3, 8, 10  # numbers of cells; the first is SETUP
SLIDERS = [(cell, name) for cell, names in enumerate(WIDGETS.values(), 1) for name in names]
FIELD = len(WIDGETS) + 1
LOOK_AT_FIELD = "print(len(field.images), [len(stroke) for stroke in field.digits[-1]])"

NUM_KEYS = 3
# From key to picture. A core of its own takes 30 to 300 ms; tests share theirs with others.
MAX_MEDIAN_SECONDS = 3.0
MIN_SLIDER_PIXELS = 200
PROBE = """
globalThis.cell = (number) => book.content.widgets[number].node;
globalThis.slider = (number, name) => cell(number).querySelector(`input[aria-label="${name}"]`);
// Notes the times of what is done in a node from now on, and of the pictures that it shows.
globalThis.watch = (node) => {
  globalThis.watching?.abort();
  globalThis.watching = new AbortController();
  globalThis.seen = { keydown: [], input: [], pointermove: [], click: [], load: [] };
  for (const [kind, times] of Object.entries(seen)) {
    const note = () => times.push(performance.now());
    node.addEventListener(kind, note, { capture: true, signal: watching.signal });
  }
  globalThis.watched = node;
};
globalThis.pixels = async () => {
  const picture = watched.querySelector("img:not([alt=''])");
  const bytes = await (await fetch(picture.src)).arrayBuffer();
  return new Uint8Array(await crypto.subtle.digest("SHA-1", bytes)).join();
};
globalThis.hold = (node) => {
  document.querySelector("[data-held]")?.removeAttribute("data-held");
  node.dataset.held = "yes";
  node.scrollIntoView({ block: "center" });
  node.focus();
};
"""
HELD = "[data-held]"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The page of a Lab with copies of notebooks, and with one that holds all widgets."""
    folder = tmp_path_factory.mktemp("lab")
    files = folder / "files"
    files.mkdir()
    for name in NOTEBOOKS:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", files)
    calls = [f"widgets.{call}" for call in WIDGETS]
    cells = [SETUP, *calls, "field = widgets.draw_digit()\nfield", LOOK_AT_FIELD]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel}
    )
    nbformat.write(notebook, files / "widgets.ipynb")
    env = {
        "COURSE_BUDGET": "smoke",
        "COURSE_DATASET": "strokes",
        "COURSE_DEVICE": "cpu",
        "COURSE_MY_MODELS": str(folder / "my_models.py"),
        "COURSE_OFFLINE": "1",
        "COURSE_RUNS": str(folder / "runs"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    with LiveLab(folder, files, env) as server, LabPage(server, folder / "profile") as page:
        page.value(f"{PROBE};1")
        yield page


@pytest.fixture(scope="module")
def board(lab):
    """The notebook with all widgets, after it has run."""
    lab.open("widgets.ipynb")
    assert_ran(lab, lab.run_all())
    yield lab
    lab.close()


def assert_ran(page: LabPage, cells: list[dict[str, Any]]) -> None:
    """Checks that every cell ran without an error, and that the console has none."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [one["evalue"] for one in outputs if one["output_type"] == "error"] == []
    assert all(cell["execution_count"] for cell in cells) and page.errors == []


def settle(page: LabPage) -> None:
    """Waits until nothing more happens in what is watched."""
    before = None
    while before != (before := page.value("JSON.stringify(seen)")):
        time.sleep(0.2)
        page.wait_for("book.sessionContext.session.kernel.status === 'idle'")


def seconds_to_picture(page: LabPage, act) -> float:
    """Returns how long it takes after `act` until what is watched shows another picture."""
    settle(page)
    before = page.value("pixels()")
    page.value("(watch(watched), 1)")
    act()
    page.wait_for("seen.load.length")
    seen = page.value("seen")
    assert page.value("pixels()") != before
    first = min(times[0] for kind, times in seen.items() if kind != "load" and times)
    return (seen["load"][0] - first) / 1000


def hold(page: LabPage, node: str) -> None:
    """Scrolls to a control and gives it the focus."""
    page.value(f"(hold({node}), 1)")


def drag_to(page: LabPage, share: float) -> None:
    """Drags the held slider from where it stands to a share of its length."""
    here = page.value(
        f"(({{min, max, valueAsNumber}}) => (valueAsNumber - min) / (max - min))"
        f"(document.querySelector('{HELD}'))"
    )
    inside = min(0.97, max(0.03, here))
    page.drag(HELD, [(inside, 0.5), ((inside + share) / 2, 0.5), (share, 0.5)])


# ---- whole notebooks


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_to_its_end_and_its_sliders_move(lab, name):
    lab.open(f"{name}.ipynb")
    assert_ran(lab, lab.run_all())
    outputs = lab.value(
        "(globalThis.outputs = [...book.node.querySelectorAll('.jp-OutputArea-child')].filter("
        "(one) => one.querySelector('input[type=range]'))).length"
    )
    for number in range(outputs):
        lab.value(f"(watch(outputs[{number}]), 1)")
        hold(lab, "watched.querySelector('input[type=range]')")
        seconds_to_picture(lab, lambda: drag_to(lab, 0.85))
    assert outputs == NOTEBOOKS[name] and lab.errors == []
    lab.close()


# ---- every widget


@pytest.mark.parametrize(("cell", "name"), SLIDERS)
def test_a_slider_answers_to_pointer_and_keys_in_time(board, cell, name):
    board.value(f"(watch(cell({cell})), 1)")
    hold(board, f"slider({cell}, '{name}')")
    seconds_to_picture(board, lambda: drag_to(board, 0.55))
    times = [seconds_to_picture(board, lambda: board.key("ArrowRight")) for _ in range(NUM_KEYS)]
    median = statistics.median(times)
    print(f"{cell:2} {name:12} median {1000 * median:4.0f} ms, slowest {1000 * max(times):4.0f} ms")
    assert median < MAX_MEDIAN_SECONDS and board.errors == []


def test_buttons_and_menus_answer_to_pointer_and_keys(board):
    board.value(f"(watch(cell({EXPLORER})), 1)")
    hold(board, "watched.querySelector('button.widget-button')")
    seconds_to_picture(board, lambda: board.drag(HELD, [(0.5, 0.5)]))
    seconds_to_picture(board, lambda: board.key(" ", " "))
    board.value(f"(watch(cell({DRAWER})), 1)")
    hold(board, "watched.querySelectorAll('.widget-toggle-button')[4]")
    seconds_to_picture(board, lambda: board.drag(HELD, [(0.5, 0.5)]))
    hold(board, "watched.querySelectorAll('.widget-toggle-button')[6]")
    seconds_to_picture(board, lambda: board.key(" ", " "))
    board.value(f"(watch(cell({WALK})), 1)")
    hold(board, "watched.querySelector('select')")
    seconds_to_picture(board, lambda: board.key("ArrowDown"))


def test_the_plane_of_latents_is_dragged_and_the_sliders_follow(board):
    board.value(f"(watch(cell({PAD})), 1)")
    hold(board, "watched.querySelector('[role=application]')")
    path = [(0.5, 0.5), (0.6, 0.4), (0.8, 0.2)]
    seconds_to_picture(board, lambda: board.drag(HELD, path))
    settle(board)
    numbers = "[...watched.querySelectorAll('output')].map((one) => Number(one.textContent))"
    # tiles 8.3 and 8.3 of 11, between the quantiles 0.788 and 0.884 of N(0, 1)
    assert board.value(numbers) == pytest.approx([0.89, 0.89], abs=0.05)
    seconds_to_picture(board, lambda: board.key("ArrowLeft"))
    settle(board)
    left, same = board.value(numbers)
    assert left < same == pytest.approx(0.89, abs=0.05)


def test_a_digit_is_drawn_by_pointer_and_by_keys(board):
    board.value(f"(watch(cell({FIELD})), 1)")
    hold(board, "watched.querySelector('canvas')")
    board.drag(HELD, [(0.3, 0.2), (0.7, 0.2), (0.5, 0.5), (0.4, 0.8)])
    settle(board)
    assert board.run_last() == "1 [4]\n"
    hold(board, "watched.querySelector('canvas')")
    for key, text in ((" ", " "), ("ArrowDown", ""), ("ArrowDown", ""), (" ", " ")):
        board.key(key, text)
    settle(board)
    assert board.run_last() == "1 [4, 3]\n"


@pytest.mark.parametrize(
    ("cell", "control", "kind"),
    [
        (DRAWER, f"slider({DRAWER}, 'seed')", "input"),  # the slowest picture
        (ELBO, f"slider({ELBO}, 'mean')", "input"),
        (PAD, f"cell({PAD}).querySelector('[role=application]')", "pointermove"),
    ],
)
def test_dragging_leaves_pictures_out_and_ends_with_the_last(board, cell, control, kind):
    board.value(f"(watch(cell({cell})), 1)")
    hold(board, control)
    one = seconds_to_picture(board, lambda: board.drag(HELD, [(0.1, 0.5), (0.12, 0.5)]))
    settle(board)
    board.value("(watch(watched), 1)")
    board.drag(HELD, [(0.1 + 0.8 * step / 60, 0.5) for step in range(61)])
    settle(board)
    seen = board.value("seen")
    rest = (seen["load"][-1] - seen[kind][-1]) / 1000
    print(f"{len(seen[kind])} events, {len(seen['load'])} pictures, the last after {rest:.2f} s")
    assert len(seen["load"]) <= len(seen[kind]) and rest < 0.5 + 4 * one
    if cell == DRAWER:
        assert len(seen["load"]) < 0.7 * len(seen[kind])
        seed = board.value(f"slider({DRAWER}, 'seed').value")
        assert board.value("watched.textContent").endswith(f"seed {seed}")


# ---- what it looks like, and what it says


def test_sliders_and_pictures_say_what_they_are(board):
    named = {role: [] for role in ("slider", "image", "combobox", "application")}
    for cell in range(1, FIELD + 1):  # one by one, since what is far off has no tree
        hold(board, f"cell({cell})")
        node = board.ask("Runtime.evaluate", expression=f"cell({cell})")["result"]["objectId"]
        for part in board.ask("Accessibility.queryAXTree", objectId=node)["nodes"]:
            if not part["ignored"] and (role := part["role"]["value"]) in named:
                named[role].append(part.get("name", {}).get("value", ""))
    assert named["slider"] == [name for _, name in SLIDERS]
    assert len(named["image"]) == len(WIDGETS) and all(len(text) > 15 for text in named["image"])
    assert named["combobox"] == ["path"] and len(named["application"]) == 2
    assert all(named["application"])


@pytest.mark.parametrize("width", [900, 1280])
def test_sliders_keep_their_width_and_pictures_their_shape(board, width):
    board.resize(width, 900)
    board.value("jupyterapp.commands.execute('filebrowser:activate').then(() => 1)")
    time.sleep(1)
    assert not board.value("jupyterapp.shell.leftCollapsed")
    sliders, pictures = board.value(
        "(() => { const all = (kind) => [...book.node.querySelectorAll(kind)]; return ["
        "all('input[type=range]').map((one) => [one.clientWidth, one.getBoundingClientRect().right"
        " - one.closest('.jp-OutputArea-output').getBoundingClientRect().right]),"
        "all('.jp-OutputArea-output img').map((one) =>"
        " [one.clientWidth * one.naturalHeight, one.clientHeight * one.naturalWidth])]; })()"
    )
    assert len(sliders) == len(SLIDERS) and len(pictures) == len(WIDGETS) + 1  # the pad has two
    assert min(pixels for pixels, _ in sliders) >= MIN_SLIDER_PIXELS
    assert max(beyond for _, beyond in sliders) <= 0
    for wide, high in pictures:
        assert wide == pytest.approx(high, rel=0.02) and wide > 0
