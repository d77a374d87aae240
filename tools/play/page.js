// What the page does: it asks the worker for pictures and shows them. The models stand above.
const $ = (id) => document.getElementById(id);
const NEEDS = { plane: ["plane"], map: ["plane"], gan: ["gan"], diffusion: ["diffusion"],
  judge: ["vae", "classifier"], edit: ["diffusion"], caption: ["caption"] };
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const REACH = 3, MAP_SIDE = 14; // of the latent plane: z from -3 to 3, so many pictures a side
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const inkColour = () => getComputedStyle(document.body).color;
const colourOf = (key) => getComputedStyle(document.querySelector(`.key.${key}`)).backgroundColor;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// ---- the worker, made from the text of this page, because file:// allows no other

const worker = new Worker(URL.createObjectURL(new Blob(
  [...document.querySelectorAll("script.for-worker")].map((script) => script.textContent),
  { type: "text/javascript" })));
const waiting = new Map(), sent = new Set();
let lastId = 0;

function weightsOf(model) { // as `readWeights` takes them
  const script = document.querySelector(`script.weights[data-model="${model}"]`);
  return [JSON.parse(script.dataset.entries), script.textContent.trim()];
}

function ask(name, task = {}) {
  const fresh = (NEEDS[name] ?? []).filter((model) => !sent.has(model));
  const weights = Object.fromEntries(fresh.map((model) => [model, weightsOf(model)]));
  for (const model of fresh) sent.add(model);
  return new Promise((resolve, reject) => {
    waiting.set(++lastId, { resolve, reject });
    worker.postMessage({ id: lastId, name, task, weights });
  });
}

worker.onmessage = ({ data: { id, result, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error) reject(new Error(error)); else resolve(result);
};
worker.onerror = (event) => say(`A model stopped: ${event.message}. Reload the page.`);

// A slider moves faster than a model draws: after the wish at work only the last one is fulfilled.
// The work may ask whether a newer wish waits, and leave off.
function latest(work) {
  let running = false, again = false;
  return async function run() {
    if (running) { again = true; return; }
    running = true;
    try {
      do { again = false; await work(() => again); } while (again);
    } catch (error) {
      say(`A model stopped: ${error.message}. Reload the page.`);
    } finally { running = false; }
  };
}

// ---- showing

const say = (text) => { $("status").textContent = text; };

function tile(image, side = 28) { // unit pixels, grey or of three colours -> a small canvas
  const canvas = document.createElement("canvas"), data = new ImageData(side, side), places = side * side;
  canvas.width = canvas.height = side;
  for (let i = 0; i < places; i++)
    data.data.set([0, 1, 2].map((c) => 255 * clamp(image[(c * places) % image.length + i], 0, 1)).concat(255), 4 * i);
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}

function show(id, image, label) {
  $(id).getContext("2d").drawImage(tile(image), 0, 0);
  $(id).setAttribute("aria-label", label);
}

// ---- a canvas under a finger, a mouse or arrow keys; points are from 0 to 1, with y downwards

function pointer(canvas, change, step) { // change(point, isNew)
  let point = [0.5, 0.5];
  const at = (event) => [event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight].map((x) => clamp(x, 0, 1));
  canvas.addEventListener("pointerdown", (event) => {
    if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
    change(point = at(event), true);
  });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons === 1) change(point = at(event), false); });
  canvas.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    point = point.map((x, axis) => clamp(x + step * move[axis], 0, 1));
    change(point, false, true);
  });
}

// Strokes on a canvas: lists of points. With the keyboard, space lowers and lifts the pen.
function pen(canvas, changed, step = 1 / 28) {
  const state = { strokes: [], cursor: null, isDown: false };
  pointer(canvas, (point, isNew, byKey = false) => {
    state.cursor = byKey ? point : null;
    if (!byKey) state.isDown = false;
    if (isNew || (state.isDown && state.strokes.length === 0)) state.strokes.push([point]);
    else if (!byKey || state.isDown) state.strokes.at(-1)?.push(point);
    changed();
  }, step);
  canvas.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    state.cursor ??= [0.5, 0.5];
    state.isDown = !state.isDown;
    if (state.isDown) state.strokes.push([state.cursor]);
    say(state.isDown ? "The pen is down." : "The pen is up.");
    changed();
  });
  return state;
}

function drawStrokes(ink, strokes, place, width) {
  Object.assign(ink, { lineCap: "round", lineJoin: "round", lineWidth: width });
  for (const stroke of strokes) {
    ink.beginPath();
    for (const point of [stroke[0], ...stroke]) ink.lineTo(...place(point));
    ink.stroke();
  }
}

function drawCursor(ink, { cursor, isDown }, side) {
  if (!cursor) return;
  ink.fillStyle = isDown ? colourOf("model") : colourOf("data");
  ink.fillRect(side * cursor[0] - 5, side * cursor[1] - 5, 10, 10);
}

// ---- the latent plane

let place = [0.5, 0.5], map = null;
const zAt = ([x, y]) => [REACH * (2 * x - 1), REACH * (1 - 2 * y)];

function drawPlane() {
  const canvas = $("plane"), ink = canvas.getContext("2d"), [x, y] = place.map((part) => part * canvas.width);
  if (map) ink.drawImage(map, 0, 0);
  Object.assign(ink, { strokeStyle: "#ff9e4f", lineWidth: 3 });
  ink.beginPath();
  ink.arc(x, y, 9, 0, 7);
  ink.stroke();
}

const updatePlane = latest(async () => {
  const z = zAt(place), [z1, z2] = z.map((part) => part.toFixed(1).replace("-", "−"));
  const image = await ask("plane", { z });
  show("plane-image", image, `Picture that the decoder makes of z₁ = ${z1}, z₂ = ${z2}.`);
  $("plane-text").textContent = `z₁ = ${z1}, z₂ = ${z2}`;
  drawPlane();
  say(`The decoder was given z₁ = ${z1} and z₂ = ${z2}.`);
});

pointer($("plane"), (point) => { place = point; updatePlane(); }, 1 / 60);

async function drawMap() {
  const images = await ask("map", { side: MAP_SIDE, reach: REACH });
  map = document.createElement("canvas");
  map.width = map.height = 28 * MAP_SIDE;
  images.forEach((image, i) => map.getContext("2d")
    .drawImage(tile(image), 28 * (i % MAP_SIDE), 28 * Math.floor(i / MAP_SIDE)));
  drawPlane();
}

// ---- the walk in the GAN's noise

const gan = { from: 1, to: 2, timer: null };
const updateGan = latest(async () => {
  const share = Number($("gan-share").value), bound = Number($("gan-bound").value), label = Number($("gan-label").value);
  const image = await ask("gan", { ...gan, timer: null, share, bound, label });
  const text = `${Math.round(100 * share)} % of the way, every number of z within ±${bound.toFixed(1)}`;
  show("gan-image", image, `A ${label} that the GAN drew, ${text}.`);
  $("gan-text").textContent = text;
  showValues();
});

for (const id of ["gan-share", "gan-bound", "gan-label"]) $(id).addEventListener("input", updateGan);
const otherNoise = () => { gan.from = gan.to; gan.to += 1; $("gan-share").value = 0; };
$("gan-new").addEventListener("click", () => { stopWalk(); otherNoise(); updateGan(); });
const stopWalk = () => { clearInterval(gan.timer); gan.timer = null; $("gan-walk").textContent = "Walk"; };
function walk(step) {
  const share = Number($("gan-share").value) + step;
  if (share >= 1) otherNoise(); else $("gan-share").value = share;
  updateGan();
}
$("gan-walk").addEventListener("click", () => {
  if (gan.timer) stopWalk();
  else if (calm.matches) walk(0.1); // one step a press for those who want no motion
  else { gan.timer = setInterval(() => walk(0.02), 60); $("gan-walk").textContent = "Stop"; }
});

// ---- diffusion

const diffusion = { seed: 3, result: null };
function showStep() {
  const { result } = diffusion, shown = Number($("diffusion-shown").value), last = result.trace.length;
  const image = shown < last ? result.trace[shown].x : result.image, label = $("diffusion-label").value;
  show("diffusion-image", image, `Diffusion of a ${label} after ${shown} of ${last} steps.`);
  $("diffusion-text").textContent = `after ${shown} of ${last} steps; ${result.calls} calls of the network in ${result.ms.toFixed(0)} ms`;
}
const updateDiffusion = latest(async () => {
  const [label, guidance, steps] = ["label", "guidance", "steps"].map((part) => Number($(`diffusion-${part}`).value));
  const before = performance.now();
  const result = await ask("diffusion", { seed: diffusion.seed, label, guidance, steps });
  const calls = steps * (guidance === 0 || guidance === 1 ? 1 : 2);
  diffusion.result = { ...result, calls, ms: performance.now() - before };
  Object.assign($("diffusion-shown"), { max: steps, value: steps });
  const strip = $("diffusion-strip");
  strip.width = 56 * (steps + 1);
  const ink = strip.getContext("2d");
  strip.height = 112;
  ink.imageSmoothingEnabled = false;
  result.trace.forEach(({ x, seen }, i) => {
    ink.drawImage(tile(x), 56 * i, 0, 56, 56);
    ink.drawImage(tile(seen), 56 * i, 56, 56, 56);
  });
  ink.drawImage(tile(result.image), 56 * steps, 0, 56, 56);
  strip.setAttribute("aria-label", `${steps} noisy images from pure noise to a ${label}; below each the image that the network sees in it.`);
  showStep();
  showValues();
});
for (const part of ["label", "guidance", "steps"]) $(`diffusion-${part}`).addEventListener("input", updateDiffusion);
$("diffusion-shown").addEventListener("input", () => { if (diffusion.result) showStep(); });
$("diffusion-new").addEventListener("click", () => { diffusion.seed += 1; updateDiffusion(); });

// ---- pictures of a caption

const caption = { seed: 1 }, NUM_PICTURES = 4;
// As in PyTorch: the first word of the vocabulary is 1, and 0 is none.
const vocabulary = $("caption-words").dataset.vocabulary.split(" ");
const wordsOf = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

function faultOf(words) { // what is wrong with a caption, or nothing
  const unknown = words.find((word) => !vocabulary.includes(word)), most = Number($("caption-words").dataset.most);
  if (unknown !== undefined) return `The model does not know the word “${unknown}”. It knows: ${vocabulary.join(", ")}.`;
  return words.length > most ? `The model reads ${most} words at most, and these are ${words.length}.` : "";
}

const updateCaption = latest(async (isOld) => {
  const text = $("caption-words").value, words = wordsOf(text), fault = faultOf(words);
  $("caption-words").setAttribute("aria-invalid", String(fault !== ""));
  $("caption-text").textContent = fault;
  if (fault) return;
  const tokens = words.map((word) => vocabulary.indexOf(word) + 1), guidance = Number($("caption-guidance").value);
  const ink = $("caption-images").getContext("2d"), before = performance.now();
  for (let i = 0; i < NUM_PICTURES; i++) {
    const image = await ask("caption", { tokens, guidance, seed: 100 * caption.seed + i });
    if (isOld()) return;
    ink.drawImage(tile(image, 32), 34 * i, 0);
  }
  const about = words.length ? `“${text.trim()}”` : "no caption", seconds = (performance.now() - before) / 1000;
  $("caption-images").setAttribute("aria-label", `${NUM_PICTURES} pictures that the model drew for ${about}.`);
  $("caption-text").textContent = `${about}, guidance ${guidance.toFixed(1)}: ${NUM_PICTURES} pictures in ${seconds.toFixed(1)} s`;
});
$("caption-form").addEventListener("submit", (event) => { event.preventDefault(); updateCaption(); });
$("caption-guidance").addEventListener("input", updateCaption);
$("caption-new").addEventListener("click", () => { caption.seed += 1; updateCaption(); });

// ---- drawing a digit

// As MNIST's digits: in a box of 20 of 28 pixels, lines 2.8 thick, the centre of mass in the middle.
function digitFrom(strokes) {
  const points = strokes.flat(), [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const left = Math.min(...xs), top = Math.min(...ys), width = Math.max(...xs) - left, height = Math.max(...ys) - top;
  const scale = (20 - 2.8) / Math.max(width, height, 0.2);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  const ink = canvas.getContext("2d", { willReadFrequently: true });
  const inkAround = ([cx, cy]) => {
    ink.clearRect(0, 0, 28, 28);
    drawStrokes(ink, strokes, ([x, y]) => [14 + scale * (x - cx), 14 + scale * (y - cy)], 2.8);
    const { data } = ink.getImageData(0, 0, 28, 28);
    return Float32Array.from({ length: 784 }, (_, i) => data[4 * i + 3] / 255);
  };
  const middle = [left + width / 2, top + height / 2], image = inkAround(middle);
  let mass = 0, x = 0, y = 0;
  image.forEach((value, i) => { mass += value; x += value * ((i % 28) + 0.5); y += value * (Math.floor(i / 28) + 0.5); });
  return inkAround([middle[0] + (x / mass - 14) / scale, middle[1] + (y / mass - 14) / scale]);
}

function drawField() {
  const ink = $("draw").getContext("2d");
  ink.clearRect(0, 0, 224, 224);
  ink.strokeStyle = inkColour();
  drawStrokes(ink, drawing.strokes, (point) => point.map((x) => 224 * x), 18);
  drawCursor(ink, drawing, 224);
}

const updateDrawing = latest(async (isOld) => {
  if (drawing.strokes.length === 0) return clearAnswers();
  const image = digitFrom(drawing.strokes), typical = $("draw-text").dataset.typical;
  show("draw-image", image, "Your drawing, as large and as thick as the digits of MNIST.");
  const { rebuilt, probabilities, nats } = await ask("judge", { image });
  show("rebuilt-image", rebuilt, "What the VAE makes of your drawing.");
  const best = probabilities.indexOf(Math.max(...probabilities));
  $("bars").replaceChildren(...Array.from(probabilities, (p, n) => {
    const item = document.createElement("li"), bar = document.createElement("i");
    bar.style.height = `${80 * p}px`;
    item.append(bar, String(n));
    item.title = `${n}: ${(100 * p).toFixed(1)} %`;
    item.setAttribute("aria-label", item.title);
    return item;
  }));
  $("draw-text").textContent = `The classifier says ${best}, with ${(100 * probabilities[best]).toFixed(1)} %. `
    + `Outlier score of the VAE (−ELBO): ${nats.toFixed(0)} nats; test images of MNIST have ${typical} on average, and higher is stranger.`;
  if (isOld()) return; // SDEdit takes ten calls: not for half a stroke
  const label = Number($("edit-label").value || best);
  const edited = await ask("edit", { image, label, strength: Number($("edit-strength").value), seed: 4 });
  show("edit-image", edited, `What diffusion makes of your drawing, told that it is a ${label}.`);
});

function clearAnswers() {
  const nothing = new Float32Array(784);
  for (const id of ["draw-image", "rebuilt-image", "edit-image"]) show(id, nothing, "Nothing is drawn yet.");
  $("bars").replaceChildren();
  $("draw-text").textContent = "Nothing is drawn yet.";
}

const drawing = pen($("draw"), () => { drawField(); updateDrawing(); });
$("draw-clear").addEventListener("click", () => { Object.assign(drawing, { strokes: [], cursor: null, isDown: false }); drawField(); updateDrawing(); });
for (const id of ["edit-strength", "edit-label"]) $(id).addEventListener("input", updateDrawing);

// ---- the flow on a drawn distribution

const flowField = { samples: [], isTraining: false };
// The field shows the plane from -2.5 to 2.5.
const toField = ([x, y]) => [(x / 5 + 0.5) * 392, (0.5 - y / 5) * 392];
const toPlane = ([x, y]) => [5 * (x - 0.5), 5 * (0.5 - y)];

// Points at equal distances along the strokes, so that fast and slow hands draw the same.
function pointsAlong(strokes) {
  const spacing = 0.004;
  return strokes.flatMap((stroke) => stroke.flatMap((point, i) => {
    const before = stroke[Math.max(0, i - 1)], length = Math.hypot(point[0] - before[0], point[1] - before[1]);
    const count = Math.max(1, Math.round(length / spacing));
    return Array.from({ length: count }, (_, j) =>
      toPlane([0, 1].map((axis) => before[axis] + ((j + 1) / count) * (point[axis] - before[axis]))));
  }));
}

function drawFlow() {
  const ink = $("flow").getContext("2d");
  ink.clearRect(0, 0, 392, 392);
  ink.strokeStyle = colourOf("data");
  drawStrokes(ink, flowPen.strokes, (point) => point.map((x) => 392 * x), 5);
  ink.fillStyle = colourOf("model");
  for (let i = 0; i < flowField.samples.length; i += 2) {
    const [x, y] = toField([flowField.samples[i], flowField.samples[i + 1]]);
    ink.fillRect(x - 2, y - 2, 4, 4);
  }
  drawCursor(ink, flowPen, 392);
}

function setTraining(isTraining) {
  flowField.isTraining = isTraining;
  $("flow-train").textContent = isTraining ? "Stop" : "Train";
  $("flow-train").setAttribute("aria-pressed", String(isTraining));
}

const trainLoop = latest(async () => {
  while (flowField.isTraining) {
    const points = pointsAlong(flowPen.strokes);
    const { loss, step, samples } = await ask("trainFlow", { points, steps: calm.matches ? 200 : 20, count: 400 });
    if (!flowField.isTraining) break;
    flowField.samples = samples;
    $("flow-text").textContent = `${step} steps, loss ${loss.toFixed(2)}`;
    drawFlow();
    if (step >= 2000) { setTraining(false); say(`The flow was trained for ${step} steps; its loss is ${loss.toFixed(2)}.`); }
  }
});

async function resetFlow(strokes) {
  setTraining(false);
  Object.assign(flowPen, { strokes, cursor: null, isDown: false });
  flowField.samples = [];
  $("flow-text").textContent = "Not trained yet.";
  drawFlow();
  await ask("newFlow", { seed: 1 });
}

const arc = (cx, cy, radius, from, to) => Array.from({ length: 61 }, (_, i) => {
  const angle = from + ((to - from) * i) / 60;
  return [cx + radius * Math.cos(angle), cy + radius * Math.sin(angle)];
});
const ring = () => [arc(0.5, 0.5, 0.3, 0, 2 * Math.PI)];
const flowPen = pen($("flow"), () => drawFlow(), 1 / 40);
$("flow-train").addEventListener("click", () => {
  if (flowPen.strokes.length === 0) { say("Draw some points first."); return; }
  setTraining(!flowField.isTraining);
  trainLoop();
});
$("flow-clear").addEventListener("click", () => resetFlow([]));
$("flow-ring").addEventListener("click", () => resetFlow(ring()));
$("flow-moons").addEventListener("click", () => resetFlow([arc(0.4, 0.45, 0.22, Math.PI, 2 * Math.PI), arc(0.6, 0.55, 0.22, 0, Math.PI)]));

// ---- the other pages of the course: pages.js names them, where it lies beside this one

function pageLink([, href, title], properties = {}) {
  return Object.assign(document.createElement("a"), { href, textContent: title, ...properties });
}

function linkPages(pages) {
  const tree = document.querySelector(".tree"), here = pages.findIndex(([, href]) => href === "play.html");
  for (const part of new Set(pages.map(([name]) => name))) {
    const list = document.createElement("ul");
    list.append(...pages.filter(([name]) => name === part).map((page) => {
      const item = document.createElement("li"), link = pageLink(page);
      if (page === pages[here]) link.setAttribute("aria-current", "page");
      item.append(link);
      return item;
    }));
    tree.querySelector("nav").append(Object.assign(document.createElement("p"), { textContent: part }), list);
  }
  for (const [rel, word, page] of [["prev", "Previous", pages[here - 1]], ["next", "Next", pages[here + 1]]]) {
    if (!page) continue;
    const link = pageLink(page, { rel });
    link.prepend(Object.assign(document.createElement("span"), { textContent: word }));
    document.querySelector(".onward").append(link);
  }
  document.querySelector(".home").href = "index.html";
  for (const hidden of document.querySelectorAll(".home, .tree, .onward")) hidden.hidden = false;
  tree.open = matchMedia("(min-width: 68rem)").matches; // there it stands beside the text
}
if (window.coursePages) linkPages(window.coursePages);

// ---- the first pictures

// Beside each slider stands its value, also where the page itself moves it.
function showValues() {
  for (const output of document.querySelectorAll("output")) output.textContent = $(output.htmlFor.value).value;
}
document.addEventListener("input", showValues);

const redraw = () => { drawField(); drawFlow(); };
document.addEventListener("themechange", redraw);
(async () => {
  await updatePlane();
  document.documentElement.dataset.firstPictureMs = Math.round(performance.now()); // since it was opened
  await Promise.all([drawMap(), updateGan(), updateDiffusion(), resetFlow(ring())]);
  clearAnswers();
  drawField();
  await updateCaption(); // it takes seconds, so all else comes first
  say("All models are ready.");
  document.documentElement.dataset.ready = "yes";
})();
