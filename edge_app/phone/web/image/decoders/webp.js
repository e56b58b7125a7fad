/**
 * WebP -> pixels, if they need all of its coded data: edge_app/image/decoders/webp.py.
 *
 * The parts are chosen as libwebp's own demuxer does, by which Pillow reads: it refuses more than its decoder.
 */

import { ImageError } from "../../errors.js";
import { bigNumber, littleNumber } from "../containers/bytes.js";
import { checkPixels, truncated } from "../containers/container.js";
import { walkWebp } from "../containers/webp.js";
import { exifOrientation } from "../exif.js";

const LAST_BYTES = 16;
const SMALL_BYTES = 64; // data of this size may be a plain surface
const VP8X_BYTES = 10;
// Flags of VP8X (RFC 9649, 2.7)
const [ANIMATED, EXIF_FLAG, ALPHA_FLAG, ALL_FLAGS] = [0x02, 0x08, 0x10, 0x3e];

/** -> {width, height, channels: 4, pixels: Uint8Array, RGBA, orientation}. Throws ImageError, and Error for broken data. */
export function decodeWebp(bytes, container, greyMax, codecs) {
  const parts = webpParts(bytes);
  checkPixels("WEBP", parts.width, parts.height, container.decoderMp);
  for (const shorter of withoutEnds(bytes)) if (webpDecodes(shorter, codecs)) throw truncated("the WebP's pixels");
  const found = codecs.webp(webpFile(parts));
  if (!found) throw new Error("libwebp does not decode its pixels");
  return { ...found, channels: 4, orientation: parts.exif ? exifOrientation(parts.exif) : 1 };
}

function webpDecodes(bytes, codecs) {
  try {
    return codecs.webp(webpFile(webpParts(bytes))) !== null;
  } catch {
    return false;
  }
}

/**
 * -> {width, height, image, alpha, exif}: the last three are chunks with their heads, or null (exif without).
 * Throws Error as libwebp's WebPDemux fails (src/demux/demux.c): a size that is not the canvas's, alpha after the image, …
 */
function webpParts(bytes) {
  const chunks = [];
  walkWebp(bytes, (kind, start, end) => chunks.push({ kind, start, end }));
  const first = chunks[0] ?? { kind: "", start: 0, end: 0 };
  if (first.kind === "ALPH") webpBroken("alpha without a canvas");
  if (first.kind !== "VP8X") return { ...webpImage(bytes, chunks, 0, false), exif: null };
  const flags = bytes[first.start];
  const [width, height] = [4, 7].map((at) => littleNumber(bytes, first.start + at, 3) + 1);
  const begin = chunks.findIndex(({ kind }) => ["ALPH", "VP8 ", "VP8L"].includes(kind));
  if (first.end - first.start !== VP8X_BYTES || flags & (~ALL_FLAGS | ANIMATED) || begin < 0) webpBroken("its header");
  const image = webpImage(bytes, chunks, begin, (flags & ALPHA_FLAG) !== 0);
  if (chunks.slice(image.after).some(({ kind }) => ["ALPH", "VP8 ", "VP8L", "VP8X"].includes(kind))) webpBroken("two images");
  if (image.width !== width || image.height !== height) webpBroken("an image of another size than its canvas");
  const exif = flags & EXIF_FLAG ? chunks.find(({ kind }) => kind === "EXIF") : null;
  return { ...image, exif: exif ? bytes.subarray(exif.start, exif.end) : null };
}

/** The image from a chunk on, and the alpha before it. after: the chunk that follows. */
function webpImage(bytes, chunks, begin, hasAlpha) {
  let after = begin;
  const alpha = chunks[after]?.kind === "ALPH" ? chunks[after++] : null;
  const image = chunks[after++];
  const lossless = image?.kind === "VP8L";
  if (!image || !(lossless ? !alpha : image.kind === "VP8 ")) webpBroken("its parts");
  if (hasAlpha && !lossless && !alpha && chunks[after]?.kind === "ALPH") webpBroken("alpha after its image");
  if (!lossless && chunks[after]?.kind === "ALPH" && !alpha) after++;
  const [width, height] = lossless ? losslessSize(bytes, image) : lossySize(bytes, image);
  const chunk = ({ start, end }) => bytes.subarray(start - 8, end);
  return { width, height, image: chunk(image), alpha: alpha && hasAlpha ? chunk(alpha) : null, after };
}

/** RFC 6386, 9.1: a key frame that is shown, of a known version, whose first part is not longer than the chunk. */
function lossySize(bytes, { start, end }) {
  const tag = littleNumber(bytes, start, 3);
  const known = (tag & 1) === 0 && ((tag >> 1) & 7) <= 3 && (tag >> 4) & 1 && tag >> 5 < end - start;
  if (end - start < 10 || !known || bigNumber(bytes, start + 3, 3) !== 0x9d012a) webpBroken("its frame's header");
  const sides = [6, 8].map((at) => littleNumber(bytes, start + at, 2) & 0x3fff);
  if (!sides[0] || !sides[1]) webpBroken("an image without pixels");
  return sides;
}

/** RFC 9649, 3.4. */
function losslessSize(bytes, { start, end }) {
  const head = littleNumber(bytes, start + 1, 4);
  if (end - start < 5 || bytes[start] !== 0x2f || head >>> 29) webpBroken("its lossless header");
  return [0, 14].map((shift) => ((head >>> shift) & 0x3fff) + 1);
}

function webpBroken(what) {
  throw new Error(`libwebp does not read ${what}`);
}

/** Only the parts, as a file of their own. */
function webpFile({ width, height, image, alpha }) {
  const parts = alpha ? [canvasOf(width, height), alpha, image] : [image];
  const lengths = parts.map((part) => part.length + (part.length % 2));
  const total = 12 + lengths.reduce((sum, length) => sum + length, 0);
  const file = new Uint8Array(total);
  file.set([0x52, 0x49, 0x46, 0x46, ...little32(total - 8), 0x57, 0x45, 0x42, 0x50]); // RIFF, WEBP
  let to = 12;
  parts.forEach((part, index) => {
    file.set(part, to);
    to += lengths[index];
  });
  return file;
}

function canvasOf(width, height) {
  const sides = [width - 1, height - 1].flatMap((side) => little32(side).slice(0, 3));
  return Uint8Array.from([0x56, 0x50, 0x38, 0x58, ...little32(VP8X_BYTES), ALPHA_FLAG, 0, 0, 0, ...sides]);
}

function little32(value) {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 255);
}

/** The picture, each time without the last bytes of one part: its pixels, its alpha, a lossy one's data about blocks. */
function withoutEnds(bytes) {
  const found = [];
  walkWebp(bytes, (kind, start, end) => {
    if (["VP8 ", "VP8L", "ALPH"].includes(kind) && end - start > SMALL_BYTES) {
      found.push(withContent(bytes, start, end, [bytes.subarray(start, end - LAST_BYTES)]));
    }
    if (kind !== "VP8 ") return;
    const tag = littleNumber(bytes, start, 3); // RFC 6386, 9.1: five bits, and the first part's length
    const blocks = start + 10 + (tag >> 5); // the end of these data
    if (SMALL_BYTES < tag >> 5 && tag >> 5 < end - start) {
      const head = Uint8Array.from(little32(tag - (LAST_BYTES << 5)).slice(0, 3));
      const parts = [head, bytes.subarray(start + 3, blocks - LAST_BYTES), bytes.subarray(blocks, Math.max(blocks, end))];
      found.push(withContent(bytes, start, end, parts));
    }
  });
  return found;
}

/** The file with new content, in pieces, in the chunk from byte `start` to `end`. */
function withContent(bytes, start, end, pieces) {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const rest = bytes.subarray(end + ((end - start) % 2), 8 + littleNumber(bytes, 4, 4));
  const file = new Uint8Array(start + length + (length % 2) + rest.length);
  file.set(bytes.subarray(0, start));
  file.set(little32(length), start - 4);
  let to = start;
  for (const piece of pieces) {
    file.set(piece, to);
    to += piece.length;
  }
  file.set(rest, start + length + (length % 2));
  file.set(little32(file.length - 8), 4);
  return file;
}
