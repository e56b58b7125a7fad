/** What a model input looks like in a few cheap statistics, and whether training images look like that: image/statistics.py. */

const TAIL_SHARE = 0.01; // of the pixels: a single pixel means nothing
const NOISE_OF = Math.sqrt(Math.PI / 2) / 6;
const GREY_COLOUR = 2.0; // of `colour`: less is invisible

/**
 * A model input, Uint8Array [height * width * channels], channels 1 or 3 -> {mean, deviation, low, high, sharpness, clipped,
 * colour}: the same numbers as in Python, since they come from sums of integers.
 */
export function statistics(tensor, { height, width, channels }) {
  const isGrey = isGreyTensor(tensor, channels);
  const grey = greyLevels(tensor, channels);
  const size = grey.length;
  const levels = new Array(256).fill(0);
  for (const level of grey) levels[level] += 1;
  let total = 0;
  let squares = 0;
  levels.forEach((count, level) => {
    total += count * level;
    squares += count * level * level;
  });
  const { mean, deviation } = momentsOf(size, total, squares);
  const tail = Math.max(1, Math.ceil(TAIL_SHARE * size));
  return {
    mean,
    deviation,
    low: levelReaching(levels, tail),
    high: levelReaching(levels, size - tail + 1),
    sharpness: laplacianVariance(grey, height, width),
    clipped: (levels[0] + levels[255]) / size,
    colour: isGrey ? 0 : colourfulness(tensor),
  };
}

/** The standard deviation of the noise in a model input, in grey levels (Immerkær, CVIU 64 (1996) 300-302). */
export function noise(tensor, { height, width, channels }) {
  if (Math.min(height, width) < 3) return 0;
  const grey = greyLevels(tensor, channels);
  let sum = 0;
  for (let y = 1; y < height - 1; y += 1) {
    for (let x = 1; x < width - 1; x += 1) {
      const at = y * width + x;
      const left = grey[at - 1 - width] - 2 * grey[at - 1] + grey[at - 1 + width];
      const middle = grey[at - width] - 2 * grey[at] + grey[at + width];
      const right = grey[at + 1 - width] - 2 * grey[at + 1] + grey[at + 1 + width];
      sum += Math.abs(left - 2 * middle + right);
    }
  }
  return (NOISE_OF * sum) / ((height - 2) * (width - 2));
}

/** Names of those statistics that are outside an envelope's quantiles. found: as from `statistics`. */
export function outsideOf(envelope, found) {
  return Object.entries(envelope.ranges)
    .filter(([name, range]) => {
      const value = found[name];
      const inside = range.low <= value && value <= range.high;
      return !(inside || (name === "colour" && seenAsGrey(range, value)));
    })
    .map(([name]) => name);
}

/** Whether colourfulness is within a range if all that is invisible counts as the same. */
function seenAsGrey(range, colour) {
  const seen = Math.max(colour, GREY_COLOUR);
  return Math.max(range.low, GREY_COLOUR) <= seen && seen <= Math.max(range.high, GREY_COLOUR);
}

function isGreyTensor(tensor, channels) {
  if (channels === 1) return true;
  for (let at = 0; at < tensor.length; at += 3) {
    if (tensor[at] !== tensor[at + 1] || tensor[at] !== tensor[at + 2]) return false;
  }
  return true;
}

/** [H * W]: ITU-R BT.601 in 16 bits, which gives three equal channels back. */
function greyLevels(tensor, channels) {
  if (channels === 1) return tensor;
  const grey = new Uint8Array(tensor.length / 3);
  for (let at = 0, from = 0; at < grey.length; at += 1, from += 3) {
    grey[at] = (19595 * tensor[from] + 38470 * tensor[from + 1] + 7471 * tensor[from + 2] + 32768) >>> 16;
  }
  return grey;
}

/** Mean and standard deviation from integer sums. Whole numbers: n * squares of 4096x4096 pixels has 64 bits. */
function momentsOf(n, total, squares) {
  const spread = BigInt(n) * BigInt(squares) - BigInt(total) * BigInt(total);
  return { mean: total / n, deviation: Math.sqrt(Number(spread)) / n };
}

/** The first level up to which at least `count` pixels are. */
function levelReaching(levels, count) {
  let upto = 0;
  return levels.findIndex(pixels => {
    upto += pixels;
    return upto >= count;
  });
}

/** Of cv2.Laplacian, which mirrors what is beyond the border about the pixels of the rim. */
function laplacianVariance(grey, height, width) {
  const mirrored = (at, size) => {
    if (size === 1) return 0;
    if (at < 0) return 1;
    return at === size ? size - 2 : at;
  };
  let total = 0;
  let squares = 0;
  for (let y = 0; y < height; y += 1) {
    const above = mirrored(y - 1, height) * width;
    const below = mirrored(y + 1, height) * width;
    const row = y * width;
    for (let x = 0; x < width; x += 1) {
      const sides = grey[row + mirrored(x - 1, width)] + grey[row + mirrored(x + 1, width)];
      const value = grey[above + x] + grey[below + x] + sides - 4 * grey[row + x];
      total += value;
      squares += value * value;
    }
  }
  return momentsOf(height * width, total, squares).deviation ** 2;
}

/** Hasler & Süsstrunk, Proc. SPIE 5007 (2003), equation 7. */
function colourfulness(rgb) {
  const n = rgb.length / 3;
  const sums = [0, 0, 0, 0];
  for (let at = 0; at < rgb.length; at += 3) {
    const redGreen = rgb[at] - rgb[at + 1];
    const yellowBlue = rgb[at] + rgb[at + 1] - 2 * rgb[at + 2]; // twice yellow less blue
    sums[0] += redGreen;
    sums[1] += redGreen * redGreen;
    sums[2] += yellowBlue;
    sums[3] += yellowBlue * yellowBlue;
  }
  const one = momentsOf(n, sums[0], sums[1]);
  const two = momentsOf(n, sums[2], sums[3]);
  return Math.hypot(one.deviation, two.deviation / 2) + 0.3 * Math.hypot(one.mean, two.mean / 2);
}
