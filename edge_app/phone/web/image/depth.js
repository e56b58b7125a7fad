/** Samples of more than 8 bits -> levels of 0..255, by the range that file or bundle declares: edge_app/image/depth.py. */

import { ImageError } from "../errors.js";

export const FULL_RANGE = 65535; // the largest value of 16 bits
const SPAN = 1 << 14; // that the values must reach, without a thousandth at each end
const TAIL = 1000; // one sample in so many may lie outside, at each end
const LEAST_LEVELS = 32; // of 256, that 99 % of the samples must use
const LEVELS_SHARE = 0.99;
const FINER = 4; // times as many values as levels

/** How often each value occurs, Float64Array [65536]: added to `counts`. samples: Uint8Array or Uint16Array. */
export function countSamples(samples, counts = new Float64Array(FULL_RANGE + 1)) {
  for (let at = 0; at < samples.length; at++) counts[samples[at]]++;
  return counts;
}

/**
 * Uint8Array [65536], the level of each value. Throws ImageError.
 *
 * counts: of countSamples; all 0 if the bits fix the range. declared: the largest value, by the file itself; greyMax: by the
 * bundle; both null if not said. significant: the bits that a PNG's sBIT says.
 */
export function depthLevels(counts, declared, greyMax, { whiteIsZero = false, significant = null } = {}) {
  const largest = Math.max(0, counts.findLastIndex((count) => count > 0));
  let most = declared || FULL_RANGE;
  if (most === FULL_RANGE && greyMax !== null) {
    most = greyMax;
    if (largest > most) {
      const met = `its largest value is ${largest}, the model was trained with at most ${most} (grey_max)`;
      throw new ImageError("E-IMAGE-DEPTH", `${met}: save it with that range, or with 8 bits`);
    }
  } else if (most === FULL_RANGE) {
    checkFull(counts, largest, significant);
  }
  if (largest > most) {
    throw new ImageError("E-IMAGE-DEPTH", `has the value ${largest}, but declares at most ${most}: write it again`);
  }
  const table = depthScale(most);
  // The level of the mirrored value, not 255 less its level: so both ends of a range that is not a power of two stay ends.
  if (whiteIsZero) table.subarray(0, most + 1).reverse();
  return table;
}

/** Uint8Array [65536]: the level of each value of a range that ends at `most`; beyond it 255. */
export function depthScale(most) {
  const table = new Uint8Array(FULL_RANGE + 1).fill(255);
  for (let value = 0; value < most; value++) table[value] = Math.floor((value * FULL_RANGE) / most) >> 8;
  return table;
}

/** Uint8Array [65536], the level of each alpha value: of the colours' range, or the full one if `largest` is beyond that. */
export function opacityLevels(largest, declared, greyMax) {
  const most = declared || (greyMax === null ? FULL_RANGE : greyMax);
  return depthScale(largest <= most ? most : FULL_RANGE);
}

function checkFull(counts, largest, significant) {
  const values = counts.reduce((sum, count) => sum + (count > 0), 0);
  if (values === 1) return; // one flat colour is refused as such, whatever its depth
  let total = 0;
  const upTo = counts.map((count) => (total += count));
  const tail = Math.floor(total / TAIL);
  const low = upTo.findIndex((sum) => sum > tail);
  const high = upTo.findIndex((sum) => sum >= total - tail);
  const byLevel = new Float64Array(256);
  counts.forEach((count, value) => (byLevel[value >> 8] += count));
  let held = 0;
  const used = 1 + byLevel.slice().sort().reverse().findIndex((count) => (held += count) >= LEVELS_SHARE * total);
  const finer = values >= FINER * byLevel.reduce((sum, count) => sum + (count > 0), 0);
  if (high - low >= SPAN && (used >= LEAST_LEVELS || !finer)) return;
  const met = `16-bit values that fill ${used} of 256 grey levels, the largest ${largest}`;
  let why = "the image's depth is not declared";
  let cure = "save it with 8 bits, declare its depth (BitsPerSample, sBIT), or train with --grey-max";
  if (significant) {
    why = `the image is very dark, or its depth is not the ${significant} bits of its sBIT`;
    cure = "save it with 8 bits, or train with --grey-max";
  }
  throw new ImageError("E-IMAGE-DEPTH", `${met}: ${why}: ${cure}`);
}
