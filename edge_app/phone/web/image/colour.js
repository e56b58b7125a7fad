/** Alpha goes over black, RGB becomes grey by BT.601: the rules of edge_app/image/read.py and resize.py. */

/**
 * [pixels * channels] with alpha last -> [pixels * (channels - 1)]: value * alpha / 255, rounded to the nearest.
 *
 * channels: 2 or 4. Written over the given Uint8Array, whose start is returned: a second copy of a large image would not fit.
 */
export function overBlack(pixels, channels) {
  const colours = channels - 1;
  let to = 0;
  for (let from = 0; from < pixels.length; from += channels) {
    const alpha = pixels[from + colours];
    for (let channel = 0; channel < colours; channel++) pixels[to++] = ((pixels[from + channel] * alpha + 127) / 255) | 0;
  }
  return pixels.subarray(0, to);
}

/** RGB Uint8Array [pixels * 3] -> grey Uint8Array [pixels], ITU-R BT.601: (19595 R + 38470 G + 7471 B + 32768) >> 16. */
export function luma(rgb) {
  const grey = new Uint8Array(rgb.length / 3);
  for (let to = 0, from = 0; to < grey.length; to++, from += 3) {
    grey[to] = (19595 * rgb[from] + 38470 * rgb[from + 1] + 7471 * rgb[from + 2] + 32768) >> 16;
  }
  return grey;
}

/** Grey Uint8Array [pixels] -> RGB Uint8Array [pixels * 3]. */
export function greyToRgb(grey) {
  const rgb = new Uint8Array(grey.length * 3);
  for (let from = 0, to = 0; from < grey.length; from++, to += 3) rgb[to] = rgb[to + 1] = rgb[to + 2] = grey[from];
  return rgb;
}
