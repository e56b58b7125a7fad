/** PGM and PPM -> 8 bits: edge_app/image/decoders/pnm.py. */

import { ImageError } from "../../errors.js";
import { truncated } from "../containers/container.js";
import { FULL_RANGE, countSamples, depthLevels } from "../depth.js";

const TEXT_BAND = 1 << 20; // bytes of text at a time, of which each is checked whole
const WORD_MOST = 6; // digits: 65535 with a leading zero

/** -> {width, height, channels: 1 | 3, pixels: Uint8Array, orientation: 1}. Throws ImageError. */
export function decodePnm(bytes, container, greyMax) {
  const { width, height, samples, most, plain, start } = container;
  const total = width * height * samples;
  const found = { width, height, channels: samples, orientation: 1 };
  if (!plain && most === 255) return { ...found, pixels: bytes.slice(start, start + total) };
  let values = bytes.subarray(start, start + total);
  if (plain) values = pnmWords(bytes, container, total);
  else if (most > 255) values = pnmWide(bytes, start, total);
  const levels = depthLevels(countSamples(values), most < FULL_RANGE ? most : null, greyMax);
  const pixels = new Uint8Array(total);
  for (let at = 0; at < total; at++) pixels[at] = levels[values[at]];
  return { ...found, pixels };
}

function pnmWide(bytes, start, total) {
  const values = new Uint16Array(total);
  for (let at = 0, from = start; at < total; at++, from += 2) values[at] = (bytes[from] << 8) | bytes[from + 1];
  return values;
}

/** As isPnmSpace, for each byte of a large text. */
function isSpaceByte(byte) {
  return byte === 32 || (byte >= 9 && byte <= 13);
}

/** The samples of a plain file, Uint16Array [total]. Throws ImageError: too few or too many, or text that is not a number. */
function pnmWords(bytes, container, total) {
  const { name, width, height, most } = container;
  const values = new Uint16Array(total);
  let found = 0;
  for (let at = container.start; at < bytes.length; ) {
    const end = bytes.length - at < TEXT_BAND ? bytes.length : lastPnmSpace(bytes, at, at + TEXT_BAND);
    const band = pnmBand(bytes, at, end, values, found);
    if (band.broken) throw new ImageError("E-IMAGE-BROKEN", `a plain ${name} with text that is not a number: write it again`);
    found += band.count;
    if (found > total) {
      const met = `more than the ${total} samples of a plain ${name} of ${width}x${height}`;
      throw new ImageError("E-IMAGE-TRAILING", `${met}: save it as a plain image`);
    }
    if (band.largest > most) {
      const met = `a ${name} with the value ${band.largest}, over its largest of ${most}`;
      throw new ImageError("E-IMAGE-BROKEN", `${met}: write it again`);
    }
    at = end;
  }
  if (found < total) throw truncated(`the ${name}'s pixels`);
  // 25 may be 255 cut short. 0 cannot be cut, and neither can a number that one more digit would carry over the largest value.
  const last = values[total - 1];
  if (!isSpaceByte(bytes[bytes.length - 1]) && last > 0 && last <= Math.floor(most / 10)) {
    throw truncated(`the ${name}'s last number, or no line end follows it`);
  }
  return values;
}

/** Reads the numbers in bytes at..end into `values`, from index `found` on. */
function pnmBand(bytes, at, end, values, found) {
  let [number, digits, count, largest, broken] = [0, 0, 0, 0, false];
  for (; at <= end; at++) {
    const byte = at < end ? bytes[at] : 32;
    if (byte >= 48 && byte <= 57) {
      number = number * 10 + byte - 48;
      digits++;
    } else if (isSpaceByte(byte)) {
      if (digits) {
        values[found + count] = number; // beyond the end, a typed array takes nothing
        count++;
        if (number > largest) largest = number;
        [number, digits] = [0, 0];
      }
    } else {
      broken = true;
    }
  }
  return { count, largest, broken };
}

/** Where a band ends, after its last white space. Throws ImageError: a word is longer than any number. */
function lastPnmSpace(bytes, at, end) {
  for (let last = end; last >= end - WORD_MOST; last--) if (isSpaceByte(bytes[last - 1])) return last;
  throw new ImageError("E-IMAGE-BROKEN", "a plain PGM or PPM with too many digits in a number: write it again");
}
