/** BMP of 16, 24 or 32 bits -> RGB, perhaps alpha: edge_app/image/decoders/bmp_masks.py, and Pillow's layouts. */

import { ImageError } from "../../errors.js";
import { BMP_MASKS } from "../containers/bmp.js";
import { littleNumber } from "../containers/bytes.js";

const MASKS_AT = 54; // within the header, or after one of 40 bytes
const HEADER_WITH_ALPHA = 56; // bytes of the shortest header with a mask for alpha
const BGR_555 = [0x7c00, 0x3e0, 0x1f, 0];
const BGR_565 = [0xf800, 0x7e0, 0x1f, 0];
const BGR_888 = [0xff0000, 0xff00, 0xff];
const BGRA_8888 = [0xff0000, 0xff00, 0xff, 0xff000000];
const NO_MASKS = [0, 0, 0, 0]; // of 32 bits: as BGRA_8888

/** -> {channels: 3 | 4, pixels: Uint8Array [height * width * channels]}, upright. Throws ImageError. */
export function bmpChannels(bytes, container) {
  const { depth, compression } = container;
  const masks = compression === BMP_MASKS ? bmpMasks(bytes) : depth === 16 ? BGR_555 : [...BGR_888, 0];
  if (depth === 24) {
    if (BGR_888.some((mask, channel) => mask !== masks[channel])) {
      throw new ImageError("E-IMAGE-BROKEN", "BMP does not decode (Unsupported BMP bitfields layout): copy or record it again");
    }
    return { channels: 3, pixels: bgrPixels(bytes, container, 3) };
  }
  if (depth === 32 && isLayout(masks, [[...BGR_888, 0]])) return { channels: 3, pixels: bgrPixels(bytes, container, 3) };
  if (depth === 32 && isLayout(masks, [BGRA_8888, NO_MASKS])) return seenBmp(bgrPixels(bytes, container, 4));
  const exact = depth === 32 || !isLayout(masks, [BGR_555, BGR_565]); // Pillow reads these two for edge_app, and rounds down
  if (exact) checkMasks(masks, depth);
  if (masks[3]) return seenBmp(maskedPixels(bytes, container, masks, exact));
  return { channels: 3, pixels: maskedPixels(bytes, container, masks.slice(0, 3), exact) };
}

function isLayout(masks, known) {
  return known.some((layout) => layout.every((mask, at) => mask === masks[at]));
}

/** Of red, green, blue and alpha; 0: none. */
function bmpMasks(bytes) {
  const masks = [0, 4, 8, 12].map((at) => littleNumber(bytes, MASKS_AT + at, 4));
  if (littleNumber(bytes, 14, 4) < HEADER_WITH_ALPHA) masks[3] = 0;
  return masks;
}

/** Throws ImageError: a mask is not a run of bits. */
function checkMasks(masks, depth) {
  masks.forEach((mask, channel) => {
    const lowest = (mask & -mask) >>> 0;
    const apart = mask & (mask + lowest);
    if (apart || mask >= 2 ** depth || !(mask || channel === 3)) {
      throw new ImageError("E-IMAGE-COLOUR", `a BMP with the colour mask 0x${mask.toString(16)}: save it with 24 bits`);
    }
  });
}

function storedRowAt({ topDown, height, offset, rowBytes }, row) {
  return offset + (topDown ? row : height - 1 - row) * rowBytes;
}

function bgrPixels(bytes, container, channels) {
  const { width, height, depth } = container;
  const pixels = new Uint8Array(width * height * channels);
  for (let row = 0, to = 0; row < height; row++) {
    let at = storedRowAt(container, row);
    for (let column = 0; column < width; column++, at += depth / 8) {
      pixels[to++] = bytes[at + 2];
      pixels[to++] = bytes[at + 1];
      pixels[to++] = bytes[at];
      if (channels === 4) pixels[to++] = bytes[at + 3];
    }
  }
  return pixels;
}

/** The bits of each mask scaled to 0..255, rounded to the nearest, or down. */
function maskedPixels(bytes, container, masks, nearest) {
  const { width, height, depth } = container;
  const shifts = masks.map((mask) => 31 - Math.clz32(mask & -mask));
  const mosts = masks.map((mask, channel) => mask >>> shifts[channel]);
  const pixels = new Uint8Array(width * height * masks.length);
  for (let row = 0, to = 0; row < height; row++) {
    let at = storedRowAt(container, row);
    for (let column = 0; column < width; column++, at += depth / 8) {
      let sample = bytes[at] | (bytes[at + 1] << 8);
      if (depth === 32) sample |= (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
      for (let channel = 0; channel < masks.length; channel++) {
        const most = mosts[channel];
        const value = (sample & masks[channel]) >>> shifts[channel];
        pixels[to++] = Math.floor((value * 255 + (nearest ? most >>> 1 : 0)) / most);
      }
    }
  }
  return pixels;
}

/** RGBA, but without alpha if that is 0 everywhere: an invisible BMP is not meant. */
function seenBmp(pixels) {
  for (let at = 3; at < pixels.length; at += 4) if (pixels[at]) return { channels: 4, pixels };
  let to = 0;
  for (let from = 0; from < pixels.length; from += 4) {
    for (let channel = 0; channel < 3; channel++) pixels[to++] = pixels[from + channel];
  }
  return { channels: 3, pixels: pixels.subarray(0, to) };
}
