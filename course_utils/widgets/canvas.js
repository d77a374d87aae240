// The field of draw_digit(). Python sees `digits`, a list of drawings, the last one on the field. A
// drawing is a list of strokes, a stroke a list of points [x, y] from 0 to 1, with y downwards.
const SIDE = 224, PEN = 18; // pixels
const STEP = 1 / 28; // how far an arrow key moves the pen
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LABEL = "Field to draw a digit on. Arrow keys move the pen, space lowers or lifts it.";
const HELP = "Mouse, finger or arrow keys (space: pen down or up). Next digit keeps what you drew.";
const rounded = (part) => Math.round(1e4 * Math.min(1, Math.max(0, part))) / 1e4;

function render({ model, el }) {
  // data-lm-suppress-shortcuts keeps Jupyter from taking the keys for its own shortcuts
  el.innerHTML = `
    <canvas width="${SIDE}" height="${SIDE}" tabindex="0" role="application" aria-label="${LABEL}"
      data-lm-suppress-shortcuts="true"
      style="background: white; border: 1px solid #555; touch-action: none"></canvas>
    <div><button type="button">Clear</button> <button type="button">Next digit</button></div>
    <div role="status">${HELP}</div>`;
  const [canvas, clear, next, status] = el.querySelectorAll("canvas, button, [role=status]");
  const ink = canvas.getContext("2d");
  let pen = [0.5, 0.5], isDown = false, isShown = false; // shown where the keyboard moves it

  const edit = (change) => {
    const digits = structuredClone(model.get("digits")); // the model notices new lists only
    change(digits.at(-1), digits);
    model.set("digits", digits);
  };
  // a finger enters the field and is pressed on it at once: that is one beginning, not two
  const begin = () => edit((strokes) => `${strokes.at(-1)}` === `${pen}` || strokes.push([pen]));
  const extend = () => edit((strokes) => strokes.at(-1).push(pen));

  const draw = () => {
    ink.clearRect(0, 0, SIDE, SIDE);
    Object.assign(ink, { lineCap: "round", lineJoin: "round", lineWidth: PEN });
    for (const stroke of model.get("digits").at(-1)) {
      ink.beginPath();
      for (const [x, y] of [stroke[0], ...stroke]) ink.lineTo(SIDE * x, SIDE * y);
      ink.stroke();
    }
    ink.fillStyle = isDown ? "#D55E00" : "#56B4E9";
    if (isShown) ink.fillRect(SIDE * pen[0] - 4, SIDE * pen[1] - 4, 8, 8);
  };

  const whilePressed = (change) => (event) => {
    if (event.buttons !== 1) return;
    pen = [event.offsetX, event.offsetY].map((part) => rounded(part / canvas.clientWidth));
    isDown = isShown = false;
    change();
  };
  canvas.addEventListener("pointerdown", whilePressed(begin));
  canvas.addEventListener("pointerenter", whilePressed(begin));
  canvas.addEventListener("pointermove", whilePressed(extend));
  canvas.addEventListener("pointerup", () => model.save_changes());
  canvas.addEventListener("pointerleave", () => model.save_changes());

  canvas.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    if (move) pen = pen.map((part, axis) => rounded(part + STEP * move[axis]));
    else isDown = !isDown;
    if (isDown) move ? extend() : begin();
    isShown = true;
    const [left, top] = pen.map((part) => Math.round(100 * part));
    status.textContent = `Pen ${isDown ? "down" : "up"}, ${left} % from left, ${top} % from top`;
    model.save_changes();
    draw();
  });
  const whenPressed = (change) => () => {
    isDown = isShown = false;
    edit(change);
    model.save_changes();
    status.textContent = `The field is empty. Digits kept: ${model.get("digits").length - 1}`;
  };
  clear.addEventListener("click", whenPressed((strokes) => strokes.splice(0)));
  next.addEventListener("click", whenPressed((strokes, all) => strokes.length && all.push([])));

  draw();
  model.on("change:digits", draw);
  return () => model.off("change:digits", draw);
}
export default { render };
