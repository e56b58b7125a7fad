/** The line that reports a picture: output/lines.py, with the same keys in the same order. What is undefined is left out. */

/** The keys of a line, in their order. */
export const LINE_KEYS = [
  "path", "path_base64", "source", "sequence", "taken", "dropped", "sha256", "decision", "label", "confidence",
  "probabilities", "outside", "trailing", "code", "message", "bundle", "file", "runtime", "verified", "app", "time", "stored",
  "ms", "frame", "video_s", "doubtful", "frames", "agreeing", "spread", "tiles", "peaks", "dicom",
];

/** Now as ISO 8601 in UTC, to the millisecond. */
export function utcNow() {
  return new Date().toISOString();
}

/**
 * The line of an answer. origin: {bundle, file, runtime, verified, app}; labels: [K]; answer: as from `Classifier.answer`;
 * ms: {decode, resize, infer}; about: the fields that identify the picture, and `trailing`.
 */
export function answeredLine(origin, labels, answer, ms, time, about) {
  return orderedLine({
    ...about,
    ...originOf(origin),
    decision: answer.decision,
    label: answer.label,
    confidence: answer.confidence,
    probabilities: Object.fromEntries(labels.map((label, at) => [label, answer.probabilities[at]])),
    outside: answer.outside,
    time,
    ms: { decode: toMicroseconds(ms.decode), resize: toMicroseconds(ms.resize), infer: toMicroseconds(ms.infer) },
  });
}

/** The line of a picture that has no answer; refusal: the ImageError. */
export function refusedLine(origin, refusal, time, about) {
  const { code, message } = refusal;
  return orderedLine({ ...about, ...originOf(origin), decision: "refused", code, message, time });
}

/** A line's fields in their order, without those that are undefined, null or "", except a sha256 of null. */
export function orderedLine(fields) {
  const isSet = (key, value) => value !== undefined && value !== "" && (value !== null || key === "sha256");
  return Object.fromEntries(LINE_KEYS.filter(key => isSet(key, fields[key])).map(key => [key, fields[key]]));
}

function originOf({ bundle, file, runtime, verified, app }) {
  return { bundle, file, runtime, verified, app };
}

function toMicroseconds(ms) {
  return Math.round(ms * 1000) / 1000;
}
