/** The page with a worker that answers by the names of files: what people see needs no model. ?start=fail, slow; ?map=1; ?until=2. */

import { BundleError } from "/web/errors.js";
import { openKeep } from "/web/keep/keep.js";
import { PhonePage } from "/web/ui/page.js";

const asked = new URLSearchParams(location.search);
const SIDE = 50;
const HASH = "d1f3c0de".repeat(8);
const ORIGIN = { bundle: HASH, file: "tflite_int8", runtime: "litert-wasm 2.5.3", verified: "device", app: "limiar 0.1.0 phone" };
const LABELS = ["neg", "pos"];
const started = {
  ...ORIGIN,
  name: "lung-nodule",
  version: "0.1.0",
  labels: LABELS,
  intendedUse: "Research and education with CT patches, nodule against non-nodule; not for diagnosis.",
  signature: "signed by 0123456789ab",
  golden: 18,
  referBelow: 0.949419,
  hasMap: asked.has("map"),
  height: 40,
  width: 40,
  channels: 3,
  ms: { files: 120, load: 640, golden: 210, all: 970 },
};
const failure = new BundleError("E-BUNDLE-HASH", "tflite_int8.tflite has sha256 0123456789ab, the manifest says ba9876543210: copy it again");

/** What a file of this name gets: "pos-refer.png" is referred, "cut.png" refused. */
function lineOf(name, about) {
  const share = name.includes("refer") ? 0.713 : name.includes("sure") ? 0.99997 : 0.964;
  const label = name.includes("neg") ? "neg" : "pos";
  const other = label === "neg" ? "pos" : "neg";
  const time = new Date().toISOString();
  if (name.includes("cut")) {
    const message = "1,200 of 4,096 bytes are there: copy the file again";
    return { ...about, decision: "refused", code: "E-IMAGE-TRUNCATED", message, ...ORIGIN, time };
  }
  const shares = { [label]: share, [other]: 1 - share };
  const probabilities = Object.fromEntries(LABELS.map((one) => [one, shares[one]]));
  const outside = name.includes("outside") ? ["mean", "sharpness"] : [];
  const decision = name.includes("refer") || outside.length ? "refer" : label;
  const ms = { decode: 0.41, resize: 0.102, infer: 1.93 };
  return { ...about, decision, label, confidence: share, probabilities, outside, ...ORIGIN, time, ms };
}

function pictureOf(name) {
  const pixels = new Uint8Array(SIDE * SIDE);
  const [x, y] = [18 + (name.length % 14), 22];
  for (let at = 0; at < pixels.length; at += 1) {
    const far = Math.hypot((at % SIDE) - x, Math.floor(at / SIDE) - y);
    pixels[at] = Math.max(20 + ((at * 7919) % 23), 230 - far * 21);
  }
  return { width: SIDE, height: SIDE, channels: 1, pixels };
}

function heatOf(name) {
  const { pixels } = pictureOf(name);
  const rgb = new Uint8Array(pixels.length * 3);
  pixels.forEach((level, at) => rgb.set([level, 90, 255 - level], at * 3));
  return { width: SIDE, height: SIDE, pixels: rgb };
}

const sleepMs = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

let answers = 0;
const goesOn = new Promise((then) => {
  globalThis.goesOn = then;
});
const work = {
  async start() {
    if (asked.get("start") === "slow") await new Promise(() => {});
    if (asked.get("start") === "fail") throw failure;
    return started;
  },
  async answer(bytes, name, map) {
    await sleepMs(Number(asked.get("ms") ?? 0));
    answers += 1;
    if (answers > Number(asked.get("until") ?? Infinity)) await goesOn;
    if (name.includes("fault")) throw failure;
    const line = lineOf(name, { path: name, sha256: await sha256(bytes) });
    if (line.code) return { line };
    return { line, picture: pictureOf(name), ...(map && started.hasMap && { heat: heatOf(name) }) };
  },
  async frame(rgba, width, height, about) {
    return { line: lineOf(asked.get("sees") ?? "pos", about) };
  },
};

/** A camera that sees noise: no two frames are alike. */
function noise() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [160, 120];
  const drawn = canvas.getContext("2d");
  setInterval(() => {
    const data = drawn.createImageData(160, 120);
    crypto.getRandomValues(data.data.subarray(0, 65536));
    for (let at = 3; at < data.data.length; at += 4) data.data[at] = 255;
    drawn.putImageData(data, 0, 0);
  }, 40);
  return canvas.captureStream(25);
}
if (asked.has("denied")) {
  navigator.mediaDevices.getUserMedia = async () => {
    throw new DOMException("Permission denied", "NotAllowedError");
  };
} else {
  navigator.mediaDevices.getUserMedia = async () => noise();
}

const said = await (await fetch("/made/words.json")).json();
const page = { app: "limiar 0.1.0", bundle: HASH, parts: { "bundle/MODEL_CARD.md": {}, "LICENSES.txt": {} } };
const readPart = async (name) => new Uint8Array(await (await fetch(`/made/${name.split("/").at(-1)}`)).arrayBuffer());
const keep = await openKeep(LABELS);
globalThis.shown = new PhonePage(document.getElementById("page"), { said, page, readPart, keep, kept: !asked.has("lost"), work });
await globalThis.shown.start();
