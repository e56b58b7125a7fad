/** TIFF of 1 to 16 bits, grey, RGB or with a palette -> 8 bits: edge_app/image/decoders/tiff.py, and for palettes as Pillow. */

import { ImageError } from "../../errors.js";
import { bigNumber, littleNumber } from "../containers/bytes.js";
import { unreadDepth } from "../containers/container.js";
import { BLACK_IS_ZERO, TIFF_PALETTE, TIFF_RGB, TIFF_YCBCR, WHITE_IS_ZERO } from "../containers/tiff.js";
import { TIFF_GROUP4, TIFF_JPEG, TIFF_LZMA, TIFF_RAW, TIFF_ZSTD } from "../containers/tiff.js";
import { tiffBytes } from "../containers/tiff_segments.js";
import { FULL_RANGE, countSamples, depthLevels, opacityLevels } from "../depth.js";
import { tiffRows } from "./tiff_packed.js";

const TIFF_MOST_BYTES = 64_000_000; // decompressed
const DIFFERENCES = 2; // Predictor: each sample is stored as its difference from the one on its left
const UNSPECIFIED = 0; // ExtraSamples
const ALPHA_SAMPLE = 2; // ExtraSamples: alpha that the colours were not multiplied with
const COLOUR_MAP = 320; // section 5: all red values, all green, all blue, of 16 bits
const SHORT_TYPE = 3;
const NOT_HERE = {
  [TIFF_GROUP4]: "fax group 4",
  [TIFF_JPEG]: "JPEG",
  [TIFF_LZMA]: "LZMA",
  [TIFF_ZSTD]: "zstd",
};
const COLOURS = { [WHITE_IS_ZERO]: 1, [BLACK_IS_ZERO]: 1, [TIFF_RGB]: 3 };

/**
 * -> {width, height, channels: 1..4 with alpha last, pixels: Uint8Array, orientation}. greyMax: of the bundle, or null.
 * Throws ImageError, and Error for broken data.
 */
export function decodeTiff(bytes, tiff, greyMax, codecs) {
  const shallow = [1, 2, 4, 8].includes(tiff.depth);
  const plain = tiff.photometric in COLOURS && ![TIFF_JPEG, TIFF_GROUP4].includes(tiff.compression);
  const found = shallow && !plain ? withPalette(bytes, tiff, codecs) : greyOrRgb(bytes, tiff, greyMax, codecs);
  return { width: tiff.width, height: tiff.height, ...found, orientation: tiff.orientation };
}

/** Throws ImageError: the desktop reads it, by libtiff, which is not here. */
function refuseHere(kind) {
  throw new ImageError("E-IMAGE-PHONE", `a TIFF ${kind} is not read on a phone: save it as PNG`);
}

function greyOrRgb(bytes, tiff, greyMax, codecs) {
  const { depth, samples, compression, predictor, photometric } = tiff;
  const colours = COLOURS[photometric];
  if (colours === undefined || samples < colours) {
    const met = `a TIFF with ${samples} ${samples === 1 ? "sample" : "samples"} of ${depth} bits, photometric ${photometric}`;
    throw new ImageError("E-IMAGE-COLOUR", `${met}: save it as grey or RGB`);
  }
  const differences = depth === 8 || depth === 16 ? [1, DIFFERENCES] : [1];
  if ([TIFF_JPEG, TIFF_GROUP4].includes(compression) || !differences.includes(predictor)) {
    throw unreadDepth(`a TIFF with ${depth} bits, compression ${compression}, predictor ${predictor}`);
  }
  const size = tiff.segments.offsets.reduce((sum, _, index) => sum + tiffBytes(tiff, index), 0);
  if (size > TIFF_MOST_BYTES) {
    const met = `${size} bytes of pixels, the limit for a TIFF is ${TIFF_MOST_BYTES}`;
    throw new ImageError("E-IMAGE-PIXELS", `${met}: make it smaller`);
  }
  if (compression in NOT_HERE) refuseHere(`in ${NOT_HERE[compression]}`);
  const extra = tiff.extra.length ? tiff.extra[0] : ALPHA_SAMPLE; // as in Pillow, a fourth sample without explanation is alpha
  const alpha = samples > colours && extra === ALPHA_SAMPLE;
  return inLevels(bytes, tiff, colours, colours + alpha, greyMax, codecs);
}

/** The samples' levels, with the range that the file, the bundle or the samples say. */
function inLevels(bytes, tiff, colours, channels, greyMax, codecs) {
  const each = Math.floor(tiff.samples / tiff.planes); // samples of a plane's pixel
  const planes = Array.from({ length: tiff.planes > 1 ? channels : 1 }, (_, plane) => tiffRows(bytes, tiff, plane, codecs));
  const line = new Uint16Array(tiff.segments.across * tiff.segments.width * each);
  const row = new Uint16Array(tiff.width * channels);
  const rowAt = (top) => {
    planes.forEach((plane, index) => {
      samplesOf(plane.rows.subarray(top * plane.stride, (top + 1) * plane.stride), tiff, each, line);
      const taken = planes.length > 1 ? 1 : channels;
      for (let from = 0, to = index; to < row.length; from += each, to += channels) {
        for (let channel = 0; channel < taken; channel++) row[to + channel] = line[from + channel];
      }
    });
    return row;
  };
  const { declared, photometric } = tiff;
  const counts = new Float64Array(FULL_RANGE + 1);
  const most = tiff.depth > 8 ? countRows(tiff.height, rowAt, colours, channels, counts) : 0;
  const levels = depthLevels(counts, declared, greyMax, { whiteIsZero: photometric === WHITE_IS_ZERO });
  const opacity = opacityLevels(most, declared, greyMax);
  const pixels = new Uint8Array(tiff.height * row.length);
  for (let top = 0, to = 0; top < tiff.height; top++) {
    rowAt(top);
    for (let at = 0, channel = 0; at < row.length; at++, channel = (channel + 1) % channels) {
      pixels[to++] = channel < colours ? levels[row[at]] : opacity[row[at]];
    }
  }
  return { channels, pixels };
}

/** Counts the colours' samples; -> the largest alpha. */
function countRows(height, rowAt, colours, channels, counts) {
  let most = 0;
  for (let top = 0; top < height; top++) {
    const row = rowAt(top);
    if (colours === channels) {
      countSamples(row, counts);
      continue;
    }
    for (let at = 0; at < row.length; at += channels) {
      for (let channel = 0; channel < colours; channel++) counts[row[at + channel]]++;
      most = Math.max(most, row[at + colours]);
    }
  }
  return most;
}

/** One row's bytes of a plane -> `found`: Uint16Array [segments across * their width * each]. */
function samplesOf(bytes, tiff, each, found) {
  const { across, width } = tiff.segments;
  const wide = bytes.length / across;
  const count = width * each;
  for (let segment = 0, to = 0; segment < across; segment++, to += count) {
    const packed = bytes.subarray(segment * wide, (segment + 1) * wide);
    if (tiff.stored === 16) {
      const [high, low] = tiff.order === "little" ? [1, 0] : [0, 1];
      for (let at = 0; at < count; at++) found[to + at] = (packed[2 * at + high] << 8) | packed[2 * at + low];
    } else if (tiff.stored === 8) {
      for (let at = 0; at < count; at++) found[to + at] = packed[at];
    } else {
      unpackSamples(packed, tiff.stored, count, found, to);
    }
    if (tiff.predictor === DIFFERENCES) {
      const mask = tiff.stored === 16 ? 0xffff : 0xff;
      for (let at = to + each; at < to + count; at++) found[at] = (found[at] + found[at - each]) & mask;
    }
  }
}

/** Samples of 1 to 15 bits, highest bit first, whatever the file's byte order. */
function unpackSamples(packed, bits, count, found, start) {
  let [held, have, at] = [0, 0, 0];
  for (let to = start; to < start + count; to++) {
    while (have < bits) {
      held = ((held << 8) | packed[at++]) & 0xffffff;
      have += 8;
    }
    have -= bits;
    found[to] = (held >> have) & ((1 << bits) - 1);
  }
}

/** What Pillow reads beside grey and RGB. The rest of it is refused by name. */
function withPalette(bytes, tiff, codecs) {
  const { depth, samples, extra, photometric, compression, predictor } = tiff;
  const known = extra.length === 0 ? samples === 1 : samples === 2 && depth === 8 && !tiff.reversedBits && isOneOf(extra);
  const read = photometric === TIFF_PALETTE ? known : photometric in COLOURS || isYcbcr(tiff);
  if (!read) {
    throw new ImageError("E-IMAGE-COLOUR", "the colours of this TIFF are not in the image rules: save it as grey or RGB");
  }
  if (compression in NOT_HERE) refuseHere(`in ${NOT_HERE[compression]}`);
  if (photometric !== TIFF_PALETTE) refuseHere("in YCbCr");
  if (tiff.planes > 1) refuseHere("with a palette in planes");
  if (predictor !== 1 && (predictor !== DIFFERENCES || depth !== 8)) throw new Error(`a palette with predictor ${predictor}`);
  const colours = colourMap(bytes, tiff);
  const { stride, rows } = tiffRows(bytes, tiff, 0, codecs);
  const line = new Uint16Array(tiff.segments.across * tiff.segments.width * samples);
  const channels = extra[0] === ALPHA_SAMPLE ? 4 : 3;
  const pixels = new Uint8Array(tiff.width * tiff.height * channels);
  for (let top = 0, to = 0; top < tiff.height; top++) {
    samplesOf(rows.subarray(top * stride, (top + 1) * stride), tiff, samples, line);
    for (let from = 0; from < tiff.width * samples; from += samples, to += channels) {
      pixels.set(colours[line[from]], to);
      if (channels === 4) pixels[to + 3] = line[from + 1];
    }
  }
  return { channels, pixels };
}

function isOneOf(extra) {
  return extra.length === 1 && [UNSPECIFIED, ALPHA_SAMPLE].includes(extra[0]);
}

/** Whether Pillow reads these colours, which it leaves to libtiff if they are compressed. */
function isYcbcr({ photometric, depth, samples, extra, compression, reversedBits }) {
  const known = depth === 8 && samples === 3 && !extra.length && !reversedBits;
  return photometric === TIFF_YCBCR && known && compression !== TIFF_RAW;
}

/** [256 or fewer][3], 0..255. Values that are all below 256 are meant as 8 bits, as many writers store them. */
function colourMap(bytes, tiff) {
  const number = tiff.order === "little" ? littleNumber : bigNumber;
  const directory = number(bytes, 4, 4);
  const count = 3 << tiff.depth;
  const end = directory + 2 + 12 * number(bytes, directory, 2);
  for (let entry = directory + 2; entry < end; entry += 12) {
    if (number(bytes, entry, 2) !== COLOUR_MAP) continue;
    if (number(bytes, entry + 2, 2) !== SHORT_TYPE || number(bytes, entry + 4, 4) !== count) {
      refuseHere("with a palette of an unusual size");
    }
    const first = number(bytes, entry + 8, 4);
    const values = Array.from({ length: count }, (_, at) => number(bytes, first + 2 * at, 2));
    const shift = values.some((value) => value > 255) ? 8 : 0;
    const size = count / 3;
    return Array.from({ length: size }, (_, at) => [at, at + size, at + 2 * size].map((each) => values[each] >> shift));
  }
  throw new Error("a palette that is missing");
}
