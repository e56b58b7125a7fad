/** The strips and tiles of a TIFF: how long their pixels are, and whether they are all there. */

import { ImageError } from "../../errors.js";
import { truncated } from "./container.js";

const TIFF_HEADER_BYTES = 8;
const RAW_SEGMENTS = 1; // compressions, TIFF 6.0, section 8 and its supplements
const CHECKED_BY_DECODER = [7, 8, 32946, 50000]; // JPEG, deflate, zstd: their decoder says if one is short
const YCBCR_SAMPLES = 6;
const NO_RUN = 128; // a byte without meaning
const FILLED = 3; // bytes of padding after the last run, up to a word

// Codes that end a strip, and the bits that they may have. libtiff leaves rows without codes as they are.
const FAX_END = [0x001001, [24]]; // ITU-T T.6, 2.4.1.1: two ends of line, 000000000001
const LZW_END = [257, [9, 10, 11, 12]]; // TIFF 6.0, section 13: EndOfInformation

const CHECK_SEGMENT = {
  4: (packed) => endsWith(packed, ...FAX_END) && !holdsLostFax(packed),
  5: (packed) => endsWith(packed, ...LZW_END),
  34925: endsAsLzma,
};

/** The size of strip or tile `index` once it is decompressed, in bytes. */
export function tiffBytes(tiff, index) {
  const { tiled, height, across, down } = tiff.segments;
  const row = Math.floor(index / across) % down;
  return tiffBytesOf(tiff, tiled ? height : Math.min(height, tiff.height - row * height));
}

/** The size of so many rows of a strip or tile, in bytes. */
export function tiffBytesOf(tiff, high) {
  const wide = tiff.segments.width;
  if (tiff.photometric === YCBCR_SAMPLES && tiff.samples === 3) {
    const [across, down] = tiff.subsampling;
    return Math.ceil(wide / across) * Math.ceil(high / down) * (across * down + 2);
  }
  return high * Math.floor((wide * Math.floor(tiff.samples / tiff.planes) * tiff.stored + 7) / 8);
}

/** The packed bytes of strip or tile `index`, which must have a count, with their bits in the usual order. */
export function packedSegment(bytes, tiff, index) {
  const start = tiff.segments.offsets[index];
  const packed = bytes.subarray(start, start + tiff.segments.counts[index]);
  return tiff.reversedBits ? packed.map((byte) => REVERSED[byte]) : packed;
}

/** Checks that all strips and tiles are as long as their pixels: decoders leave missing rows black. Throws ImageError. */
export function checkSegments(bytes, tiff) {
  const { offsets, counts } = tiff.segments;
  for (let index = 0; index < offsets.length; index++) {
    const cut = () => truncated(`strip or tile ${index + 1} of the TIFF`);
    const [offset, needed] = [offsets[index], tiffBytes(tiff, index)];
    if (offset < TIFF_HEADER_BYTES) {
      // in a sparse file, whose missing pixels have offset 0
      const met = `strip or tile ${index + 1} of the TIFF has no place in the file`;
      throw new ImageError("E-IMAGE-TRUNCATED", `${met}: copy or record it again`);
    }
    if (tiff.compression === RAW_SEGMENTS) {
      const count = counts.length ? counts[index] : needed;
      if (count < needed || offset + needed > bytes.length) throw cut();
      continue;
    }
    if (!counts.length || counts[index] < 1 || counts[index] > bytes.length - offset) throw cut();
    if (CHECKED_BY_DECODER.includes(tiff.compression)) continue;
    const packed = packedSegment(bytes, tiff, index);
    const check = CHECK_SEGMENT[tiff.compression];
    if (!check) checkPackbits(packed, [needed, tiffBytesOf(tiff, tiff.segments.height)], index);
    else if (!check(packed)) throw cut();
  }
}

/**
 * TIFF 6.0, section 9: runs up to the last pixel of the image, or of a padded strip. Throws ImageError.
 *
 * libtiff discards surplus bytes, which are a sign of damage: a literal byte was taken for the length of a run.
 */
function checkPackbits(packed, lengths, index) {
  let [at, found] = [0, 0];
  for (const wanted of lengths) {
    while (at < packed.length && found < wanted) {
      const length = packed[at];
      if (length < NO_RUN) {
        found += length + 1;
        at += length + 2;
      } else if (length > NO_RUN) {
        found += 257 - length;
        at += 2;
      } else {
        at += 1;
      }
    }
    if (found === wanted && packed.length >= at && packed.length - at <= FILLED) return;
  }
  if (found < lengths[0] || at > packed.length) throw truncated(`strip or tile ${index + 1} of the TIFF`);
  const met = `strip or tile ${index + 1} of the TIFF does not unpack to its ${lengths[0]} bytes`;
  throw new ImageError("E-IMAGE-BROKEN", `${met}: copy or record it again`);
}

/** Whether the code is at the end, followed by at most 15 bits of padding. */
function endsWith(packed, code, widths) {
  let last = 0; // 40 bits: more than JavaScript shifts
  for (const byte of packed.subarray(-5)) last = last * 256 + byte;
  for (let fill = 0; fill < 16; fill++) {
    const shifted = Math.floor(last / 2 ** fill);
    if (widths.some((width) => shifted % 2 ** width === code)) return true;
  }
  return false;
}

/** Three bytes of NUL are not in a whole fax: no code has more than 11 zero bits in a row, none ends with more than 4. */
function holdsLostFax(packed) {
  for (let at = packed.indexOf(0); at >= 0; at = packed.indexOf(0, at + 1)) {
    if (packed[at + 1] === 0 && packed[at + 2] === 0) return true;
  }
  return false;
}

/** The .xz File Format, 2.1.2.4: "YZ", and perhaps NUL. */
function endsAsLzma(packed) {
  let end = packed.length;
  while (end > 0 && packed[end - 1] === 0) end--;
  return end >= 2 && packed[end - 2] === 0x59 && packed[end - 1] === 0x5a;
}

const REVERSED = Uint8Array.from({ length: 256 }, (_, byte) =>
  parseInt(byte.toString(2).padStart(8, "0").split("").reverse().join(""), 2),
);
