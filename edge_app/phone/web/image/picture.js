/** What a decoder found -> a picture: grey or RGB, over black, upright. */

import { overBlack } from "./colour.js";
import { upright } from "./orient.js";

/**
 * stored: {width, height, channels: 1..4 with alpha last, pixels: Uint8Array, orientation: 1..8}; its pixels are overwritten.
 *
 * -> {width, height, channels: 1 | 3, pixels: Uint8Array [height * width * channels], trailing}.
 */
export function pictureOf(stored, trailing) {
  const { width, height, channels } = stored;
  const opaque = channels % 2 === 1;
  const pixels = opaque ? stored.pixels : overBlack(stored.pixels, channels);
  const flat = { width, height, channels: opaque ? channels : channels - 1, pixels };
  return { ...upright(flat, stored.orientation), trailing };
}
