/** Pictures of the worker on the screen: what limiar's decoder gave, never what the browser makes of the file. */

import { make } from "./dom.js";

const THUMB_PX = 128; // the longer side; shown at 64, on screens with two pixels for one
const FEW = 160; // px: a picture with fewer is shown with its pixels, not smoothed

/** A canvas of {width, height, channels: 1|3, pixels: Uint8Array [height*width*channels]}; label: what it shows, for everyone. */
export function pictureCanvas(picture, label) {
  const { width, height, pixels } = picture;
  const channels = picture.channels ?? 3;
  const canvas = make("canvas", { class: Math.max(width, height) < FEW ? "shown few" : "shown", role: "img", "aria-label": label });
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(rgbaPixels(pixels, channels), width, height), 0, 0);
  return canvas;
}

function rgbaPixels(pixels, channels) {
  const rgba = new Uint8ClampedArray((pixels.length / channels) * 4);
  const [green, blue] = channels === 1 ? [0, 0] : [1, 2];
  for (let from = 0, to = 0; from < pixels.length; from += channels, to += 4) {
    rgba[to] = pixels[from];
    rgba[to + 1] = pixels[from + green];
    rgba[to + 2] = pixels[from + blue];
    rgba[to + 3] = 255;
  }
  return rgba;
}

/** A small copy, as a Blob; null where the browser makes none. */
export async function thumbnailOf(picture) {
  if (!picture) return null;
  const share = Math.min(1, THUMB_PX / Math.max(picture.width, picture.height));
  const small = document.createElement("canvas");
  small.width = Math.max(1, Math.round(picture.width * share));
  small.height = Math.max(1, Math.round(picture.height * share));
  const whole = pictureCanvas(picture, "");
  const drawn = small.getContext("2d");
  drawn.imageSmoothingQuality = "high";
  drawn.drawImage(whole, 0, 0, small.width, small.height);
  whole.width = whole.height = 0; // gives back its memory at once
  return new Promise((resolve) => small.toBlob(resolve, "image/png"));
}

/** An <img> of a Blob, as large as a row's; `left` gets the function that gives its memory back. */
export function thumbnailImage(blob, left, kind = "thumb") {
  if (!blob) return make("span", { class: `${kind} none` });
  const address = URL.createObjectURL(blob);
  left.push(() => URL.revokeObjectURL(address));
  return make("img", { class: kind, src: address, alt: "" });
}
