/** The ways in for files: chosen, a folder, dropped. */

import { make, icon } from "./dom.js";
import { chosenPictures, droppedPictures } from "../intake.js";

// Named types, not image/*: with these an iPhone hands over its HEIC photos as JPEG, which are refused otherwise.
const ACCEPT = [
  ...["image/png", "image/jpeg", "image/bmp", "image/webp", "image/tiff", "image/x-portable-graymap", "image/x-portable-pixmap"],
  ...[".pgm", ".ppm", ".tif", ".tiff"],
].join(",");

/** The buttons that open the browser's choice of files. answer: what is done with what chosenPictures gives. */
export function chooseButtons(page, answer) {
  const ready = page.started !== null && !page.batch?.running;
  const images = chooseButton(page, answer, ready, { id: "images", iconName: "image", kind: "primary" }, { accept: ACCEPT });
  if (!("webkitdirectory" in HTMLInputElement.prototype)) return images;
  return [...images, ...chooseButton(page, answer, ready, { id: "folder", iconName: "folder", kind: "" }, { webkitdirectory: true })];
}

function chooseButton(page, answer, ready, { id, iconName, kind }, more) {
  const change = async () => {
    const files = [...input.files];
    input.value = ""; // so that the same choice counts once more
    if (files.length) await answer(await chosenPictures(files));
  };
  const input = make("input", { type: "file", multiple: true, hidden: true, id: `choose-${id}`, ...more, on: { change } });
  const text = make("span", { class: kind ? "" : "label", text: page.t(`choose.${id}`) });
  const open = make("button", { type: "button", class: kind || null, disabled: !ready, on: { click: () => input.click() } }, icon(iconName), text);
  return [open, input];
}

/** Takes what is dropped on an element from now on -> () -> void: no longer. */
export function takeDropped(element, answer) {
  const over = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    element.classList.add("dropping");
  };
  const out = () => element.classList.remove("dropping");
  const drop = async (event) => {
    event.preventDefault();
    out();
    await answer(await droppedPictures(event.dataTransfer.items));
  };
  const heard = { dragover: over, dragleave: out, drop };
  for (const [kind, action] of Object.entries(heard)) element.addEventListener(kind, action);
  return () => {
    for (const [kind, action] of Object.entries(heard)) element.removeEventListener(kind, action);
  };
}
