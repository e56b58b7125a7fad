/** The two steps of the resize, rule id `stretch-v1`: edge_app/image/resize.py, to the bit. */

const WEIGHT_ONE = 256; // weights of OpenCV's INTER_LINEAR_EXACT have 8 bits after the point, for samples of 8 bits

/** Integer mean of k x k boxes: {width, height, channels, pixels} -> the same kind, smaller. */
export function boxMean(picture, height, width) {
  const { channels, pixels } = picture;
  const ky = Math.max(1, Math.floor(picture.height / height));
  const kx = Math.max(1, Math.floor(picture.width / width));
  if (ky === 1 && kx === 1) return picture;
  const top = Math.floor((picture.height % ky) / 2);
  const left = Math.floor((picture.width % kx) / 2);
  const rows = Math.floor(picture.height / ky);
  const columns = Math.floor(picture.width / kx);
  const stride = picture.width * channels;
  const n = ky * kx;
  const half = Math.floor(n / 2);
  const means = new Uint8Array(rows * columns * channels);
  const sums = new Uint32Array(columns * channels);
  for (let row = 0, to = 0; row < rows; row++) {
    sums.fill(0);
    for (let y = 0; y < ky; y++) {
      const from = (top + row * ky + y) * stride + left * channels;
      if (channels === 1) addGrey(sums, pixels, from, kx);
      else addRgb(sums, pixels, from, kx);
    }
    for (let at = 0; at < sums.length; at++) means[to++] = (((sums[at] + half) >>> 0) / n) | 0;
  }
  return { width: columns, height: rows, channels, pixels: means };
}

function addGrey(sums, pixels, from, kx) {
  for (let at = 0; at < sums.length; at++) {
    let sum = 0;
    for (const end = from + kx; from < end; from++) sum += pixels[from];
    sums[at] += sum;
  }
}

function addRgb(sums, pixels, from, kx) {
  for (let at = 0; at < sums.length; at += 3) {
    let red = 0;
    let green = 0;
    let blue = 0;
    for (const end = from + 3 * kx; from < end; from += 3) {
      red += pixels[from];
      green += pixels[from + 1];
      blue += pixels[from + 2];
    }
    sums[at] += red;
    sums[at + 1] += green;
    sums[at + 2] += blue;
  }
}

/** OpenCV's INTER_LINEAR_EXACT (imgproc, resize.cpp): two passes in fixed point, rounded once, at the end. */
export function linearExact(picture, height, width) {
  if (picture.height === height && picture.width === width) return picture;
  const { channels, pixels } = picture;
  const across = linearWeights(picture.width, width);
  const down = linearWeights(picture.height, height);
  const row = width * channels;
  const found = new Uint8Array(height * row);
  const upper = new Uint16Array(row);
  const lower = new Uint16Array(row);
  for (let y = 0, to = 0; y < height; y++) {
    stretchRow(upper, pixels, down.first[y] * picture.width * channels, channels, across);
    stretchRow(lower, pixels, down.second[y] * picture.width * channels, channels, across);
    const one = down.one[y];
    const other = WEIGHT_ONE - one;
    for (let x = 0; x < row; x++) found[to++] = (upper[x] * one + lower[x] * other + 32768) >> 16;
  }
  return { width, height, channels, pixels: found };
}

function stretchRow(target, pixels, from, channels, across) {
  for (let x = 0, to = 0; x < across.one.length; x++) {
    const first = from + across.first[x] * channels;
    const second = from + across.second[x] * channels;
    const one = across.one[x];
    for (let channel = 0; channel < channels; channel++) {
      target[to++] = pixels[first + channel] * one + pixels[second + channel] * (WEIGHT_ONE - one);
    }
  }
}

/** Of each output sample: the two input samples, and the weight of the first, 0..256. Beyond the ends, the end alone. */
function linearWeights(size, target) {
  const first = new Int32Array(target);
  const second = new Int32Array(target);
  const one = new Int32Array(target);
  const scale = 1 / (target / size); // OpenCV divides twice, and so do we: the last bit of a weight may hang on it
  for (let at = 0; at < target; at++) {
    const place = scale * (at + 0.5) - 0.5;
    const whole = Math.floor(place);
    first[at] = Math.min(Math.max(whole, 0), size - 1);
    const inside = whole >= 0 && whole < size - 1;
    second[at] = inside ? whole + 1 : first[at];
    one[at] = inside ? WEIGHT_ONE - halfToEven((place - whole) * WEIGHT_ONE) : WEIGHT_ONE;
  }
  return { first, second, one };
}

function halfToEven(value) {
  const floor = Math.floor(value);
  const over = value - floor;
  return over > 0.5 || (over === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
