// A picture with a text for those who cannot see it; it shrinks with the window and keeps its shape.
function render({ model, el }) {
  const image = document.createElement("img");
  Object.assign(image.style, { display: "block", maxWidth: "100%", height: "auto" });
  el.append(image);
  let address;
  const show = () => {
    URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    Object.assign(image, { src: address, alt: model.get("alt") });
  };
  show();
  model.on("change:value change:alt", show);
  return () => {
    model.off("change:value change:alt", show);
    URL.revokeObjectURL(address);
  };
}
export default { render };
