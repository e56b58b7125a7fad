/** Data after the end of a whole picture: known data gets a name and is ignored, anything else is refused. */

import { ImageError } from "../../errors.js";
import { afterNul, bigNumber, findMark, holdsAt, latin1, littleNumber, shownBytes } from "./bytes.js";
import { recognise } from "./foreign.js";

const READ_AFTER_END = [
  [/^\x89PNG\r\n\x1a\n/, "PNG"],
  [/^\xff\xd8\xff/, "JPEG"],
  [/^(?:II\*\x00|MM\x00\*)/, "TIFF"],
  [/^RIFF/, "WebP"],
  [/^P[25][ \t\n\r]/, "PGM"],
  [/^P[36][ \t\n\r]/, "PPM"],
];
const MARK_MOST = 8; // bytes that these may take

/** A name for the padding from byte `end` on, or "" if there is none. Throws ImageError if anything else follows. */
export function afterEnd(bytes, end, what) {
  if (end >= bytes.length) return "";
  if (isPadding(bytes, end)) return "padding";
  throw refusedAfterEnd(bytes, end, what);
}

/** NUL up to a full block, or 0xFF from erased flash: board cameras write their whole buffer. */
export function isPadding(bytes, at) {
  for (let i = at; i < bytes.length; i++) if (bytes[i] !== 0 && bytes[i] !== 0xff) return false;
  return true;
}

/** The error for data after the end of the picture, with its name if it is known. */
export function refusedAfterEnd(bytes, at, what) {
  const behindNul = afterNul(bytes, at);
  const starts = [latin1(bytes, at, MARK_MOST), latin1(bytes, behindNul, MARK_MOST)];
  const foreign = recognise(bytes, at) ?? recognise(bytes, behindNul);
  const read = READ_AFTER_END.find(([start]) => starts.some((text) => start.test(text)));
  const name = foreign ? foreign.name : read ? `a second ${read[1]}` : `something unknown (${shownBytes(bytes, at, 8)})`;
  const met = `${name} follows the end of the ${what}, ${bytes.length - at} bytes`;
  return new ImageError("E-IMAGE-TRAILING", `${met}: save it as a plain image`);
}

/**
 * The end of the MP4 whose first byte other than NUL is at `first`; null if there is none.
 *
 * ISO/IEC 14496-12, 4.2: boxes with a length and a name, "ftyp" first. A cut one ends with the data.
 */
export function videoEnd(bytes, first) {
  let at = findMark(bytes, "ftyp", first, first + 8) - 4; // the length before it starts with NUL
  if (at < 0) return null;
  while (/^[0-9A-Za-z]+$/.test(latin1(bytes, at + 4, 4))) {
    let length = bigNumber(bytes, at, 4);
    if (length === 1) length = bigNumber(bytes, at + 8, 8);
    if (length < 8) return length === 0 ? bytes.length : at;
    at += length;
  }
  return Math.min(at, bytes.length);
}

/** Whether the file ends with Samsung's table of parts: "SEFH", the content, its length in 4 bytes, "SEFT". */
export function isSamsung(bytes) {
  const end = bytes.length;
  const start = end - 8 - littleNumber(bytes, end - 8, 4);
  return holdsAt(bytes, "SEFT", end - 4) && start >= 0 && holdsAt(bytes, "SEFH", start);
}
