/** The image rules of edge_app/image in JavaScript: the bytes of a file -> a picture -> a model's input. */

import { ImageError } from "../errors.js";
import { greyToRgb, luma } from "./colour.js";
import { inspectNamed } from "./containers/index.js";
import { decodeBmp } from "./decoders/bmp.js";
import { decodeJpeg } from "./decoders/jpeg.js";
import { decodePng } from "./decoders/png.js";
import { decodePnm } from "./decoders/pnm.js";
import { decodeTiff } from "./decoders/tiff.js";
import { decodeWebp } from "./decoders/webp.js";
import { pictureOf } from "./picture.js";
import { boxMean, linearExact } from "./resize.js";

const BYTES_LIMIT = 64000000;
const DECODERS = { BMP: decodeBmp, JPEG: decodeJpeg, PNG: decodePng, PPM: decodePnm, TIFF: decodeTiff, WEBP: decodeWebp };

/**
 * The bytes of an image file -> {width, height, channels: 1 | 3, pixels: Uint8Array [height * width * channels], trailing}.
 *
 * Upright, alpha over black. greyMax: of the bundle, or null. codecs: of openCodecs. Throws ImageError.
 */
export function decode(bytes, name, greyMax, codecs) {
  if (bytes.length > BYTES_LIMIT) {
    throw new ImageError("E-IMAGE-BYTES", `${bytes.length} bytes, the limit is ${BYTES_LIMIT}: make it smaller`);
  }
  const container = inspectNamed(bytes, name);
  try {
    return pictureOf(DECODERS[container.format](bytes, container, greyMax, codecs), container.trailing);
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw undecoded(container.format, error);
  }
}

/**
 * A picture of any size -> Uint8Array [height * width * channels], by the rule `stretch-v1`. spec: {height, width, channels}.
 *
 * Per axis k = max(1, size // target); the size mod k rows or columns left over are cropped from both ends, an odd one from the
 * bottom or right; each k x k box becomes its mean (sum + n // 2) // n; then OpenCV's INTER_LINEAR_EXACT. Grey to RGB repeats
 * the value; RGB to grey, after the resize, is ITU-R BT.601.
 */
export function modelInput(picture, spec) {
  const small = linearExact(boxMean(picture, spec.height, spec.width), spec.height, spec.width);
  if (small.channels === spec.channels) return small.pixels;
  return spec.channels === 3 ? greyToRgb(small.pixels) : luma(small.pixels);
}

/** A name for a model input: sha256 over its bytes, in hex. */
export async function tensorSha256(tensor) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", tensor));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A decoder fed with hostile bytes throws anything. */
function undecoded(format, error) {
  if (error instanceof RangeError && /alloc|memory/i.test(error.message)) {
    return new ImageError("E-IMAGE-MEMORY", "does not fit into this device's memory: make it smaller");
  }
  const reason = String(error.message || error).split(/\s+/).join(" ").slice(0, 100);
  const code = reason.includes("truncated") ? "E-IMAGE-TRUNCATED" : "E-IMAGE-BROKEN";
  return new ImageError(code, `${format} does not decode (${reason}): copy or record it again`);
}
