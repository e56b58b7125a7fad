/** A stored picture -> upright: EXIF 2.32, tag 274. */

const TURNED = 5; // from this orientation on, rows are columns
const RIGHT_TO_LEFT = new Set([2, 3, 6, 7]); // the upright image's left is the stored rows' (or columns') end
const BOTTOM_UP = new Set([3, 4, 7, 8]);

/** {width, height, channels, pixels: Uint8Array [height * width * channels]}, orientation 1..8 -> the same, upright. */
export function upright(stored, orientation) {
  if (orientation === 1) return stored;
  const { channels, pixels } = stored;
  const turned = orientation >= TURNED;
  const [width, height] = turned ? [stored.height, stored.width] : [stored.width, stored.height];
  // Steps in the stored image, for one pixel to the right and one row down in the upright one.
  let across = turned ? stored.width * channels : channels;
  let down = turned ? channels : stored.width * channels;
  let start = 0;
  if (RIGHT_TO_LEFT.has(orientation)) {
    start += (width - 1) * across;
    across = -across;
  }
  if (BOTTOM_UP.has(orientation)) {
    start += (height - 1) * down;
    down = -down;
  }
  const found = new Uint8Array(pixels.length);
  let to = 0;
  for (let row = 0; row < height; row++) {
    let from = start + row * down;
    if (channels === 1) {
      for (let column = 0; column < width; column++, from += across) found[to++] = pixels[from];
    } else {
      for (let column = 0; column < width; column++, from += across) {
        found[to++] = pixels[from];
        found[to++] = pixels[from + 1];
        found[to++] = pixels[from + 2];
      }
    }
  }
  return { width, height, channels, pixels: found };
}
