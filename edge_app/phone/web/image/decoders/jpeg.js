/** JPEG -> pixels, once its entropy-coded data are known to be whole: edge_app/image/decoders/jpeg.py. */

import { ImageError } from "../../errors.js";
import { checkPixels, truncated } from "../containers/container.js";
import { DHT, PROGRESSIVE, SOS, walkJpeg } from "../containers/jpeg.js";
import { exifOrientation } from "../exif.js";

const NOTE_JFIF = 0xe0;
const NOTE_EXIF = 0xe1;
const NOTE_ADOBE = 0xee;
const PLAIN_JFIF = [0xff, 0xe0, 0, 16, 0x4a, 0x46, 0x49, 0x46, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0];
const PLAIN_ADOBE = [0xff, 0xee, 0, 14, 0x41, 0x64, 0x6f, 0x62, 0x65, 0, 100, 0, 0, 0, 0]; // and the colour transform
const LOST_ZEROS = 128; // a block of 8x8 coefficients takes at most 24 bytes of NUL
const ALL_BITS = 255; // all bits of a coefficient are missing
const END_OF_BLOCK = 0; // F.1.2.2.1
// Sampling factors of luma, and of both others, that libjpeg-turbo's own interface takes: it refuses other ones.
const SAMPLINGS = new Set("11 11,21 11,22 11,12 11,41 11,14 11,22 12,22 21,12 12,21 21,13 13,31 31".split(","));
const AGAIN_JPEG = "copy or record it again";

/**
 * bytes: a JPEG that its container's walk has found whole -> {width, height, channels: 1 | 3, pixels: Uint8Array, orientation}.
 *
 * Throws ImageError: its pixels are cut or damaged, scans or a sector are missing, or it has a sampling of which no phone can
 * tell whether it is whole.
 */
export function decodeJpeg(bytes, container, greyMax, codecs) {
  const walked = walkJpeg(bytes, 0);
  const firstScan = walked.pieces.find(([start]) => bytes[start + 1] === SOS)[0];
  const notes = walked.notes.filter(([start]) => start < firstScan);
  checkFrame(bytes, walked, container, notes);
  checkScans(bytes, walked);
  checkZeros(bytes, walked);
  let found;
  try {
    found = codecs.jpeg(jpegStream(bytes, walked, notes));
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw jpegRefusal(error.message, samplings(bytes, walked));
  }
  return { ...found, orientation: exifOrientation(exifOf(bytes, notes)) };
}

/** What Pillow refuses in a header: sizes, numbers of components, notes that are too short to be read. */
function checkFrame(bytes, walked, container, notes) {
  const [start] = walked.pieces.find(([piece]) => bytes[piece + 1] === walked.kind);
  const [height, width] = [5, 7].map((at) => bytes[start + at] * 256 + bytes[start + at + 1]);
  const short = notes.some(([from, to]) => [NOTE_JFIF, NOTE_ADOBE].includes(bytes[from + 1]) && to - from < 4 + 7);
  if (short || ![1, 3].includes(walked.components)) {
    throw new ImageError("E-IMAGE-BROKEN", `JPEG does not decode (${walked.components} components): ${AGAIN_JPEG}`);
  }
  checkPixels("JPEG", width, height, container.decoderMp);
  if (width < 1 || height < 1) throw new ImageError("E-IMAGE-BROKEN", `${width}x${height} pixels: write it again`);
}

/** [[across, down], …], of each component. */
function samplings(bytes, walked) {
  const [start] = walked.pieces.find(([piece]) => bytes[piece + 1] === walked.kind);
  return Array.from({ length: walked.components }, (_, at) => bytes[start + 11 + 3 * at]).map((both) => [both >> 4, both & 15]);
}

function jpegRefusal(reason, factors) {
  if (reason.includes("subsampling level") && isRare(factors)) {
    return new ImageError("E-IMAGE-PHONE", "a JPEG of a rare sampling is not read on a phone: save it as PNG");
  }
  if (reason.includes("remature end")) return truncated("the JPEG's pixels");
  return new ImageError("E-IMAGE-BROKEN", `the JPEG's pixels are damaged (${reason.slice(0, 100)}): ${AGAIN_JPEG}`);
}

/** Whether this sampling is one that libjpeg decodes, though libjpeg-turbo's own interface does not. */
function isRare(factors) {
  const [luma, ...others] = factors.map((factor) => factor.join(""));
  if (factors.length === 1 || (others[0] === others[1] && SAMPLINGS.has(`${luma} ${others[0]}`))) return false;
  return [0, 1].every((way) => {
    const most = Math.max(...factors.map((factor) => factor[way]));
    return most <= 4 && factors.every((factor) => factor[way] > 0 && most % factor[way] === 0);
  });
}

/** The picture, and of its notes those about colours, in a form of which libjpeg does not warn: its first warning counts. */
function jpegStream(bytes, walked, notes) {
  const parts = [[0xff, 0xd8]];
  if (notes.some(([start, end]) => bytes[start + 1] === NOTE_JFIF && end - start >= 4 + 14)) parts.push(PLAIN_JFIF);
  const adobe = notes.findLast(([start, end]) => bytes[start + 1] === NOTE_ADOBE && end - start >= 4 + 12);
  if (adobe) parts.push([...PLAIN_ADOBE, Math.min(bytes[adobe[0] + 4 + 11], 1)]); // beyond 1: YCbCr, with a warning
  for (const [start, end] of walked.pieces) {
    let last = end;
    if (bytes[start + 1] === SOS) while (bytes[last - 1] === 0xff) last--;
    parts.push(bytes.subarray(start, last));
  }
  parts.push([0xff, 0xd9]);
  const stream = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let to = 0;
  for (const part of parts) {
    stream.set(part, to);
    to += part.length;
  }
  return stream;
}

/** EXIF as Pillow joins it: the first part with "Exif" in front, further ones without. */
function exifOf(bytes, notes) {
  const isExif = (start) => bytes[start + 1] === NOTE_EXIF && bytes[start + 4] === 0x45 && bytes[start + 9] === 0;
  const exif = notes.filter(([start, end]) => end - start >= 4 + 6 && isExif(start));
  if (exif.length === 1) return bytes.subarray(exif[0][0] + 4, exif[0][1]);
  return Uint8Array.from(exif.flatMap(([start, end], at) => Array.from(bytes.subarray(start + 4 + (at && 6), end))));
}

/** Checks that each component has its scan, and in a progressive JPEG all 64 coefficients, to the last bit (G.1.1.1). */
function checkScans(bytes, walked) {
  const missing = new Map(); // component -> for each coefficient, the bits that are still missing
  for (const [start, end] of walked.pieces) {
    if (bytes[start + 1] === walked.kind) {
      missing.clear();
      const last = Math.min(end, start + 10 + 3 * walked.components);
      for (let at = start + 10; at < last; at += 3) missing.set(bytes[at], Array(64).fill(ALL_BITS));
    } else if (bytes[start + 1] === SOS) {
      const names = start + 5;
      const after = names + 2 * bytes[start + 4];
      const progressive = walked.kind === PROGRESSIVE;
      const [first, last, bits] = progressive ? [bytes[after], bytes[after + 1], bytes[after + 2] & 15] : [0, 63, 0];
      const count = Math.max(0, last + 1 - first);
      for (let at = names; at < after; at += 2) missing.get(bytes[at])?.splice(first, count, ...Array(count).fill(bits));
    }
  }
  if ([...missing.values()].some((bits) => bits.some((some) => some))) {
    throw new ImageError("E-IMAGE-TRUNCATED", `the JPEG's last scans are missing: ${AGAIN_JPEG}`);
  }
}

/** Throws ImageError for a lost sector: it reads as NUL, which codes coefficients that no picture has (-1, 63 in a block). */
function checkZeros(bytes, walked) {
  const first = new Map(); // class and number of a table -> the meaning of its first code, which is all zero bits (B.2.4.2)
  for (const [start, end] of walked.pieces) {
    if (bytes[start + 1] === DHT) {
      let at = start + 4;
      while (at + 17 < end) {
        first.set(bytes[at], bytes[at + 17]);
        at += 17 + bytes.subarray(at + 1, at + 17).reduce((sum, count) => sum + count, 0);
      }
    } else if (bytes[start + 1] === SOS) {
      const after = start + 6 + 2 * bytes[start + 4];
      const progressive = walked.kind === PROGRESSIVE;
      if (progressive && bytes[after - 1] === 0) continue; // NUL may be DC coefficients
      const lost = progressive && bytes[after + 1] >> 4 ? 2 * LOST_ZEROS : LOST_ZEROS; // up to 937 bits refine others
      let ends = true;
      for (let at = start + 6; at < after; at += 2) {
        ends &&= (first.get(0x10 | (bytes[at] & 15)) ?? END_OF_BLOCK) === END_OF_BLOCK;
      }
      if (!ends && hasZeros(bytes, start, end, lost)) {
        throw new ImageError("E-IMAGE-BROKEN", `over ${lost} NUL bytes within the JPEG's pixels: ${AGAIN_JPEG}`);
      }
    }
  }
}

/** Whether so many NUL bytes follow each other: where there are none, only every `count`th byte is looked at. */
function hasZeros(bytes, start, end, count) {
  for (let at = start + count - 1; at < end; at += count) {
    if (bytes[at] !== 0) continue;
    let from = at;
    while (from > start && bytes[from - 1] === 0) from--;
    let to = at + 1;
    while (to < end && bytes[to] === 0) to++;
    if (to - from >= count) return true;
    at = to - 1;
  }
  return false;
}
