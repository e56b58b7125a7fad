/** What shows nothing, or is beyond a bundle's limits, is refused before inference: image/resize.py, image/assessable.py. */

import { ImageError } from "../errors.js";
import { noise } from "./statistics.js";
import { withDigits, asPython } from "./digits.js";

const SIDE_MIN_PX = 4; // a narrower strip shows nothing once it is stretched to a square
const FLAT_LEVELS = 8; // grey levels between the darkest and the brightest pixel
const EXTREME_SHARE = 0.99; // of the pixels
const UNLIKE = "unlike the images that the model was trained on";
const FAULTS = {
  "sharpness at least": ["too blurred", "check focus and lens"],
  "mean at least": ["too dark", "check light and exposure"],
  "mean at most": ["too bright", "check light and exposure"],
  "clipped at most": ["under- or overexposed", "check light and exposure"],
  "noise at most": ["too noisy", "check light and gain"],
};

/** Throws ImageError: a strip, one flat colour, nearly all black or white. tensor: one channel if the picture is grey. */
export function checkAssessable({ width, height }, tensor) {
  if (Math.min(height, width) < SIDE_MIN_PX) {
    const met = `${width}x${height} pixels, not assessable`;
    throw new ImageError("E-IMAGE-THIN", `${met}: give at least ${SIDE_MIN_PX} on each side`);
  }
  let low = 255;
  let high = 0;
  let dark = 0;
  let bright = 0;
  for (const level of tensor) {
    if (level < low) low = level;
    if (level > high) high = level;
    if (level <= FLAT_LEVELS) dark += 1;
    if (level >= 255 - FLAT_LEVELS) bright += 1;
  }
  if (high - low < FLAT_LEVELS) {
    const met = `all pixels are within ${low}..${high}, not assessable`;
    throw new ImageError("E-IMAGE-UNIFORM", `${met}: check lens, light and file`);
  }
  if (dark >= EXTREME_SHARE * tensor.length) {
    const met = "nearly all pixels are black, not assessable";
    throw new ImageError("E-IMAGE-BLACK", `${met}: check lens cap, light and exposure`);
  }
  if (bright >= EXTREME_SHARE * tensor.length) {
    const met = "nearly all pixels are white, not assessable";
    throw new ImageError("E-IMAGE-SATURATED", `${met}: lower light or exposure`);
  }
}

/** Throws ImageError E-IMAGE-UNASSESSABLE for the first limit of a bundle that is not kept. found: statistics of the tensor. */
export function checkLimits(assessable, found, tensor, shape) {
  for (const [name, limit] of Object.entries(assessable.limits)) {
    const value = name === "noise" ? noise(tensor, shape) : found[name];
    const sides = [
      ["at least", limit.at_least, value < limit.at_least],
      ["at most", limit.at_most, value > limit.at_most],
    ];
    for (const [side, end, beyond] of sides) {
      if (!beyond) continue; // also where there is no such limit: a comparison with undefined is false
      const [fault, cure] = FAULTS[`${name} ${side}`] ?? [UNLIKE, "give images of the model's kind"];
      const met = `${fault}: ${name} ${toldApart(value, end)}, ${side} ${toldApart(end, value)}`;
      throw new ImageError("E-IMAGE-UNASSESSABLE", `${met}, not assessable: ${cure}`);
    }
  }
}

/** With as few digits as tell it from the other. */
function toldApart(value, other) {
  const few = [3, 4, 6].find(digits => withDigits(value, digits) !== withDigits(other, digits));
  return few ? withDigits(value, few) : asPython(value);
}
