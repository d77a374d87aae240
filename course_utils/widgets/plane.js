// The plane of latent_pad: a sheet of decoded images, and on it a mark that can be dragged. Python
// sees `place`, [x, y] from 0 to 1 across the sheet, with y downwards.
const STEP = 0.02; // how far an arrow key moves the mark
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LABEL = "Plane of the latents. Drag in it, or press arrow keys.";
const bounded = (part) => Math.round(1e4 * Math.min(1, Math.max(0, part))) / 1e4;

function render({ model, el }) {
  // data-lm-suppress-shortcuts keeps Jupyter from taking the keys for its own shortcuts
  el.innerHTML = `
    <div tabindex="0" role="application" aria-label="${LABEL}" data-lm-suppress-shortcuts="true"
      style="position: relative; max-width: 100%; cursor: crosshair; touch-action: none">
      <img alt="" draggable="false" style="display: block; width: 100%; height: auto">
      <div style="position: absolute; width: 12px; height: 12px; margin: -8px; border-radius: 50%;
        border: 2px solid white; background: #D55E00; pointer-events: none"></div>
    </div>
    <div role="status">Drag in the plane, or press arrow keys.</div>`;
  const [field, status] = el.children, [sheet, mark] = field.children;
  const address = URL.createObjectURL(new Blob([model.get("sheet")], { type: "image/png" }));
  sheet.onload = () => { field.style.width = `${sheet.naturalWidth}px`; };
  sheet.src = address;

  const show = () => {
    const [left, top] = model.get("place").map((part) => `${100 * part}%`);
    Object.assign(mark.style, { left, top });
  };
  const move = (place) => {
    model.set("place", place.map(bounded));
    model.save_changes(); // while Python is busy, only the last place is kept for it
  };

  const drag = (event) => {
    if (event.buttons !== 1) return;
    const box = sheet.getBoundingClientRect();
    move([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
  };
  field.addEventListener("pointerdown", (event) => {
    field.setPointerCapture(event.pointerId); // a drag that leaves the plane goes along its edge
    drag(event);
  });
  field.addEventListener("pointermove", drag);
  field.addEventListener("keydown", (event) => {
    const direction = MOVES[event.key];
    if (!direction) return;
    event.preventDefault();
    move(model.get("place").map((part, axis) => part + STEP * direction[axis]));
    const [left, top] = model.get("place").map((part) => Math.round(100 * part));
    status.textContent = `${left} % from left, ${top} % from top`;
  });

  show();
  model.on("change:place", show);
  return () => {
    model.off("change:place", show);
    URL.revokeObjectURL(address);
  };
}
export default { render };
