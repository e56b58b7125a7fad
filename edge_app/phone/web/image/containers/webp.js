/** WebP (RFC 9649): RIFF chunks. */

import { ImageError } from "../../errors.js";
import { latin1, littleNumber } from "./bytes.js";
import { PIXELS_MP_WEBP, checkEnd, checkPixels, truncated } from "./container.js";

const WEBP_CHUNKS = 1_000; // a still picture has seven kinds

/** Walks the RIFF chunks (2.3), each padded to an even length; the header's length counts from byte 8. Throws ImageError. */
export function inspectWebp(bytes) {
  const end = 8 + littleNumber(bytes, 4, 4);
  const trailing = checkEnd(bytes, end, "WebP");
  walkWebp(bytes, (kind, start, stop) => {
    if (kind === "ANIM" || kind === "ANMF") throw new ImageError("E-IMAGE-FRAMES", "an animated WebP: save one frame");
    if (kind.startsWith("VP8")) checkWebpPixels(kind, bytes.subarray(start, Math.min(start + 10, bytes.length)));
  });
  return { format: "WEBP", bits: 8, decoderMp: PIXELS_MP_WEBP, trailing };
}

/** visit(kind, start, end): each chunk's kind, and the first byte and end of its content. Throws ImageError. */
export function walkWebp(bytes, visit) {
  const end = 8 + littleNumber(bytes, 4, 4);
  let [at, count] = [12, 0];
  while (at < end) {
    count += 1;
    if (count > WEBP_CHUNKS) throw new ImageError("E-IMAGE-BROKEN", `a WebP of over ${WEBP_CHUNKS} chunks: write it again`);
    const length = littleNumber(bytes, at + 4, 4);
    visit(latin1(bytes, at, 4), at + 8, at + 8 + length);
    at += 8 + length + (length % 2);
  }
  if (at !== end) throw truncated("a WebP chunk");
}

/** Reads the size (RFC 9649, 2.5 to 2.7), before a decoder allocates the pixels. */
function checkWebpPixels(kind, start) {
  let sides = [0, 0];
  if (kind === "VP8X") sides = [4, 7].map((at) => littleNumber(start, at, 3) + 1);
  if (kind === "VP8 ") sides = [6, 8].map((at) => littleNumber(start, at, 2) & 0x3fff);
  if (kind === "VP8L") sides = [0, 14].map((shift) => ((littleNumber(start, 1, 4) >>> shift) & 0x3fff) + 1);
  checkPixels("WEBP", ...sides, PIXELS_MP_WEBP);
}
