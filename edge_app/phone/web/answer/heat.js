/** A class activation map laid over its picture: image/heat.py, and `enlarged` of image/draw.py. */

import { TURBO } from "./turbo.js";

export const SHOWN_SIDE_PX = 400; // of the longer side
const HEAT_SHARE = 0.4; // of the map's colours; the rest is the picture

/**
 * A picture {width, height, channels, pixels} -> RGB {width, height, pixels: Uint8Array [height * width * 3]}, its longer side
 * `side`: pixels repeated in a larger one, their mean in a smaller one.
 */
export function enlarged({ width, height, channels, pixels }, side = SHOWN_SIDE_PX) {
  const scale = side / Math.max(width, height);
  const [toWidth, toHeight] = [width, height].map(size => Math.max(1, roundHalfEven(size * scale)));
  const shares = scale > 1 ? repeatedShares : meanShares;
  const narrow = resampledRows(pixels, height, width, channels, shares(width, toWidth));
  const small = resampledColumns(narrow, toWidth * channels, shares(height, toHeight));
  return { width: toWidth, height: toHeight, pixels: channels === 3 ? small : repeatedThrice(small) };
}

/**
 * The RGB pixels of `shown` (as from `enlarged`) under the colours of one label's map: blue where it is least, red where most.
 *
 * map: Float32Array [h * w * labels]; grid: `class_map` of the manifest; input: `input` of it.
 */
export function overlaid(shown, map, label, labels, grid, input) {
  const heat = Float32Array.from({ length: grid.height * grid.width }, (_, at) => map[at * labels + label]);
  const { low, high } = heatRange(heat);
  const scale = high > low ? 255 / (high - low) : 0;
  const levels = heat.map(value => (value - low) * scale);
  const { width, height } = shown;
  const columns = cellsOf(width, input.width, grid.first[1], grid.step[1], grid.width);
  const rows = cellsOf(height, input.height, grid.first[0], grid.step[0], grid.height);
  const pixels = new Uint8Array(width * height * 3);
  rows.forEach(([above, below, down], y) => {
    columns.forEach(([left, right, across], x) => {
      const top = levels[above * grid.width + left] * (1 - across) + levels[above * grid.width + right] * across;
      const bottom = levels[below * grid.width + left] * (1 - across) + levels[below * grid.width + right] * across;
      const colour = 3 * roundHalfEven(top * (1 - down) + bottom * down);
      for (let channel = 0, at = 3 * (y * width + x); channel < 3; channel += 1) {
        const mixed = shown.pixels[at + channel] * (1 - HEAT_SHARE) + TURBO[colour + channel] * HEAT_SHARE;
        pixels[at + channel] = roundHalfEven(mixed);
      }
    });
  });
  return { width, height, pixels, low, high };
}

/** Smallest and largest value. */
function heatRange(heat) {
  return heat.reduce(({ low, high }, value) => ({ low: Math.min(low, value), high: Math.max(high, value) }), {
    low: Infinity,
    high: -Infinity,
  });
}

/** For each pixel of an axis: the cells before and after it, and how far it is from the first, 0..1. */
function cellsOf(size, inputSize, first, step, cells) {
  const perPixel = inputSize / size; // pixels of the model's input per pixel of the picture
  const within = cell => Math.min(Math.max(cell, 0), cells - 1);
  return Array.from({ length: size }, (_, at) => {
    const place = (at * perPixel + perPixel / 2 - 0.5 - first) / step;
    const before = Math.floor(place);
    return [within(before), within(before + 1), place - before];
  });
}

/** Of which pixels a new one is made: [first, share of each]. */
function repeatedShares(size, to) {
  return Array.from({ length: to }, (_, at) => [Math.min(size - 1, Math.floor(((at + 0.5) * size) / to)), [1]]);
}

/** As Pillow's BOX filter: the pixels whose middle is within the new one, with equal shares. */
function meanShares(size, to) {
  const scale = size / to;
  const support = Math.max(scale, 1) / 2;
  return Array.from({ length: to }, (_, at) => {
    const centre = (at + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const weights = Array.from({ length: last - first }, (_unused, step) => {
      const distance = (first + step - centre + 0.5) / Math.max(scale, 1);
      return distance > -0.5 && distance <= 0.5 ? 1 : 0;
    });
    const sum = weights.reduce((all, weight) => all + weight, 0);
    return [first, weights.map(weight => weight / sum)];
  });
}

function resampledRows(pixels, height, width, channels, shares) {
  const made = new Uint8Array(height * shares.length * channels);
  for (let y = 0, to = 0; y < height; y += 1) {
    for (const [first, weights] of shares) {
      for (let channel = 0; channel < channels; channel += 1, to += 1) {
        let from = (y * width + first) * channels + channel;
        let sum = 0.5;
        for (let step = 0; step < weights.length; step += 1, from += channels) sum += pixels[from] * weights[step];
        made[to] = sum;
      }
    }
  }
  return made;
}

function resampledColumns(pixels, rowLength, shares) {
  const made = new Uint8Array(rowLength * shares.length);
  shares.forEach(([first, weights], y) => {
    for (let x = 0; x < rowLength; x += 1) {
      let sum = 0.5;
      for (let step = 0; step < weights.length; step += 1) sum += pixels[(first + step) * rowLength + x] * weights[step];
      made[y * rowLength + x] = sum;
    }
  });
  return made;
}

function repeatedThrice(grey) {
  const rgb = new Uint8Array(grey.length * 3);
  for (let at = 0; at < grey.length; at += 1) rgb.fill(grey[at], 3 * at, 3 * at + 3);
  return rgb;
}

/** A number of 0 or more -> the nearest whole one, the even of two. */
function roundHalfEven(value) {
  const whole = Math.floor(value);
  const rest = value - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? whole + 1 : whole;
}
