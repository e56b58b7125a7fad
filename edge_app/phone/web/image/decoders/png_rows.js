/** The rows of a PNG (ISO/IEC 15948, 8 to 10): inflated, unfiltered, and put together from Adam7's passes. */

import { ImageError } from "../../errors.js";
import { truncated } from "../containers/container.js";

const BEYOND = 16; // blocks after the last row: more of them are damage that happens to inflate
const ADAM7 = [
  { left: 0, top: 0, across: 8, down: 8 },
  { left: 4, top: 0, across: 8, down: 8 },
  { left: 0, top: 4, across: 4, down: 8 },
  { left: 2, top: 0, across: 4, down: 4 },
  { left: 0, top: 2, across: 2, down: 4 },
  { left: 1, top: 0, across: 2, down: 2 },
  { left: 0, top: 1, across: 1, down: 2 },
];
const ONE_PASS = [{ left: 0, top: 0, across: 1, down: 1 }];

/**
 * Samples in the order of the picture: Uint8Array, two bytes each if header.bits is 16, otherwise one.
 *
 * header: {width, height, bits, channels, interlaced}; idat: pieces of the deflated data; inflate: of the codecs. Throws
 * ImageError, and Error of inflate.
 */
export function pngRows(header, idat, inflate) {
  const passes = (header.interlaced ? ADAM7 : ONE_PASS)
    .map((pass) => sizedPass(pass, header))
    .filter((pass) => pass.width && pass.height);
  const bytes = unfilteredRows(passes, header, idat, inflate);
  if (header.bits >= 8) return header.interlaced ? spreadPasses(bytes, passes, header) : bytes;
  return unpackedPasses(bytes, passes, header);
}

function sizedPass(pass, { width, height, bits, channels }) {
  const columns = Math.ceil((width - pass.left) / pass.across);
  const rowBytes = Math.ceil((columns * bits * channels) / 8);
  return { ...pass, width: Math.max(0, columns), height: Math.max(0, Math.ceil((height - pass.top) / pass.down)), rowBytes };
}

/** All rows of all passes, without their filter bytes. */
function unfilteredRows(passes, header, idat, inflate) {
  const rows = new Uint8Array(passes.reduce((sum, pass) => sum + pass.height * pass.rowBytes, 0));
  const step = Math.ceil((header.bits * header.channels) / 8); // bytes to the pixel on the left
  let [pass, row, at, filled, filter, extra] = [0, 0, 0, 0, -1, 0];
  const ended = inflate.parts(idat, (block) => {
    if (pass === passes.length && ++extra > BEYOND) throw truncated("the PNG's pixels");
    for (let from = 0; from < block.length && pass < passes.length; ) {
      if (filter < 0) {
        filter = block[from++];
        continue;
      }
      const { rowBytes, height } = passes[pass];
      const count = Math.min(rowBytes - filled, block.length - from);
      rows.set(block.subarray(from, from + count), at + filled);
      filled += count;
      from += count;
      if (filled < rowBytes) continue;
      unfilterRow(filter, rows, at, rowBytes, step, row > 0);
      at += rowBytes;
      [filled, filter] = [0, -1];
      if (++row === height) [row, pass] = [0, pass + 1];
    }
  });
  if (!ended || pass < passes.length) throw truncated("the PNG's pixels");
  return rows;
}

/** Undoes the filter of a row at `at`, in place (9.2). below: there is a row above it. */
function unfilterRow(filter, rows, at, length, step, below) {
  const end = at + length;
  switch (filter) {
    case 0:
      return;
    case 1:
      for (let to = at + step; to < end; to++) rows[to] += rows[to - step];
      return;
    case 2:
      if (below) for (let to = at; to < end; to++) rows[to] += rows[to - length];
      return;
    case 3:
      for (let to = at; to < end; to++) {
        rows[to] += ((to < at + step ? 0 : rows[to - step]) + (below ? rows[to - length] : 0)) >> 1;
      }
      return;
    case 4:
      if (below) unfilterPaeth(rows, at, length, step);
      else unfilterRow(1, rows, at, length, step, below);
      return;
    default: {
      const met = `a row with the unknown filter ${filter}`;
      throw new ImageError("E-IMAGE-BROKEN", `the PNG has ${met}: copy or record it again`);
    }
  }
}

/** 9.4: each channel by itself, so that its neighbours on the left stay at hand. */
function unfilterPaeth(rows, at, length, step) {
  for (let channel = 0; channel < step; channel++) {
    let left = 0;
    let corner = 0;
    for (let to = at + channel; to < at + length; to += step) {
      const above = rows[to - length];
      const toLeft = Math.abs(above - corner);
      const toAbove = Math.abs(left - corner);
      const toCorner = Math.abs(left + above - 2 * corner);
      const nearest = toLeft <= toAbove && toLeft <= toCorner ? left : toAbove <= toCorner ? above : corner;
      left = (rows[to] + nearest) & 255;
      rows[to] = left;
      corner = above;
    }
  }
}

function spreadPasses(bytes, passes, { width, height, bits, channels }) {
  const step = (bits / 8) * channels;
  const whole = new Uint8Array(width * height * step);
  let from = 0;
  for (const pass of passes) {
    for (let row = 0; row < pass.height; row++) {
      let to = ((pass.top + row * pass.down) * width + pass.left) * step;
      for (let column = 0; column < pass.width; column++, to += (pass.across - 1) * step) {
        for (let byte = 0; byte < step; byte++) whole[to++] = bytes[from++];
      }
    }
  }
  return whole;
}

/** Samples of 1, 2 or 4 bits, the first in the highest bits (7.2): all have one channel. */
function unpackedPasses(bytes, passes, { width, height, bits }) {
  const whole = new Uint8Array(width * height);
  const most = (1 << bits) - 1;
  let start = 0;
  for (const pass of passes) {
    for (let row = 0; row < pass.height; row++, start += pass.rowBytes) {
      let to = (pass.top + row * pass.down) * width + pass.left;
      for (let column = 0, bit = 0; column < pass.width; column++, bit += bits, to += pass.across) {
        whole[to] = (bytes[start + (bit >> 3)] >> (8 - bits - (bit & 7))) & most;
      }
    }
  }
  return whole;
}
