// A slider with a name and a number beside it. Python sees `value`; of the other traits it is the
// one that says where the slider may stand: at `options`, if there are any, or from `min` to `max`.
function render({ model, el }) {
  // data-lm-suppress-shortcuts keeps Jupyter from taking the keys for its own shortcuts
  el.innerHTML = `
    <div style="display: flex; flex-wrap: wrap; align-items: center; gap: 0 8px; min-height: 28px">
      <span style="flex: 0 0 6.5em; text-align: right"></span>
      <input type="range" data-lm-suppress-shortcuts="true" style="width: 220px; margin: 0">
      <output style="min-width: 3em"></output>
    </div>`;
  const [name, input, number] = el.firstElementChild.children;
  const options = model.get("options");
  const limits = options.length ? { min: 0, max: options.length - 1, step: 1 } : {
    min: model.get("min"), max: model.get("max"), step: model.get("step") };
  Object.assign(input, limits);
  input.ariaLabel = name.textContent = model.get("description");

  const show = () => {
    const value = model.get("value");
    input.value = options.length ? options.indexOf(value) : value;
    number.textContent = options.length ? `${value}` : value.toFixed(model.get("digits"));
    input.ariaValueText = number.textContent;
  };
  input.addEventListener("input", () => {
    const place = input.valueAsNumber;
    model.set("value", options.length ? options[place] : place);
    model.save_changes(); // while Python is busy, only the last place is kept for it
  });
  show();
  model.on("change:value", show);
  return () => model.off("change:value", show);
}
export default { render };
