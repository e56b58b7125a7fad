/** What all containers have in common: the limits of size, and some refusals. */

import { ImageError } from "../../errors.js";
import { afterEnd } from "./trailing.js";

const MEGAPIXEL = 1_000_000;

// Those of the desktop, so that a phone answers what a desktop answers. edge_app's container.py says why.
export const PIXELS_MP = 50;
export const PIXELS_MP_TWICE = 16; // TIFF, and JPEG with several scans
export const PIXELS_MP_PADDED = 20; // of a TIFF's tiles, which reach beyond its edges
export const PIXELS_MP_WEBP = 12;

export const SIDE_PX = 65_535; // JPEG's limit

export function truncated(what) {
  return new ImageError("E-IMAGE-TRUNCATED", `ends inside ${what}: copy or record it again`);
}

/** A name for the padding after the end, or "". Throws ImageError: the end is missing, or something else follows. */
export function checkEnd(bytes, end, what) {
  if (bytes.length < end) throw truncated(what);
  return afterEnd(bytes, end, what);
}

export function unreadDepth(what) {
  const cure = "save it with 8 bits a channel (or 16-bit grey)";
  return new ImageError("E-IMAGE-DEPTH", `${what} is not in the image rules: ${cure}`);
}

/** Throws ImageError if an image is too large for its decoder to decode in bounded memory. */
export function checkPixels(kind, width, height, limitMp) {
  if (width * height > limitMp * MEGAPIXEL) {
    const met = `${width}x${height} pixels, the limit for this kind of ${kind} is ${limitMp} megapixels`;
    throw new ImageError("E-IMAGE-PIXELS", `${met}: make it smaller`);
  }
  if (Math.max(width, height) > SIDE_PX) {
    const met = `${width}x${height} pixels, the limit of a side is ${SIDE_PX}`;
    throw new ImageError("E-IMAGE-PIXELS", `${met}: make it smaller`);
  }
}
