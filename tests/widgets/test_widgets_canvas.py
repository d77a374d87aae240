"""The field to draw digits on: what strokes become in Python, and that a browser sends them."""

from __future__ import annotations

import base64
import json

import pytest
import torch
from browsers import needs_browser, title_after_opening

from course_utils.base.errors import CourseError
from course_utils.data.handwriting import digit_from_strokes
from course_utils.widgets import draw_digit
from course_utils.widgets.canvas import DigitField

ONE = [[[0.5, 0.2], [0.5, 0.8]]]
SEVEN = [[[0.2, 0.2], [0.6, 0.2], [0.35, 0.8]], [[0.3, 0.5], [0.6, 0.5]]]


def drawn(digits: list, image_shape=(1, 28, 28)) -> DigitField:
    """Returns a field that has received what a browser sends."""
    field = draw_digit(image_shape)
    field.set_state({"digits": digits})
    return field


def test_an_untouched_field_has_no_images():
    field = draw_digit()
    assert field.images.shape == (0, 1, 28, 28) and field.images.dtype == torch.uint8
    with pytest.raises(CourseError, match="expected a digit on the field, got none; draw one"):
        _ = field.value


def test_the_value_is_the_last_digit_prepared_as_those_of_a_sheet():
    field = drawn([ONE, SEVEN])
    assert field.value.dtype == torch.uint8 and field.value.shape == (1, 28, 28)
    assert torch.equal(field.value, digit_from_strokes(SEVEN))
    assert torch.equal(field.images, torch.stack([digit_from_strokes(ONE), field.value]))


def test_empty_drawings_do_not_count():
    field = drawn([ONE, []])
    assert len(field.images) == 1 and torch.equal(field.value, digit_from_strokes(ONE))


def test_images_have_the_shape_of_the_dataset():
    assert drawn([SEVEN], (3, 32, 32)).images.shape == (1, 3, 32, 32)


def test_two_fields_do_not_share_their_digits():
    drawn([ONE])
    assert len(draw_digit().images) == 0


def test_where_no_widget_runs_a_line_says_what_to_do():
    bundle, *_ = draw_digit()._repr_mimebundle_()
    line = bundle["text/plain"]
    assert "photograph" in line and "\n" not in line
    assert len(line) <= 110  # anywidget cuts longer ones off


PAGE = """<!doctype html><title>nothing yet</title><div id="place"></div>
<script type="module">
const { default: widget } = await import("data:text/javascript;base64,SCRIPT");
const state = { digits: [[]] }, listeners = [], seen = {};
let sent = null;
const model = {
  get: (name) => state[name],
  set: (name, value) => {
    if (value === state[name]) return;
    state[name] = value;
    for (const listener of listeners) listener();
  },
  save_changes: () => { sent = structuredClone(state.digits); },
  on: (name, listener) => { if (name === "change:digits") listeners.push(listener); },
  off: (name, listener) => listeners.splice(listeners.indexOf(listener), 1),
};
const el = document.getElementById("place");
const leave = widget.render({ model, el });
const canvas = el.querySelector("canvas"), box = canvas.getBoundingClientRect();
const mouse = (kind, x, y, buttons = 1) => canvas.dispatchEvent(new PointerEvent(kind, {
  clientX: box.left + canvas.clientLeft + x * canvas.clientWidth,
  clientY: box.top + canvas.clientTop + y * canvas.clientHeight,
  buttons, bubbles: true, cancelable: true,
}));
const key = (name) => canvas.dispatchEvent(
  new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
const buttons = [...el.querySelectorAll("button")];
const press = (name) => buttons.find((button) => button.textContent === name).click();
const inkAt = (x, y) => canvas.getContext("2d")
  .getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3] > 0;
const status = el.querySelector("[role=status]");
const look = () => ({ sent, inked: inkAt(0.5, 0.5), status: status.textContent });

mouse("pointermove", 0.1, 0.1, 0);
mouse("pointerdown", 0.5, 0.25);
mouse("pointermove", 0.5, 0.75);
seen.before = look();
mouse("pointerup", 0.5, 0.75, 0);
mouse("pointermove", 0.9, 0.9, 0);
seen.mouse = look();
press("Next digit");
seen.next = look();
for (const name of ["ArrowLeft", " ", "ArrowDown", "ArrowDown", " ", "ArrowRight", "a"]) key(name);
seen.keys = look();
press("Clear");
seen.cleared = look();
mouse("pointerenter", 0.5, 0.5); // a finger enters where it is pressed
mouse("pointerdown", 0.5, 0.5);
mouse("pointermove", 2.0, 0.5);
mouse("pointerleave", 1.0, 0.5);
seen.edge = look();
seen.free = key("Tab") && !key(" ");
seen.label = [canvas.getAttribute("role"), canvas.tabIndex, canvas.getAttribute("aria-label")];
leave();
seen.listeners = listeners.length;
document.title = JSON.stringify(seen);
</script>"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict:
    """What a browser sent, showed and said after each of several actions."""
    folder = tmp_path_factory.mktemp("page")
    script = base64.b64encode(str(draw_digit()._esm).encode()).decode()
    page = folder / "page.html"
    page.write_text(PAGE.replace("SCRIPT", script), encoding="utf-8")
    return json.loads(title_after_opening(page, folder / "profile"))


def near(points: list) -> list:
    return [pytest.approx(point, abs=0.005) for point in points]


@needs_browser
def test_a_stroke_of_the_mouse_is_seen_and_arrives_when_it_ends(seen):
    assert seen["before"]["sent"] is None and seen["before"]["inked"]
    (digit,) = seen["mouse"]["sent"]
    assert [near(stroke) for stroke in digit] == [[[0.5, 0.25], [0.5, 0.75]]]
    (image,) = drawn(seen["mouse"]["sent"]).images
    upright = digit_from_strokes(ONE).double()
    assert (image.double() - upright).abs().mean() < 3


@needs_browser
def test_the_next_digit_starts_on_an_empty_field_and_the_first_is_kept(seen):
    assert seen["next"]["sent"] == [*seen["mouse"]["sent"], []] and not seen["next"]["inked"]
    assert seen["next"]["status"] == "The field is empty. Digits kept: 1"


@needs_browser
def test_arrows_move_the_pen_and_space_lowers_and_lifts_it(seen):
    _, (stroke,) = seen["keys"]["sent"]
    # the pen stood where the mouse left it, and goes one step to the left first
    left, top = 0.5 - 1 / 28, 0.75
    assert stroke == near([[left, top], [left, top + 1 / 28], [left, top + 2 / 28]])
    assert seen["keys"]["status"] == "Pen up, 50 % from left, 82 % from top"


@needs_browser
def test_clear_empties_the_field_and_keeps_the_digits_before(seen):
    assert seen["cleared"]["sent"] == seen["next"]["sent"] and not seen["cleared"]["inked"]


@needs_browser
def test_a_stroke_of_a_finger_is_one_and_ends_at_the_edge_of_the_field(seen):
    (stroke,) = seen["edge"]["sent"][-1]
    assert stroke == near([[0.5, 0.5], [1.0, 0.5]])


@needs_browser
def test_the_keyboard_can_leave_the_field_and_screen_readers_hear_what_it_is(seen):
    role, tab_index, label = seen["label"]
    assert seen["free"] and role == "application" and tab_index == 0
    assert "Field to draw a digit on" in label and "space" in label
    assert seen["listeners"] == 0
