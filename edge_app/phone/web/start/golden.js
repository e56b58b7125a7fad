/** The bundle's golden images through decoder, resize and model: inference/golden.py. */

import { BundleError, ImageError, LimiarError, RuntimeUnavailable } from "../errors.js";
import { decode, modelInput, tensorSha256 } from "../image/index.js";
import { REFER, decideBy } from "../answer/rule.js";
import { withDigits } from "../answer/digits.js";

const GOLDEN_PATH = "golden/golden.json";
const EXPECTED_RUNTIME = "litert"; // what computes in the page, built for the browser

/**
 * How many golden images gave the recorded model inputs bit for bit, logits within the tolerance, and the recorded decisions.
 *
 * bundle: as from `openBundle`; codecs: as from `openCodecs`; runtime: as from `openRuntime`. Throws LimiarError E-PHONE-CHECK,
 * which says what differs, and BundleError: no golden.json that can be used.
 */
export async function checkGolden(bundle, codecs, runtime) {
  const { manifest, model } = bundle;
  const { images, expected } = await readGolden(bundle);
  const tensorsDiffer = [];
  const decisionsDiffer = [];
  let largest = 0;
  for (const [at, image] of images.entries()) {
    const tensor = await goldenTensor(bundle, image, codecs);
    if (tensor === null) {
      tensorsDiffer.push(image.path);
    } else {
      const wanted = Float32Array.from(expected[at]);
      const found = runtime.run(tensor).logits;
      checkCount(found, manifest.labels.length);
      const apart = largestApart(found, wanted);
      largest = Math.max(largest, apart);
      if (largest === Infinity) break;
      const [before, after] = [wanted, found].map(logits => decideBy(model.decision, manifest.labels, logits).decision);
      if (before !== after && before !== REFER && after !== REFER) decisionsDiffer.push(image.path);
    }
  }
  const { same_runtime: same, other_runtime: other } = model.tolerance;
  const tolerance = model.expected_runtime === EXPECTED_RUNTIME ? same : other;
  const met = [];
  if (tensorsDiffer.length) met.push(`${tensorsDiffer.length} model inputs differ, ${tensorsDiffer[0]} first`);
  if (largest > tolerance) {
    met.push(`logits differ by ${withDigits(largest, 3)}, outside the tolerance of ${withDigits(tolerance, 3)}`);
  }
  if (decisionsDiffer.length) met.push(`${decisionsDiffer.length} decisions differ, ${decisionsDiffer[0]} first`);
  if (met.length) {
    const cure = "update the browser, or use another device";
    throw new LimiarError("E-PHONE-CHECK", `the golden images do not pass here: ${met.join("; ")}: ${cure}`);
  }
  return images.length;
}

async function readGolden({ read, manifest, model }) {
  const raw = await read(GOLDEN_PATH);
  let golden;
  try {
    golden = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(raw));
  } catch (error) {
    throw new BundleError("E-BUNDLE-GOLDEN", `${GOLDEN_PATH}: ${error.message}: convert the model again`);
  }
  const images = golden.images ?? [];
  const expected = golden.logits?.[model.name] ?? [];
  const isWhole = expected.length === images.length && expected.every(row => row.length === manifest.labels.length);
  if (!images.length || !isWhole) {
    const met = `${GOLDEN_PATH} has no logits for every image of ${model.name}`;
    throw new BundleError("E-BUNDLE-GOLDEN", `${met}: convert the model again`);
  }
  return { images, expected };
}

/** A golden image's model input; null if it is refused here, or differs from the recorded one. */
async function goldenTensor({ read, manifest }, image, codecs) {
  const bytes = await read(image.path);
  try {
    const tensor = modelInput(decode(bytes, image.path, manifest.input.grey_max ?? null, codecs), manifest.input);
    return (await tensorSha256(tensor, manifest.input)) === image.tensor_sha256 ? tensor : null;
  } catch (error) {
    if (error instanceof ImageError) return null;
    throw error;
  }
}

function checkCount(logits, labels) {
  if (logits.length === labels) return;
  const met = `the model gives ${logits.length} numbers for ${labels} labels`;
  throw new RuntimeUnavailable("E-RUNTIME-MODEL", `${met}: convert it again, or choose another --file`);
}

/** The largest absolute difference; infinite if one is not finite. */
function largestApart(found, wanted) {
  const apart = Math.max(...wanted.map((value, at) => Math.abs(found[at] - value)));
  return Number.isFinite(apart) ? apart : Infinity;
}
