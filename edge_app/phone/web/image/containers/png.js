/** PNG (ISO/IEC 15948): chunks with a CRC, and as many pixels as the header says. */

import { ImageError } from "../../errors.js";
import { bigNumber, holdsAt, latin1, shownBytes } from "./bytes.js";
import { PIXELS_MP, PIXELS_MP_TWICE, checkEnd, truncated, unreadDepth } from "./container.js";

const PNG_CHUNKS = 50_000; // libpng writes 8 KB per chunk, so 64 MB have 8,000
const PNG_HEADER_BYTES = 13;
const MOST_COLOURS = 256; // in a palette

// Colour types.
export const PNG_GREY = 0;
export const PNG_RGB = 2;
export const PNG_PALETTE = 3;
export const PNG_GREY_ALPHA = 4;
export const PNG_RGBA = 6;

/**
 * Walks the chunks (5.3): length, type, data, CRC-32 of type and data. Throws ImageError.
 *
 * colour: its type; colours: in its palette; transparent: the transparent grey level, in 1, 2 or 4 bits, or null; significant:
 * bits per sample of the original, if sBIT says so, or null.
 */
export function inspectPng(bytes) {
  const kinds = new Set();
  let [at, count, bits, colour, colours] = [8, 0, 0, 0, 0];
  let [significant, transparent] = [null, null];
  while (!kinds.has("IEND")) {
    const length = bigNumber(bytes, at, 4);
    const end = at + 12 + length;
    if (end > bytes.length) throw truncated("a PNG chunk");
    const kind = latin1(bytes, at + 4, 4);
    if (crc32(bytes, at + 4, end - 4) !== bigNumber(bytes, end - 4, 4)) {
      const met = `the CRC of PNG chunk ${shownBytes(bytes, at + 4, 4)} is wrong`;
      throw new ImageError("E-IMAGE-BROKEN", `${met}: copy or record it again`);
    }
    if ((kind === "IHDR") !== (at === 8) || (at === 8 && length !== PNG_HEADER_BYTES)) {
      throw new ImageError("E-IMAGE-BROKEN", "the PNG does not begin with its header, or has two: write it again");
    }
    if (kind === "IHDR") {
      [bits, colour] = [bytes[at + 16], bytes[at + 17]];
    } else if (kind === "PLTE") {
      colours = Math.floor(length / 3);
    } else if (kind === "sBIT" && length && colour !== PNG_PALETTE) {
      const said = [PNG_RGB, PNG_RGBA].includes(colour) ? 3 : 1;
      significant = Math.max(...bytes.subarray(at + 8, at + 8 + Math.min(length, said)));
    } else if (kind === "tRNS" && length >= 2 && colour === PNG_GREY && bits < 8) {
      transparent = bytes[at + 9] & ((1 << bits) - 1); // 11.3.1.1: the lowest bits of 16
    } else if (kind === "tRNS" && colour === PNG_PALETTE && length > MOST_COLOURS) {
      const met = `transparency for ${length} colours, a palette has at most ${MOST_COLOURS}`;
      throw new ImageError("E-IMAGE-BROKEN", `the PNG has ${met}: write it again`);
    }
    kinds.add(kind);
    [at, count] = [end, count + 1];
    if (count > PNG_CHUNKS) throw new ImageError("E-IMAGE-BROKEN", `a PNG of over ${PNG_CHUNKS} chunks: write it again`);
  }
  const trailing = checkEnd(bytes, at, "PNG");
  if (kinds.has("acTL")) throw new ImageError("E-IMAGE-FRAMES", "an animated PNG: save one frame");
  if (bits === 16 && kinds.has("tRNS")) throw unreadDepth("16-bit colour with a transparent one");
  const decoderMp = bits === 16 && colour !== PNG_GREY ? PIXELS_MP_TWICE : PIXELS_MP;
  return { format: "PNG", bits, decoderMp, trailing, colour, colours, transparent, significant };
}

/** [first byte, end] of each piece of the deflated pixels: IDAT chunks follow each other (5.6). */
export function pngPixels(bytes) {
  const found = [];
  let at = 8;
  while (at < bytes.length) {
    const end = at + 8 + bigNumber(bytes, at, 4);
    if (holdsAt(bytes, "IDAT", at + 4)) found.push([at + 8, end]);
    else if (found.length) break;
    at = end + 4;
  }
  return found;
}

/** CRC-32 (annex D) of bytes `start` to `end`, four at a time. */
function crc32(bytes, start, end) {
  const [one, two, three, four] = CRC_TABLES;
  let crc = -1;
  let at = start;
  for (; at + 4 <= end; at += 4) {
    crc ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    crc = four[crc & 255] ^ three[(crc >>> 8) & 255] ^ two[(crc >>> 16) & 255] ^ one[crc >>> 24];
  }
  for (; at < end; at++) crc = one[(crc ^ bytes[at]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** The CRC of each byte, and of each byte before one, two and three of NUL. */
function crcTables() {
  const tables = [0, 1, 2, 3].map(() => new Int32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
    tables[0][byte] = crc;
  }
  for (let further = 1; further < 4; further++) {
    for (let byte = 0; byte < 256; byte++) {
      const before = tables[further - 1][byte];
      tables[further][byte] = tables[0][before & 255] ^ (before >>> 8);
    }
  }
  return tables;
}

const CRC_TABLES = crcTables();
