/** JPEG (ITU-T T.81): segments, entropy-coded data, an end, and what cameras and phones write after it. */

import { ImageError } from "../../errors.js";
import { afterNul, bigNumber, findMark, holdsAt } from "./bytes.js";
import { PIXELS_MP, PIXELS_MP_TWICE, truncated, unreadDepth } from "./container.js";
import { FOREIGN, refusal } from "./foreign.js";
import { isSamsung, refusedAfterEnd, videoEnd } from "./trailing.js";

const FILL_MOST = 256; // bytes of 0xFF before a marker (B.1.1.2)
export const DHT = 0xc4;
export const SOS = 0xda;
const COM = 0xfe;
const JPEG_LS_FRAME = 0xf7;
const JPEG_FRAMES = new Set([0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf, JPEG_LS_FRAME]);
export const PROGRESSIVE = 0xc2; // Table B.1
const HUFFMAN_FRAMES = [0xc0, 0xc1, PROGRESSIVE];
const ARITHMETIC_FRAMES = [0xc9, 0xca];
const LOSSLESS_FRAMES = [0xc3, 0xcb];
const JPEG_SEGMENTS = 10_000; // 64 MB have room for a thousand of the longest
const JPEG_SCANS = 100; // ten are usual
const PICTURES_AFTER = 16; // after the first: a burst stored as MPO
const DECLARED = [
  // marks in an APPn of the first picture that say that further pictures follow
  "MPF\x00", // CIPA DC-007, 5.1
  "http://ns.google.com/photos/1.0/container/", // Ultra HDR 1.1, GContainer
];
const JPEG_NOTES = ["JFIF\x00", "Exif\x00", "Adobe"]; // colours and orientation
const GAIN_MAP = ["hdrgm", "urn:iso:std:iso:ts:21496", "hdrgainmap"]; // Ultra HDR 1.1, ISO 21496-1, Apple

/** Checks that the first picture is whole and followed only by padding or known parts. Throws ImageError. */
export function inspectJpeg(bytes) {
  const first = walkJpeg(bytes, 0);
  const trailing = behindJpeg(bytes, first);
  if (first.frames !== 1 || !first.scans) {
    const met = `a JPEG with ${first.frames} frame headers and ${first.scans} scans`;
    throw new ImageError("E-IMAGE-BROKEN", `${met}: copy or record it again`);
  }
  if (first.components === 4) throw new ImageError("E-IMAGE-COLOUR", "a CMYK JPEG: save it as RGB or grey");
  if (first.bits !== 8) throw unreadDepth(`${first.bits}-bit JPEG`);
  if (!HUFFMAN_FRAMES.includes(first.kind)) {
    // No decoder can tell whether arithmetic-coded data were cut: their end need not be written (D.1.8).
    const lossless = LOSSLESS_FRAMES.includes(first.kind) ? "lossless" : "hierarchical";
    const kind = ARITHMETIC_FRAMES.includes(first.kind) ? "arithmetic-coded" : lossless;
    throw new ImageError("E-IMAGE-FORMAT", `a JPEG that is ${kind}, which is not read here: save it as a baseline JPEG`);
  }
  return { format: "JPEG", bits: 8, decoderMp: first.scans === 1 ? PIXELS_MP : PIXELS_MP_TWICE, trailing };
}

/**
 * Walks a picture (B.1): SOI, segments FFxx with a length, entropy-coded data after each SOS, EOI. Throws ImageError.
 *
 * end: the byte after EOI; kind: marker of the last frame header; pieces: [first byte, end] of the segments that its pixels
 * need, no APPn, no comment; notes: the same of the APPn that say how to show it; further: it declares that further pictures
 * follow; gainMap: it is not a picture itself, but the gain map of one.
 */
export function walkJpeg(bytes, start) {
  const found = { end: 0, frames: 0, scans: 0, bits: null, kind: 0, components: 0, pieces: [], notes: [] };
  Object.assign(found, { further: false, gainMap: false });
  let at = start + 2;
  for (let count = 0; count < JPEG_SEGMENTS; count++) {
    const marked = markerAt(bytes, at);
    const marker = bytes[marked];
    at = marked + 1;
    if (marker === 0xd9) {
      found.end = at;
      return found;
    }
    const length = bigNumber(bytes, at, 2);
    if (length < 2 || at + length > bytes.length) throw truncated("a JPEG segment");
    if (JPEG_FRAMES.has(marker) && length >= 8) {
      found.frames += 1;
      [found.bits, found.components, found.kind] = [bytes[at + 2], bytes[at + 7], marker];
      // Its data are stuffed differently (ISO/IEC 14495-1, A.1): no next segment can be found.
      if (marker === JPEG_LS_FRAME) throw refusal(FOREIGN.jpegLs);
    }
    at += length;
    if (marker === SOS) {
      found.scans += 1;
      if (found.scans > JPEG_SCANS) break;
      at = afterScan(bytes, at);
    }
    if (marker >= 0xe0 && marker <= 0xef) noteSegment(bytes, marked - 1, at, found);
    else if (marker !== COM) found.pieces.push([marked - 1, at]);
  }
  const met = `a JPEG of over ${JPEG_SEGMENTS} segments or ${JPEG_SCANS} scans`;
  throw new ImageError("E-IMAGE-BROKEN", `${met}: write it again`);
}

/** The second byte of the marker at `at`, behind its fill bytes. */
function markerAt(bytes, at) {
  let marked = at;
  while (bytes[marked] === 0xff && marked - at < FILL_MOST) marked++;
  const marker = bytes[marked];
  if (marked > at && marker !== undefined && marker !== 0 && marker !== 0xff) return marked;
  if (at + 2 > bytes.length) throw truncated("the JPEG");
  throw new ImageError("E-IMAGE-BROKEN", `a JPEG marker is missing at byte ${at}: copy or record it again`);
}

/** What an APPn from byte `start` to `end` says, added to what was found. */
function noteSegment(bytes, start, end, found) {
  const holds = (marks) => marks.some((mark) => findMark(bytes, mark, start, end) >= 0);
  found.further ||= holds(DECLARED);
  found.gainMap ||= holds(GAIN_MAP);
  if (JPEG_NOTES.some((note) => holdsAt(bytes, note, start + 4))) found.notes.push([start, end]);
}

/** The end of the entropy-coded data from `start` on, which is the next marker: not stuffing, not a restart. */
function afterScan(bytes, start) {
  let filled = 0; // bytes, the longest run
  for (let at = bytes.indexOf(0xff, start); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    const first = at;
    while (bytes[at + 1] === 0xff) at++;
    filled = Math.max(filled, at + 1 - first);
    const marker = bytes[at + 1];
    if (marker === undefined) break;
    if (marker !== 0 && (marker < 0xd0 || marker > 0xd7)) {
      if (filled > FILL_MOST) {
        throw new ImageError("E-IMAGE-BROKEN", `a JPEG with over ${FILL_MOST} fill bytes: copy or record it again`);
      }
      return at;
    }
  }
  throw truncated("the JPEG's pixels");
}

/** Short names of what follows the first picture, or "". Throws ImageError if it is not understood. */
function behindJpeg(bytes, first) {
  let at = first.end;
  const parts = [];
  if (at === bytes.length) return "";
  const samsung = isSamsung(bytes);
  while (!isPaddingOrEnds(bytes, at)) {
    const start = at;
    at = afterNul(bytes, at);
    const video = videoEnd(bytes, at);
    if (video !== null) {
      parts.push("a video (motion photo)");
      at = video;
    } else if (first.further && holdsAt(bytes, "\xff\xd8\xff", at) && parts.length < PICTURES_AFTER) {
      const [name, end] = furtherPicture(bytes, at);
      parts.push(name);
      at = end;
    } else if (samsung) {
      const moves = findMark(bytes, "MotionPhoto_Data", at, bytes.length) >= 0;
      parts.push(moves ? "a video (motion photo)" : "a camera's notes (Samsung)");
      break;
    } else {
      throw refusedAfterEnd(bytes, start, "JPEG");
    }
  }
  return [...new Set(parts)].join(" and ") || "padding";
}

/** Whether only padding follows, or EOI again, which some cameras write. */
function isPaddingOrEnds(bytes, start) {
  for (let at = start; at < bytes.length; at++) {
    if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) at++;
    else if (bytes[at] !== 0 && bytes[at] !== 0xff) return false;
  }
  return true;
}

/** A name for the picture at byte `at`, and its end. Throws ImageError if it is broken. */
function furtherPicture(bytes, at) {
  try {
    const walked = walkJpeg(bytes, at);
    return [walked.gainMap ? "a gain map (UltraHDR)" : "a second picture (MPO)", walked.end];
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    if (error.code !== "E-IMAGE-TRUNCATED") throw refusedAfterEnd(bytes, at, "JPEG");
    return ["a second picture (MPO), cut", bytes.length]; // the first one is whole
  }
}
