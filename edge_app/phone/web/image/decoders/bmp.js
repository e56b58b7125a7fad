/**
 * BMP -> 8 bits: edge_app/image/decoders/bmp.py and bmp_masks.py, and what Pillow's BmpImagePlugin.py reads for edge_app.
 * Source: Microsoft, "Bitmap Storage" and "Bitmap Compression" (Win32, wingdi).
 */

import { ImageError } from "../../errors.js";
import { BMP_RLE4, BMP_RLE8 } from "../containers/bmp.js";
import { truncated } from "../containers/container.js";
import { bmpChannels } from "./bmp_channels.js";

const RLE_PADDED = { [BMP_RLE8]: 4, [BMP_RLE4]: 8 }; // pixels: ImageMagick also codes the padding of a row, up to 4 bytes
const [END_OF_LINE, END_OF_BITMAP, RLE_DELTA] = [0, 1, 2]; // the byte after a 0

/** -> {width, height, channels: 1, 3 or 4 with alpha last, pixels: Uint8Array, orientation: 1}. Throws ImageError. */
export function decodeBmp(bytes, container) {
  const { width, height, depth } = container;
  const found = depth <= 8 ? ofBmpPalette(bytes, container) : bmpChannels(bytes, container);
  return { width, height, ...found, orientation: 1 };
}

function ofBmpPalette(bytes, container) {
  const { width, height, colours, topDown } = container;
  const { indices, stride } = container.rowBytes ? plainIndices(bytes, container) : runLengths(bytes, container);
  const { red, green, blue, grey } = bmpPalette(bytes, container);
  let largest = 0;
  const pixels = new Uint8Array(width * height * (grey ? 1 : 3));
  for (let row = 0, to = 0; row < height; row++) {
    let from = (topDown ? row : height - 1 - row) * stride;
    for (const end = from + width; from < end; from++) {
      const index = indices[from];
      if (index > largest) largest = index;
      pixels[to++] = red[index];
      if (grey) continue;
      pixels[to++] = green[index];
      pixels[to++] = blue[index];
    }
  }
  if (largest >= colours) {
    const met = `colour ${largest} of a palette of ${colours}`;
    throw new ImageError("E-IMAGE-BROKEN", `the BMP has ${met}: copy or record it again`);
  }
  return { channels: grey ? 1 : 3, pixels };
}

/** Uint8Array [256] of each colour; grey: whether all of them are. */
function bmpPalette(bytes, { palette, colours, colourBytes }) {
  const found = { red: new Uint8Array(256), green: new Uint8Array(256), blue: new Uint8Array(256), grey: true };
  for (let index = 0; index < colours; index++) {
    const at = palette + index * colourBytes;
    [found.blue[index], found.green[index], found.red[index]] = [bytes[at], bytes[at + 1], bytes[at + 2]];
    if (bytes[at] !== bytes[at + 1] || bytes[at] !== bytes[at + 2]) found.grey = false;
  }
  return found;
}

/** Indices in the order of the file, a row each `stride` bytes: Uint8Array. */
function plainIndices(bytes, { height, depth, rowBytes, offset }) {
  const rows = bytes.subarray(offset, offset + height * rowBytes);
  if (depth === 8) return { indices: rows, stride: rowBytes };
  const each = 8 / depth;
  const most = (1 << depth) - 1;
  const indices = new Uint8Array(rows.length * each);
  for (let to = 0; to < indices.length; to++) {
    indices[to] = (rows[Math.floor(to / each)] >> (8 - depth * (1 + (to % each)))) & most;
  }
  return { indices, stride: rowBytes * each };
}

/** Indices in the order of the file. Each row must be filled: skipped pixels have no colour. Throws ImageError. */
function runLengths(bytes, container) {
  const { width, height, compression, offset, end } = container;
  const stride = Math.ceil(width / RLE_PADDED[compression]) * RLE_PADDED[compression];
  const indices = new Uint8Array(stride * height);
  const nibbles = compression === BMP_RLE4;
  let [at, column, row] = [offset, 0, 0];
  for (;;) {
    if (at + 2 > end) throw truncated("the BMP's run lengths");
    let count = bytes[at];
    const value = bytes[at + 1];
    let from = -1; // of literal pixels; a run has none
    at += 2;
    if (!count && value > RLE_DELTA) {
      count = value;
      from = at;
      const length = nibbles ? (count + 1) >> 1 : count;
      at += length + (length % 2);
    } else if (!count && value === END_OF_LINE && column >= width) {
      [column, row] = [0, row + 1];
      continue;
    } else if (!count && value === END_OF_BITMAP && isRleEnd(row, column, container)) {
      return { indices, stride };
    } else if (!count) {
      throw brokenRuns(`skip pixels in row ${row + 1}`);
    }
    if (row >= height || column + count > stride) throw brokenRuns(`go beyond row ${row + 1}`);
    const to = row * stride + column;
    for (let pixel = 0; pixel < count; pixel++) {
      const byte = from < 0 ? value : bytes[from + (nibbles ? pixel >> 1 : pixel)];
      indices[to + pixel] = nibbles ? (byte >> (pixel % 2 ? 0 : 4)) & 15 : byte;
    }
    column += count;
  }
}

function isRleEnd(row, column, { width, height }) {
  return (row === height && column === 0) || (row === height - 1 && column >= width);
}

function brokenRuns(what) {
  return new ImageError("E-IMAGE-BROKEN", `the BMP's run lengths ${what}: copy it again, or save it without compression`);
}
