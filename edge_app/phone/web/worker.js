/** The worker that answers: messages in, replies out. Its script has the vendored decoders and the runtime before this. */

import { ImageError, LimiarError } from "./errors.js";
import { decode } from "./image/index.js";
import { answeredLine, refusedLine, utcNow } from "./answer/line.js";
import { SHOWN_SIDE_PX, enlarged, overlaid } from "./answer/heat.js";
import { givenParts, partReader } from "./parts.js";
import { sha256 } from "./sha256.js";
import { startAnswering } from "./start/start.js";

let answering = null; // as from `startAnswering`

async function beginWork({ page, parts }) {
  const parsed = JSON.parse(page);
  answering = await startAnswering(partReader(parsed.parts, givenParts(parts)), parsed);
  return { started: answering.started };
}

async function answerFile({ bytes, name, map }) {
  const about = { path: name, sha256: await sha256(bytes) };
  const greyMax = answering.classifier.manifest.input.grey_max ?? null;
  const { picture, answer, line } = answerPicture(() => decode(bytes, name, greyMax, answering.codecs), about);
  return { line, ...(answer ? shownOf(picture, answer, map) : {}) };
}

async function answerFrame({ rgba, width, height, about }) {
  const take = () => ({ width, height, channels: 3, pixels: withoutAlpha(rgba), trailing: "" });
  return { line: answerPicture(take, about).line };
}

/** {line, picture, answer}, or the line of a refusal. take: () -> the picture; about: fields of the line that say which it is. */
function answerPicture(take, about) {
  const { classifier, origin } = answering;
  try {
    const begun = performance.now();
    const picture = withinMemory(take);
    const decodeMs = performance.now() - begun;
    const answer = classifier.answer(picture);
    const told = { ...about, trailing: picture.trailing };
    const line = answeredLine(origin, classifier.manifest.labels, answer, { decode: decodeMs, ...answer.ms }, utcNow(), told);
    return { line, picture, answer };
  } catch (error) {
    if (error instanceof ImageError) return { line: refusedLine(origin, error, utcNow(), about) };
    throw error;
  }
}

/** The picture as small as it is shown, and under its map where that is wanted and there is one. */
function shownOf(picture, answer, withMap) {
  const { manifest, model } = answering.classifier;
  const { width, height, channels, pixels } = picture;
  const isSmall = Math.max(width, height) <= SHOWN_SIDE_PX;
  const small = isSmall ? { width, height, channels, pixels: pixels.slice() } : { ...enlarged(picture), channels: 3 };
  const shown = { picture: small };
  if (!withMap || !answer.map || !model.class_map) return shown;
  const label = manifest.labels.indexOf(answer.label);
  const under = isSmall ? enlarged(picture) : small;
  return { ...shown, heat: overlaid(under, answer.map, label, manifest.labels.length, model.class_map, manifest.input) };
}

/** Runs it; what does not fit into memory is refused as a picture. */
function withinMemory(take) {
  try {
    return take();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ImageError("E-IMAGE-MEMORY", "does not fit into this device's memory: make it smaller");
  }
}

function withoutAlpha(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  return rgb;
}

const WORK_KINDS = { start: beginWork, answer: answerFile, frame: answerFrame };

globalThis.onmessage = async ({ data }) => {
  const { id, kind } = data;
  try {
    globalThis.postMessage({ id, ok: true, ...(await WORK_KINDS[kind](data)) });
  } catch (error) {
    const isTold = error instanceof LimiarError;
    // Whatever is not one of ours may have left the runtime or a decoder in any state: the page starts another worker.
    globalThis.postMessage({ id, ok: false, trap: !isTold, code: error.code ?? null, message: error.message ?? String(error) });
  }
};
